"""Environments: the protocol, the registry, and those that ship."""

from skillrl.envs.base import SPLITS, Environment, Expert, Move, Suite, make_suite, names, register

__all__ = ["SPLITS", "Environment", "Expert", "Move", "Suite", "make_suite", "names", "register"]
