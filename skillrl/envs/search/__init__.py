"""Asks questions that are answered by searching passages, generated or the field's."""

from skillrl.envs.search import suite  # registers "search"

SearchSuite = suite.SearchSuite

__all__ = ["SearchSuite"]
