"""Serves any registered environment over the wire shapes that others speak."""

DIALECTS = ("agentgym", "agentgym-alfworld", "agentgym-webshop", "openenv", "retrieve")
"""``agentgym`` is whichever of its two shapes fits the environment."""
