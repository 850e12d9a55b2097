"""Tells which shop each task is played in.

Official files make one shop (`OneShop`), whose goals `skillrl.envs.webshop.splits` divides. The
generated shops (`ManyShops`) divide like this:

    split         shop      goals
    train         i + 1     task i: the first that is neither of the other splits'
    valid_seen    i + 1     task i: the first of those that a hash of the wish holds out
    valid_unseen  0         all, the categories in turn

So every training task is played in a shop of its own, and a policy must read what it sells. What
is wished for (attributes, kind of product, options) never occurs in two splits.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, overload

from skillrl.envs.webshop import generate, nouns
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.categories import category_of
from skillrl.envs.webshop.engine import ShopEngine
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.product import Product
from skillrl.envs.webshop.reward import Goal
from skillrl.envs.webshop.shelves import SHELVES
from skillrl.envs.webshop.sources import Lists
from skillrl.envs.webshop.splits import divide
from skillrl.errors import SkillRLError
from skillrl.types import Task

SIZES = {"train": 2016, "valid_seen": 140}
"""Tasks of the generated splits that have shops of their own."""

_HELD_OUT = 6  # one wish out of so many is never trained on
_KEPT = 32  # shops; some hundred kilobytes each


class Shop:
    """Holds a catalogue, its goals and its rules; nothing in it changes, so threads may share it.

    Args:
      catalogue: the products.
      settings: a WebshopConfig.
    """

    def __init__(self, catalogue: Catalogue, settings: Any):
        self.catalogue = catalogue
        self.goals = Goals(catalogue, kind=settings.goals, seed=settings.goal_seed)
        self.engine = ShopEngine(catalogue, self.goals.prices, nouns=nouns.tagger(settings.nouns))


class Shops(Protocol):
    """Gives tasks, and the shop of each."""

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the fixed list of a split, made when asked for: there may be millions."""

    def find(self, task: Task) -> tuple[Shop, int]:
        """Returns a task's shop and goal number; raises SkillRLError if not of here."""


class OneShop:
    """Plays all tasks in one shop.

    Args:
      catalogue: the products.
      settings: a WebshopConfig.
      category: tells the category of a product.
    """

    def __init__(
        self, catalogue: Catalogue, settings: Any, category: Callable[[Product], str] = category_of
    ):
        self._shop, self._category = Shop(catalogue, settings), category
        goals = self._shop.goals
        self._splits = divide(goals.rows, settings.split, sentences=goals.sentences)

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the goals of a split, in session order."""
        numbers = self._splits[split]
        return _Tasks(len(numbers), lambda index: self._task(split, int(numbers[index])))

    def find(self, task: Task) -> tuple[Shop, int]:
        """Returns the shop and the number of the goal."""
        return self._shop, _goal_number(task, self._shop)

    def _task(self, split: str, number: int) -> Task:
        goals, catalogue = self._shop.goals, self._shop.catalogue
        return Task(
            id=f"{split}/goal-{number:05d}",
            split=split,
            category=self._category(catalogue.product(int(goals.rows[number]))),
            goal=goals[number].text,
            payload={"goal": number},
        )


class ManyShops:
    """Generates the shops when they are asked for: one to validate in, and one per training task.

    Args:
      settings: a WebshopConfig whose ``goals`` are synthetic.
    """

    def __init__(self, settings: Any):
        self._shop = functools.lru_cache(_KEPT)(lambda number: generated_shop(number, settings))
        self._main = self._shop(0)  # kept, whatever is played meanwhile
        self._splits = {
            split: _Tasks(SIZES[split], functools.partial(self._task, split)) for split in SIZES
        }

    @functools.cached_property
    def _unseen(self) -> Sequence[int]:
        """Lists the goals of shop 0 by number, one of each category in turn."""
        by_category: dict[str, list[int]] = {shelf.key: [] for shelf in SHELVES}
        for number, row in enumerate(self._main.goals.rows):
            by_category[generated_category(self._main.catalogue.product(int(row)))].append(number)
        return [number for turn in zip(*by_category.values(), strict=False) for number in turn]

    @functools.cached_property
    def _wishes(self) -> frozenset[str]:
        """Collects what the goals of shop 0 wish for."""
        return frozenset(map(_wish, self._main.goals))

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the tasks of a split; the module says which."""
        if split in self._splits:
            return self._splits[split]
        numbers = self._unseen
        return _Tasks(
            len(numbers),
            lambda index: _task_in(self._main, number=0, split=split, goal=numbers[index]),
        )

    def find(self, task: Task) -> tuple[Shop, int]:
        """Returns the shop that the payload names, and the number of the goal in it.

        Raises:
          SkillRLError: the payload names none of these shops.
        """
        number = task.payload.get("shop")
        if not isinstance(number, int) or not 0 <= number <= max(SIZES.values()):
            raise SkillRLError(
                f"task {task.id}: payload {dict(task.payload)!r} names none of the generated "
                "shops; take tasks from WebshopSuite.tasks, with the same settings"
            )
        shop = self._main if number == 0 else self._shop(number)
        return shop, _goal_number(task, shop)

    def _task(self, split: str, index: int) -> Task:
        shop = self._shop(index + 1)
        seen = split == "valid_seen"
        numbers = (
            number
            for number, goal in enumerate(shop.goals)
            if (wish := _wish(goal)) not in self._wishes and _held_out(wish) == seen
        )
        return _task_in(shop, number=index + 1, split=split, goal=next(numbers))


