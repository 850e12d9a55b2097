"""Divides goals into splits. A goal is its session number; no split shares a sentence.

    layout    train   valid_seen        valid_unseen
    products  rest    seen products     products that no training goal asks for
    skillrl   500+    (none)            0 to 499
    original  1500+   500 to 1499       0 to 499

``skillrl`` and ``original`` are those of the released training code (validation is the headline)
and of the WebShop paper (development and test). There, held-out goals often ask for another
colour of a product of the training goals.

Two goals may have the same sentence: values of an option can become equal when they are cleaned,
and a shop can list one thing twice. Such goals never lie in different splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError

HELD_OUT = 500
"""Goals of a held-out split; of a small catalogue at most a fifth of the goals."""

_BOUNDS = {"skillrl": (500, 500), "original": (1500, 500)}
"""Layout -> first goal of train, first of valid_seen; valid_unseen begins at 0."""


def divide(rows: np.ndarray, layout: str, *, sentences: np.ndarray) -> Mapping[str, Sequence[int]]:
    """Returns split -> its goals, in session order.

    Args:
      rows: [goals], the product that each goal asks for.
      layout: ``products``, ``skillrl`` or ``original``.
      sentences: [goals], equal where two goals have the same text.

    Raises:
      SkillRLError: an unknown layout, or one that leaves nothing to train on.
    """
    if layout == "products":
        return _by_product(rows, sentences)
    if layout not in _BOUNDS:
        raise SkillRLError(f"env.webshop.split={layout}: use products, skillrl or original")
    train, seen = _BOUNDS[layout]
    parts = (
        _without(range(train, len(rows)), range(train), sentences),
        _without(range(seen, train), range(seen), sentences),
        range(seen),
    )
    if len(rows) <= train or not parts[0]:
        raise SkillRLError(
            f"env.webshop.split={layout}: training goals begin at number {train}, and of the "
            f"{len(rows)} goals none is left for them (those with a held-out sentence are left "
            "out). Use env.webshop.split=products, which fits any catalogue."
        )
    return dict(zip(SPLITS, parts, strict=True))


def _without(goals: range, held_out: range, sentences: np.ndarray) -> Sequence[int]:
    """Returns those of `goals` whose sentence none of `held_out` has."""
    taken = np.isin(sentences[goals.start : goals.stop], sentences[held_out.start : held_out.stop])
    return (np.flatnonzero(~taken) + goals.start).tolist() if taken.any() else goals


def _by_product(rows: np.ndarray, sentences: np.ndarray) -> Mapping[str, Sequence[int]]:
    """Holds out whole products in the order of their first goals, until there are enough.

    Products that share a sentence are held out together. Of the other goals, the first are
    ``valid_seen``, each with all that share its sentence, but something of every product is left
    for training.
    """
    wanted = min(HELD_OUT, len(rows) // 5)
    unseen = _held_out(rows, sentences, wanted)
    left = Counter(rows.tolist())
    equals = _repeated(rows, sentences)
    chosen: dict[int, str] = {}
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    for goal, (row, sentence) in enumerate(zip(rows.tolist(), sentences.tolist(), strict=True)):
        if row in unseen:
            split = "valid_unseen"
        elif sentence in chosen:
            split = chosen[sentence]
        else:
            asked = equals.get(sentence, {row: 1})
            fits = all(left[product] > count for product, count in asked.items())
            split = "valid_seen" if fits and len(splits["valid_seen"]) < wanted else "train"
            if split == "valid_seen":
                left.subtract(asked)
            if sentence in equals:
                chosen[sentence] = split
        splits[split].append(goal)
    return splits


def _held_out(rows: np.ndarray, sentences: np.ndarray, wanted: int) -> set[int]:
    """Returns products of ``valid_unseen``, with `wanted` goals or somewhat more.

    Several products that share sentences and have more goals than that stay in training, or they
    could use up the catalogue.
    """
    groups = _groups(rows, sentences)
    goals = Counter(rows.tolist())
    unseen: set[int] = set()
    held = 0
    for row in dict.fromkeys(rows.tolist()):
        if held >= wanted:
            break
        group = groups.get(row, [row])
        size = sum(goals[member] for member in group)
        if row not in unseen and (len(group) == 1 or size <= wanted):
            unseen.update(group)
            held += size
    return unseen


def _repeated(rows: np.ndarray, sentences: np.ndarray) -> dict[int, Counter[int]]:
    """Returns sentence of several goals -> how many of them each product has."""
    found: dict[int, Counter[int]] = {}
    for goal in np.flatnonzero(np.isin(sentences, _several(sentences))).tolist():
        found.setdefault(int(sentences[goal]), Counter())[int(rows[goal])] += 1
    return found


def _several(sentences: np.ndarray) -> np.ndarray:
    """Returns the sentences that more than one goal has."""
    values, counts = np.unique(sentences, return_counts=True)
    return values[counts > 1]


def _groups(rows: np.ndarray, sentences: np.ndarray) -> dict[int, list[int]]:
    """Returns product -> all that it shares a sentence with, directly or by way of others.

    Products that share none are left out.
    """
    groups: dict[int, list[int]] = {}
    for products in _repeated(rows, sentences).values():
        first, *others = products
        for other in others:
            large, small = (groups.setdefault(row, [row]) for row in (first, other))
            if large is small:
                continue
            if len(large) < len(small):
                large, small = small, large
            large += small
            groups.update(dict.fromkeys(small, large))
    return groups
