"""Runs the phases, each resumable on its own; `skillrl.pipeline` puts them in order."""
