"""What is maia-sync: a faithful, queryable copy of Maia agent task logs in your own database."""

__version__ = "0.1.0"
