"""Plays an environment and says what breaks the contract of `skillrl.envs.base`."""

from skillrl.envs.check.findings import Check, Finding, describe, line_of
from skillrl.envs.check.run import examine

__all__ = ["Check", "Finding", "describe", "examine", "line_of"]
