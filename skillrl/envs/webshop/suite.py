"""Offers WebShop as a suite: generated shops, or official files with ``data_dir``."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.envs.base import SPLITS, Expert, register
from skillrl.envs.webshop import pages
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.categories import CATEGORIES
from skillrl.envs.webshop.customs import listed_under
from skillrl.envs.webshop.engine import Place, ShopEngine, ShopSession
from skillrl.envs.webshop.reward import Goal
from skillrl.envs.webshop.shops import OneShop, Shops, generated
from skillrl.envs.webshop.sources import find
from skillrl.errors import SkillRLError
from skillrl.types import Observation, StepResult, Task

SEARCH_OFFER = "search[<your query>]"
"""How an observation offers a search."""


@register("webshop")
class WebshopSuite:
    """Offers shopping by search and clicks for what a sentence asks for.

    Args:
      config: an EnvConfig: ``data_dir``, a folder of official files, or "" for the generated
        shops; ``max_steps``; ``webshop``, see `skillrl.config.settings.WebshopConfig`.

    Raises:
      SkillRLError: files are missing or broken, or settings do not fit them.
    """

    name = "webshop"
    role = (
        "You are an agent in an online shop. You search with search[words] and click what a page "
        "offers with click[text]."
    )
    categories: Mapping[str, str] = CATEGORIES

    def __init__(self, config: Any):
        if config.max_steps < 1:
            raise SkillRLError(f"max_steps={config.max_steps}: an episode needs at least one step")
        settings = config.webshop
        if settings.products and not config.data_dir:
            raise SkillRLError(
                f"env.webshop.products={settings.products}: this names a file in env.data_dir, "
                "which is empty. Set env.data_dir to the directory of that file."
            )
        self.max_steps: int = config.max_steps
        if config.data_dir:  # in generated shops that is for skills to say
            self.role = f"{self.role[:-1]}; choose the wanted options before you click[buy now]."
        self.simulated = "" if config.data_dir else "generated shops"
        self._observation: str = settings.observation
        self._shops: Shops = (
            OneShop(Catalogue(find(config.data_dir, settings.products)), settings)
            if config.data_dir
            else _generated(settings)
        )

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the fixed list of a split; raises SkillRLError for an unknown split."""
        if split not in SPLITS:
            raise SkillRLError(f"split {split!r}: use one of {', '.join(SPLITS)}")
        return self._shops.tasks(split)

    def make(self) -> WebshopEnvironment:
        """Returns a new, independent handle."""
        return WebshopEnvironment(self._shops, self._observation, self.max_steps)

    def expert(self, task: Task) -> Expert | None:
        """Returns a shopper that reads only pages, or None for a goal that it cannot read.

        In a generated shop of a custom it is somebody who knows under which words things are.
        """
        from skillrl.envs.webshop.expert import ShopExpert
        from skillrl.envs.webshop.insider import Insider

        try:
            if custom := task.payload.get("custom", 0):
                return Insider(task.goal, listed_under(custom))
            return ShopExpert(task.goal)
        except SkillRLError:
            return None  # the protocol's answer for "no demonstrator"


class WebshopEnvironment:
    """Plays one task at a time. Pages are shown without the goal: prompts state the task."""

    def __init__(self, shops: Shops, mode: str, max_steps: int):
        self._shops, self._mode, self._max_steps = shops, mode, max_steps
        self._session: ShopSession | None = None
        self._engine: ShopEngine
        self._goal: Goal
        self._steps = 0

    def reset(self, task: Task) -> Observation:
        """Starts `task`; raises SkillRLError where its payload names no goal of these shops."""
        shop, number = self._shops.find(task)
        self._engine, self._goal = shop.engine, shop.goals[number]
        self._session, self._steps = ShopSession(number=number), 0
        return self._observe(self._session)

    def step(self, action: str) -> StepResult:
        """Plays one action; what the shop does not understand changes nothing but costs a step.

        Raises:
          SkillRLError: there is no running episode.
        """
        if self._session is None:
            raise SkillRLError("the episode is over or was never started: call reset(task) first")
        session, reward, bought = self._engine.step(self._session, self._goal, action)
        self._steps += 1
        done = bought or self._steps >= self._max_steps
        self._session = None if done else session
        return StepResult(
            observation=self._observe(session),
            done=done,
            won=bought and reward == 1.0,
            reward=reward,
            score=reward,
        )

    def close(self) -> None:
        """Drops the running episode, if any."""
        self._session = None

    def _observe(self, session: ShopSession) -> Observation:
        """Returns the page after the goal, and what may be done there.

        What does nothing is not offered: ``click[search]``, an empty value, and a value that is
        chosen already (its page does not show that, so who clicks it again learns nothing).
        """
        pieces = pages.after_goal(self._engine.page(session, self._goal))
        if self._mode == "text_rich":
            text = pages.as_rich_text(pieces)
        elif session.place is Place.DONE:
            text = pages.as_text(pieces)
        else:
            text = pages.as_quoted_text(pieces)
        clicks = self._engine.clickables(session)
        chosen = session.options if session.place is Place.ITEM else {}
        idle = {"", "search", *chosen.values()}
        offers = [f"click[{text}]" for text in clicks if text not in idle]
        search = [SEARCH_OFFER] if session.place is Place.START else []
        return Observation(text, (*search, *offers))


@functools.lru_cache(maxsize=4)
def _generated(settings: Any) -> Shops:
    return generated(settings)
