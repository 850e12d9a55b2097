"""A household agent that knows only what it is told: the demonstrator of the base policy."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

from launchers.tiny_policies.household_advice import LAMP, NEW, OPEN, SECOND, SIGHT, TREAT
from skillrl.envs.alfworld.expert import LOOK, PICK, TREATMENTS, TWO, TemplateExpert, kind_of
from skillrl.envs.base import Move
from skillrl.types import Observation

NATIVE = {TREAT: 0.0, LAMP: 0.0, SECOND: 0.0, OPEN: 0.0, NEW: 1.0, SIGHT: 1.0}
"""Piece of competence -> how often it is there without advice."""


class Pupil(TemplateExpert):
    """Plays one episode with some pieces of competence and without the others.

    Without `TREAT`, `LAMP` and `SECOND` it makes the task the simplest one: it brings one object
    to the place, untreated, or where the lamp is forgotten to the first place of the room. Without
    `OPEN` it passes closed places, without `NEW` it goes back to where it was, without `SIGHT` it
    goes on past the object.

    Args:
      goal: the task sentence.
      told: pieces that the prompt gives advice about.
      homes: object class -> classes of furniture to look in first, in order.
      rng: decides about pieces that it was not told.
    """

    def __init__(
        self,
        goal: str,
        told: Collection[str],
        homes: Mapping[str, Sequence[str]],
        rng: random.Random,
    ):
        super().__init__(goal, homes)
        self._rng = rng
        self.told = frozenset(told)
        self._knows = {piece: piece in told for piece in NATIVE}
        self._luck = {piece: rng.random() for piece in NATIVE}
        for piece in (TREAT, LAMP, SECOND):  # decided once: the half of it is worth nothing
            self._knows[piece] |= self._luck[piece] < NATIVE[piece]
        self._category = self.goal.category
        needs = dict.fromkeys(TREATMENTS, TREAT) | {TWO: SECOND, LOOK: LAMP}
        piece = needs.get(self._category, "")
        self._simple = bool(piece) and not self._knows[piece]
        if self._simple:
            self.goal = type(self.goal)(PICK, self.goal.thing, self.goal.place)

    def act(self, observation: Observation) -> Move:
        """Returns the next move, always an admissible one.

        It draws as often whatever it was told, so two of one seed differ by their advice alone.
        """
        self._luck = {piece: self._rng.random() for piece in NATIVE}
        if self._simple and self._category == LOOK:
            self._read(observation)
            if self.places:
                self.goal = type(self.goal)(PICK, self.goal.thing, kind_of(self.places[0]))
        return super().act(observation)

    def _does(self, piece: str) -> bool:
        return self._knows[piece] or self._luck[piece] < NATIVE[piece]

    def _fetch(self, actions: Sequence[str]) -> Move:
        start = f"take {self.goal.thing} "
        if any(a.startswith(start) for a in actions) and not self._does(SIGHT):
            actions = [a for a in actions if not a.startswith(start)]
        return super()._fetch(actions)

    def _next_place(self, actions: Sequence[str], first: Sequence[str] = ()) -> str:
        if any(a.startswith("open ") for a in actions) and not self._does(OPEN):
            actions = [a for a in actions if not a.startswith("open ")]
        if not any(a.startswith("open ") for a in actions) and not self._does(NEW):
            listed = [a[6:] for a in actions if a.startswith("go to ")]
            again = [place for place in self.visited if place in listed]
            if again:
                return again[-1]
        return super()._next_place(actions, first)