def generated(settings: Any) -> Shops:
    """Returns the generated shops; shop 0 alone for goals or splits that one shop has."""
    if settings.goals == "synthetic" and settings.split == "products":
        return ManyShops(settings)
    return OneShop(_generated_catalogue(0), settings, generated_category)


def generated_shop(number: int, settings: Any) -> Shop:
    """Returns the shop that `generate.catalogue(number)` describes."""
    return Shop(_generated_catalogue(number), settings)


def generated_category(product: Product) -> str:
    """Returns the category of a product of a generated shop."""
    return generate.category_of({"product_category": product.product_category})


def _generated_catalogue(number: int) -> Catalogue:
    return Catalogue(Lists(*generate.catalogue(number), name=f"generated shop {number}"))


def _task_in(shop: Shop, *, number: int, split: str, goal: int) -> Task:
    product = shop.catalogue.product(int(shop.goals.rows[goal]))
    return Task(
        id=f"{split}/shop-{number:04d}-goal-{goal:04d}",
        split=split,
        category=generated_category(product),
        goal=shop.goals[goal].text,
        payload={"shop": number, "goal": goal},
    )


def _wish(goal: Goal) -> str:
    """Returns what a goal asks for but for the price; the order of attributes does not matter."""
    return json.dumps([goal.query, sorted(goal.attributes), list(goal.options)])


def _held_out(wish: str) -> bool:
    return int(hashlib.sha256(wish.encode()).hexdigest(), 16) % _HELD_OUT == 0


def _goal_number(task: Task, shop: Shop) -> int:
    """Returns the payload's goal, checked against the task's sentence."""
    number = task.payload.get("goal")
    if not isinstance(number, int) or not 0 <= number < len(shop.goals):
        raise SkillRLError(
            f"task {task.id}: payload {dict(task.payload)!r} names no goal of this shop; take "
            "tasks from WebshopSuite.tasks, with the same files and settings"
        )
    if (text := shop.goals[number].text) != task.goal:
        raise SkillRLError(
            f"task {task.id}: goal {number} of this shop is {text!r} and not {task.goal!r}. The "
            "task was made with other files, or with another env.webshop.goals or "
            "env.webshop.goal_seed; use the same ones."
        )
    return number


class _Tasks(Sequence[Task]):
    """Makes tasks when they are asked for."""

    def __init__(self, size: int, make: Callable[[int], Task]):
        self._numbers, self._make = range(size), functools.lru_cache(maxsize=1 << 14)(make)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        numbers = self._numbers[index]
        return self._make(numbers) if isinstance(numbers, int) else [*map(self._make, numbers)]
