"""Lists the domains there are, and chooses one."""

from __future__ import annotations

from collections.abc import Sequence

from skillrl.teacher.simulated.domain import Domain
from skillrl.teacher.simulated.generic import GENERIC
from skillrl.teacher.simulated.household import HOUSEHOLD
from skillrl.teacher.simulated.questions import QUESTIONS
from skillrl.teacher.simulated.recordings import Recording
from skillrl.teacher.simulated.shopping import SHOPPING

DOMAINS = (HOUSEHOLD, SHOPPING, QUESTIONS)


def domain_of(recordings: Sequence[Recording]) -> Domain:
    """Finds the domain of most of the actions and goals; `GENERIC` where none fits."""
    votes = [sum(map(domain.evidence, recordings)) for domain in DOMAINS]
    return DOMAINS[votes.index(max(votes))] if max(votes) else GENERIC


def vocabulary(environment: str = "alfworld") -> list[str]:
    """Returns texts that hold every fixed word the teacher uses for the tasks of an environment.

    Words of the tasks (names of things and places, say) come on top.

    Args:
      environment: registered name; of one that no domain names, what holds everywhere.
    """
    found = (domain for domain in DOMAINS if environment in domain.environments)
    return next(found, GENERIC).vocabulary()
