"""A shopper that knows only what it is told: the demonstrator of the base policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from launchers.tiny_policies.shop_advice import LEAVE, OPTIONS, PRICE, TITLE
from skillrl.envs.webshop.expert import Result
from skillrl.envs.webshop.insider import Insider

ALL = (OPTIONS, PRICE, LEAVE, TITLE)
"""Pieces of competence; none is there without advice."""


class Pupil(Insider):
    """Plays one episode with some pieces of competence and without the others.

    Without `OPTIONS` it chooses none, without `PRICE` it heeds no limit, without `LEAVE` it stays
    with a product that lacks what is wanted, without `TITLE` it opens what the search found first.

    Args:
      goal: the task sentence.
      told: pieces that the prompt gives advice about.
      shelves: kind of product -> word under which the prompt says it is listed.
    """

    def __init__(self, goal: str, told: Collection[str], shelves: Mapping[str, str]):
        super().__init__(goal, shelves)
        self._told = frozenset(told)
        if OPTIONS not in told:
            self.goal = dataclasses.replace(self.goal, options=())
        if PRICE not in told:
            self.goal = dataclasses.replace(self.goal, below=None)

    def _leaves(self) -> bool:
        return LEAVE in self._told

    def _fitting(self, shown: Sequence[Result]) -> list[Result]:
        if TITLE in self._told:
            return super()._fitting(shown)
        return [result for result in shown if self._affordable(result.price)]
