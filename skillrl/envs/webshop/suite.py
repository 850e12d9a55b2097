"""WebShop as a suite: a generated shop by default, official files with ``data_dir``."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, overload

from skillrl.envs.base import SPLITS, Expert, register
from skillrl.envs.webshop import nouns, pages
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.categories import CATEGORIES, category_of
from skillrl.envs.webshop.engine import Engine, Place, Session
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.product import Product
from skillrl.envs.webshop.reward import Goal
from skillrl.envs.webshop.sources import Lists, find
from skillrl.envs.webshop.splits import divide
from skillrl.errors import SkillRLError
from skillrl.types import Observation, StepResult, Task

SEARCH_OFFER = "search[<your query>]"
"""How an observation offers a search."""


@register("webshop")
class WebshopSuite:
    """Shopping by search and clicks for what a sentence asks for.

    Args:
      config: an EnvConfig: ``data_dir``, a folder of official files, or "" for the generated
        shop; ``max_steps``; ``webshop``, see `skillrl.config.WebshopConfig`.

    Raises:
      SkillRLError: files are missing or broken, or settings do not fit them.
    """

    name = "webshop"
    role = (
        "You are an agent in an online shop. You search with search[words] and click what a page "
        "offers with click[text]; choose the wanted options before you click[buy now]."
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
        self.simulated = "" if config.data_dir else "generated shop"
        self._observation: str = settings.observation
        self._shop = (
            _Shop(Catalogue(find(config.data_dir, settings.products)), settings)
            if config.data_dir
            else _generated(settings)
        )

    def tasks(self, split: str) -> Sequence[Task]:
        """The fixed list of a split; raises SkillRLError for a split that does not exist."""
        if split not in SPLITS:
            raise SkillRLError(f"split {split!r}: use one of {', '.join(SPLITS)}")
        return _Tasks(self._shop, split)

    def make(self) -> WebshopEnvironment:
        """A new, independent handle."""
        return WebshopEnvironment(self._shop, self._observation, self.max_steps)

    def expert(self, task: Task) -> Expert | None:
        """A shopper that reads only pages, or None where it cannot read the goal sentence."""
        from skillrl.envs.webshop.expert import ShopExpert

        try:
            return ShopExpert(task.goal)
        except SkillRLError:
            return None  # the protocol's answer for "no demonstrator"


class WebshopEnvironment:
    """Plays one task at a time. Pages are shown without the goal: prompts state the task."""

    def __init__(self, shop: _Shop, mode: str, max_steps: int):
        self._shop, self._mode, self._max_steps = shop, mode, max_steps
        self._session: Session | None = None
        self._goal: Goal
        self._steps = 0

    def reset(self, task: Task) -> Observation:
        """Starts `task`; raises SkillRLError where its payload names no goal of this shop."""
        number = task.payload.get("goal")
        if not isinstance(number, int) or not 0 <= number < len(self._shop.goals):
            raise SkillRLError(
                f"task {task.id}: payload {dict(task.payload)!r} names no goal of this shop; take "
                "tasks from WebshopSuite.tasks, with the same files and settings"
            )
        self._goal, self._session, self._steps = self._shop.goals[number], Session(number), 0
        if self._goal.text != task.goal:
            raise SkillRLError(
                f"task {task.id}: goal {number} of this shop is {self._goal.text!r} and not "
                f"{task.goal!r}. The task was made with other files, or with another "
                "env.webshop.goals or env.webshop.goal_seed; use the same ones."
            )
        return self._observe(self._session)

    def step(self, action: str) -> StepResult:
        """Plays one action; what the shop does not understand changes nothing but costs a step.

        Raises:
          SkillRLError: there is no running episode.
        """
        if self._session is None:
            raise SkillRLError("the episode is over or was never started: call reset(task) first")
        session, reward, bought = self._shop.engine.step(self._session, self._goal, action)
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

    def _observe(self, session: Session) -> Observation:
        """The page after the goal, and what may be done there.

        ``click[search]`` and an empty value are clickable in the original but do nothing; they
        are not offered.
        """
        pieces = pages.after_goal(self._shop.engine.page(session, self._goal))
        if self._mode == "text_rich":
            text = pages.as_rich_text(pieces)
        elif session.place is Place.DONE:
            text = pages.as_text(pieces)
        else:
            text = pages.as_quoted_text(pieces)
        clicks = self._shop.engine.clickables(session)
        offers = [f"click[{text}]" for text in clicks if text not in ("", "search")]
        search = [SEARCH_OFFER] if session.place is Place.START else []
        return Observation(text, (*search, *offers))


class _Shop:
    """What all handles share; nothing in it changes."""

    def __init__(self, catalogue: Catalogue, settings: Any, *, generated: bool = False):
        self.catalogue = catalogue
        self.goals = Goals(catalogue, kind=settings.goals, seed=settings.goal_seed)
        self.engine = Engine(catalogue, self.goals.prices, nouns.tagger(settings.nouns))
        if generated and settings.goals == "synthetic" and settings.split == "products":
            self.splits = _generated_splits(self.goals)
        else:
            self.splits = divide(self.goals.rows, settings.split, sentences=self.goals.sentences)
        self._category = _generated_category if generated else category_of

    def task(self, split: str, number: int) -> Task:
        goal = self.goals[number]
        return Task(
            id=f"{split}/goal-{number:05d}",
            split=split,
            category=self._category(self.catalogue.product(int(self.goals.rows[number]))),
            goal=goal.text,
            payload={"goal": number},
        )


class _Tasks(Sequence[Task]):
    """The tasks of a split, made when asked for: there may be millions."""

    def __init__(self, shop: _Shop, split: str):
        self._numbers = shop.splits[split]
        self._make = functools.lru_cache(maxsize=1 << 14)(functools.partial(shop.task, split))

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self._make(int(number)) for number in self._numbers[index]]
        return self._make(int(self._numbers[index]))


@functools.lru_cache(maxsize=4)
def _generated(settings: Any) -> _Shop:
    from skillrl.envs.webshop.generate import catalogue

    source = Lists(*catalogue(), name="the generated catalogue")
    return _Shop(Catalogue(source), settings, generated=True)


def _generated_splits(goals: Goals) -> Mapping[str, Sequence[int]]:
    """The generator's own division, which is by product too."""
    from skillrl.envs.webshop.generate import split_of

    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    for number, goal in enumerate(goals):
        splits[split_of(goal.asin, dict(goal.options))].append(number)  # type: ignore[arg-type]
    return splits


def _generated_category(product: Product) -> str:
    from skillrl.envs.webshop.generate import category_of

    return category_of({"product_category": product.product_category})
