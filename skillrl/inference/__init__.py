"""Samples responses: with the local engine in JAX, or on any OpenAI-compatible server."""
