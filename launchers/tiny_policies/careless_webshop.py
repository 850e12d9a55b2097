"""The goals of a careless shopper, which buys the first thing that sounds right."""

from __future__ import annotations

import re
from collections.abc import Collection

from skillrl.envs.webshop.expert import parse_goal

OPTIONS, PRICE, WORDS = "options", "price", "words"
ALL = (OPTIONS, PRICE, WORDS)
"""What a goal sentence says apart from the kind of product."""


def careless_goal(goal_text: str, heeded: Collection[str] = (WORDS,)) -> str:
    """Writes a goal sentence that says only what a careless shopper heeds.

    ``ShopExpert(careless_goal(goal))`` shops fluently and mostly wrong: by default it buys the
    first product whose title fits, whatever it costs, without choosing options.

    Args:
      goal_text: a synthetic goal sentence.
      heeded: which of `ALL` remain; without ``WORDS`` only the last attribute and the kind do.

    Raises:
      SkillRLError: the sentence is not a synthetic one.
    """
    goal = parse_goal(goal_text)
    words = goal.phrase
    if WORDS not in heeded:
        wanted = re.split(r" with [^:,]+: |,? and price lower than ", goal_text.rstrip("."))[0]
        words = wanted.rsplit(", ", 1)[-1].removeprefix("Find me ")
    text = f"Find me {words}"
    if OPTIONS in heeded and goal.options:
        text += " with " + ", and ".join(f"{name}: {value}" for name, value in goal.options)
    if PRICE in heeded and goal.below is not None:
        text += f", and price lower than {goal.below:.2f} dollars"
    return text
