"""Files, text and records as they enter and leave; progress and tables."""
