"""HTTP clients: retries, limits, keys, OpenAI-compatible servers."""
