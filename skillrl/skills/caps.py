"""What goes where there is not room for all skills: the least useful, never simply the oldest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from skillrl.skills.budget import CHARACTERS
from skillrl.skills.duplicates import skill_text
from skillrl.skills.worth import Worth
from skillrl.types import Skill

CountTokens = Callable[[Sequence[Skill]], int]
"""Counts the tokens that skills take in a prompt."""


def estimated_tokens(skills: Sequence[Skill]) -> int:
    """Estimates the tokens of skills from their characters, four to a token, rounded up."""
    return sum(-(-len(skill_text(skill)) // CHARACTERS) for skill in skills)


def beyond(
    skills: Sequence[Skill], most: int, *, worth: Worth, new: Collection[str] = ()
) -> tuple[Skill, ...]:
    """Chooses the skills that leave a bank of more than `most`.

    The lowest worth goes first; of equals the one with fewer examined pairs, then the one that was
    in fewer prompts, then the later one. What was only just added had no chance to show its worth,
    so it goes after all others.

    Args:
      skills: of the bank, in its order.
      most: as many may stay; 0 sets no limit.
      worth: gives the worth of a skill.
      new: ids of skills that were added in this very event.
    """
    if not most or len(skills) <= most:
        return ()
    order = sorted(
        range(len(skills)),
        key=lambda at: (
            skills[at].id in new,
            worth(skills[at]),
            skills[at].exams.pairs,
            skills[at].use.episodes,
            -at,
        ),
    )
    return tuple(skills[at] for at in order[: len(skills) - most])


def fitting(
    skills: Sequence[Skill], most: int, *, count_tokens: CountTokens, worth: Worth
) -> tuple[Skill, ...]:
    """Leaves out skills, the lowest worth first, until the others take at most `most` tokens.

    Args:
      skills: those of a prompt, in its order, which stays; of equals the last goes first.
      most: tokens that they may take; 0 sets no limit.
      count_tokens: counts the tokens of some of them together.
      worth: gives the worth of a skill.
    """
    kept = list(skills)
    while most and kept and count_tokens(kept) > most:
        lowest = min(range(len(kept)), key=lambda at: (worth(kept[at]), -at))
        del kept[lowest]
    return tuple(kept)
