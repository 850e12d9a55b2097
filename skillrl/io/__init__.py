"""Reads and writes files, text and records; shows progress and tables."""
