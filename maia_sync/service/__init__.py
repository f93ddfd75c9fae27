"""The daemon: when what is done, and how it is looked after."""
