"""How a person or a script speaks to maia-sync: parse, call one function, print, exit code."""
