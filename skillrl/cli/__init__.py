"""Turns a command line into settings and one call: the `skillrl` command."""
