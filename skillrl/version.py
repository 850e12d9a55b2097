"""Holds the version of skillrl, for whoever must say it."""

VERSION = "0.1.0"
