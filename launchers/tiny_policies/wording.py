"""How the advice modules put words together into skills."""

from __future__ import annotations

import random
from collections.abc import Sequence

from skillrl.types import GENERAL, Skill

BLANK = "Words"
"""The title of a rule that is held back, which has no situation either."""

_VERBS = ("is", "was", "can be", "must be", "is not")
_ENDS = ("right", "wrong", "enough", "of many words", "one of two", "in order", "too long")


def text(rng: random.Random, choices: Sequence[str], **words: str) -> str:
    """Draws a form, fills its slots, and begins with a capital; ``{Slot}`` has one, too."""
    capitals = {key.capitalize(): word.capitalize() for key, word in words.items()}
    filled = rng.choice(choices).format(**words, **capitals)
    return filled[:1].upper() + filled[1:]


def skill(
    rng: random.Random,
    title: str,
    rule: str,
    when: str,
    *,
    category: str,
    situated: float = 0.85,
) -> Skill:
    """Puts the words into one of the three lists of a prompt.

    Args:
      rng: chooses the list, and whether the situation is told.
      title: of the skill.
      rule: what to do.
      when: the situation.
      category: of the task in whose prompt it will stand.
      situated: share of the skills that tell their situation.
    """
    kind = rng.choice(("general", "specific", "specific", "mistake"))
    return Skill(
        title=title,
        principle=rule[:1].upper() + rule[1:],
        when_to_apply=when if rng.random() < situated else "",
        category=GENERAL if kind == "general" else category,
        kind="mistake" if kind == "mistake" else "skill",
    )


def about_nothing(
    rng: random.Random, *, titles: Sequence[str], subjects: Sequence[str]
) -> tuple[str, str, str]:
    """Draws a title, a rule of two sentences that say nothing, and a situation that always is."""

    def sentence() -> str:
        return " ".join(map(rng.choice, (subjects, _VERBS, _ENDS)))

    title = rng.choice(titles)
    return title, f"{sentence()} and {sentence().lower()}.", "at every step"
