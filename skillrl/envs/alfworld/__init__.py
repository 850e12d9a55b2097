"""Plays ALFWorld: the official text rules in a fast engine, with generated households."""

from skillrl.envs.alfworld import suite  # registers "alfworld"

AlfworldSuite = suite.AlfworldSuite

__all__ = ["AlfworldSuite"]
