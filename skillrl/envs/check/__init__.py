"""Plays an environment and says what breaks the contract of `skillrl.envs.base`."""

from skillrl.envs.check.findings import Check, Finding, describe, line_of
from skillrl.envs.check.report import ProgressReport
from skillrl.envs.check.run import examine
from skillrl.envs.check.watch import Overdue, limits, watched

__all__ = [
    "Check",
    "Finding",
    "Overdue",
    "ProgressReport",
    "describe",
    "examine",
    "limits",
    "line_of",
    "watched",
]
