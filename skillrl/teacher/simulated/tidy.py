"""What the simulated teacher would take out of the bank, as far as the request itself shows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from skillrl.teacher.simulated.domain import Entry, entry
from skillrl.teacher.simulated.recordings import read_skills, read_utility


def tidied(
    text: str, sources: Sequence[str], *, besides: Collection[str]
) -> dict[str, list[Entry]]:
    """Proposes to retire what is measured to hurt, and to merge what says the same.

    Args:
      text: the request.
      sources: ids of the recordings that it shows.
      besides: ids of skills that get new words, which are left alone.

    Returns:
      The lists ``retire`` and ``merge``, each only where it has an entry.
    """
    hurts = {name: ends for name, ends in read_utility(text).items() if ends[1] < 0}
    retire = [
        {"id": name, "cause": f"measured to hurt: {low:+d} to {high:+d} points"}
        for name, (low, high) in hurts.items()
    ]
    alike: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, category, title, principle in read_skills(text):
        if name not in hurts and name not in besides:
            alike.setdefault((category, principle), []).append((name, title))
    merge = [
        entry(same[0][1], principle, "", sources=sources)
        | {"ids": [name for name, _ in same], "cause": "the same advice under several titles"}
        for (_, principle), same in alike.items()
        if len(same) > 1
    ]
    return {name: found for name, found in (("retire", retire), ("merge", merge)) if found}
