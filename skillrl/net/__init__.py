"""Asks HTTP servers: retries, limits, keys, OpenAI-compatible servers."""
