"""Holds the protocol of environments, their registry, and those that ship."""

from skillrl.envs.base import (
    SPLITS,
    AnswerForm,
    Environment,
    Expert,
    Move,
    Suite,
    answer_form,
    is_admissible,
    make_suite,
    names,
    register,
    registered,
)

__all__ = [
    "SPLITS",
    "AnswerForm",
    "Environment",
    "Expert",
    "Move",
    "Suite",
    "answer_form",
    "is_admissible",
    "make_suite",
    "names",
    "register",
    "registered",
]
