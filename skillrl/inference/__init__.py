"""Rollout engines: the local one in JAX, and any OpenAI-compatible server."""
