"""The `skillrl` command: flags, settings, one call."""
