"""Tells which shop each task is played in.

Official files make one shop (`OneShop`), whose goals `skillrl.envs.webshop.splits` divides. The
generated shops (`ManyShops`) divide like this:

    split         shop
    train         i + 1 for task i
    valid_seen    i + 1, another kind of product
    valid_unseen  i + `FIRST_UNSEEN`

So every task is played in a shop of its own, and a policy must read what it sells. What is wished
for (kind of product and attributes) never occurs in two splits. All of these shops share a custom
(`skillrl.envs.webshop.customs`), which the base policy has not practised in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, overload

from skillrl.envs.webshop import generate, nouns
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.categories import category_of
from skillrl.envs.webshop.custom_shops import FIRST_UNSEEN, split_of, stock
from skillrl.envs.webshop.engine import ShopEngine
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.product import Product
from skillrl.envs.webshop.sources import Lists
from skillrl.envs.webshop.splits import divide
from skillrl.errors import SkillRLError
from skillrl.types import Task

SIZES = {"train": 2016, "valid_seen": 140, "valid_unseen": 987}
"""Tasks of the generated splits."""

CUSTOM = 1
"""Number of the custom that they share."""

_FIRST = {"train": 1, "valid_seen": 1, "valid_unseen": FIRST_UNSEEN}  # the shop of task 0
_KEPT = 32  # shops; some ten kilobytes each


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
    """Generates the shops when they are asked for, one for each task.

    Args:
      settings: a WebshopConfig whose ``goals`` are synthetic.
    """

    def __init__(self, settings: Any):
        self._shop = functools.lru_cache(_KEPT)(
            lambda number, custom: custom_shop(number, custom, settings)
        )
        self._splits = {
            split: _Tasks(size, functools.partial(self.task, split, custom=CUSTOM))
            for split, size in SIZES.items()
        }

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the tasks of a split; the module says which."""
        return self._splits[split]

    def task(self, split: str, index: int, *, custom: int) -> Task:
        """Returns the task of that place in a split, in a shop of any custom."""
        number = index + _FIRST[split]
        shop = self._shop(number, custom)
        goals = (
            place
            for place, goal in enumerate(shop.goals)
            if split_of(goal.query, goal.attributes) == split
        )
        goal = next(goals)
        return Task(
            id=f"{split}/shop-{number:04d}-goal-{goal:04d}",
            split=split,
            category=generated_category(shop.catalogue.product(int(shop.goals.rows[goal]))),
            goal=shop.goals[goal].text,
            payload={"shop": number, "custom": custom, "goal": goal},
        )

    def find(self, task: Task) -> tuple[Shop, int]:
        """Returns the shop that the payload names, and the number of the goal in it.

        Raises:
          SkillRLError: the payload names none of these shops.
        """
        number, custom = task.payload.get("shop"), task.payload.get("custom")
        if not (
            isinstance(number, int)
            and isinstance(custom, int)
            and 1 <= number < FIRST_UNSEEN + SIZES["valid_unseen"]
            and custom >= 1
        ):
            raise SkillRLError(
                f"task {task.id}: payload {dict(task.payload)!r} names none of the generated "
                "shops; take tasks from WebshopSuite.tasks, with the same settings"
            )
        shop = self._shop(number, custom)
        return shop, _goal_number(task, shop)


def generated(settings: Any) -> Shops:
    """Returns the shops of the custom; the large one for goals or splits that one shop has."""
    if settings.goals == "synthetic" and settings.split == "products":
        return ManyShops(settings)
    shop = Catalogue(Lists(*generate.catalogue(), name="generated shop"))
    return OneShop(shop, settings, generated_category)


def custom_shop(number: int, custom: int, settings: Any) -> Shop:
    """Returns the shop that `custom_shops.stock` describes."""
    name = f"shop {number} of custom {custom}"
    return Shop(Catalogue(Lists(*stock(number, custom), name=name)), settings)


def generated_category(product: Product) -> str:
    """Returns the category of a product of a generated shop."""
    return generate.category_of({"product_category": product.product_category})


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
