"""The phases of a run, each resumable on its own; `skillrl.pipeline` puts them in order."""
