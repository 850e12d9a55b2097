"""Checks and estimates that are made before a command starts."""
