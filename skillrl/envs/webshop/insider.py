"""Shops as somebody who knows the custom of the shops: under which word things are listed.

It searches that word and the kind of product, opens what has the word and most of the goal's
words in its title at a price within the limit, chooses the options or goes back, and buys. It
reads no features: in these shops they do not tell which product is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skillrl.envs.base import Move
from skillrl.envs.webshop.customs import kind_in
from skillrl.envs.webshop.expert import (
    BUY,
    PREVIOUS,
    START,
    Result,
    ShopExpert,
    read_results,
    words_of,
)
from skillrl.types import Observation


class Insider(ShopExpert):
    """Shops for one goal; make a new one for the next episode.

    Args:
      goal_text: a synthetic goal sentence.
      shelves: kind of product -> word under which the right ones are listed.
      done: see `ShopExpert`.

    Raises:
      SkillRLError: the sentence is not a synthetic one.
    """

    def __init__(self, goal_text: str, shelves: Mapping[str, str], done: Sequence[str] = ()):
        super().__init__(goal_text, done)
        self.kind = kind_in(self.goal.phrase)
        self.word = shelves.get(self.kind, "")

    def _search(self) -> Move:
        wanted = self.kind or self.goal.phrase
        if self.word:
            return Move(f"I search {wanted} {self.word}.", f"search[{wanted} {self.word}]")
        return Move(f"I search {wanted}.", f"search[{wanted}]")

    def _results(self, observation: Observation, *, page: int, total: int) -> Move:
        shown = read_results(observation)
        mine = [result for result in shown if self.word in words_of(result.title)]
        fitting = self._fitting(mine or shown)
        age = {action: number for number, action in enumerate(self._done)}
        new = [result for result in fitting if result.action not in age]
        if new and page == 1:
            return Move(self._looked_through(shown, new[0], "may fit"), new[0].action)
        if fitting and page == 1:
            oldest = min(fitting, key=lambda result: age[result.action])
            return Move("Nothing new fits, look again.", oldest.action)
        return Move("Nothing fits here.", START)

    def _fitting(self, shown: Sequence[Result]) -> list[Result]:
        """Returns what it can pay among those whose titles have most words of the goal."""
        best = max(map(self._likeness, shown), default=0)
        return [r for r in shown if self._likeness(r) == best and self._affordable(r.price)]

    def _chosen_all(self, actions: Sequence[str], parts: Sequence[str]) -> Move:
        return Move("It may fit, buy it.", BUY)

    def _sub_page(self, observation: Observation) -> Move:
        if PREVIOUS in observation.admissible:
            return Move("These are not the features.", PREVIOUS)
        return Move("Nothing fits here.", START)
