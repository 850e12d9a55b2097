"""Checks and estimates before a command starts."""
