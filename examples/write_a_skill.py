"""Writes skills by hand and measures what they change, beside the same words in another order.

    python examples/write_a_skill.py

A longer prompt alone changes what a small policy does, so skills have done something only if they
differ from no skill *and* from their own words shuffled. Tasks are the same and decoding is
greedy, so differences are taken task by task.

What to expect: the tiny policy does what it is told and knows nothing of these households, so
without skills it wins none of these tasks: it puts the egg away cold, if it finds one. Told how to
heat, in several ways, and where eggs are kept here, it wins many. With the same words
shuffled it wins few, so it reads sentences; only the control can tell.
"""

from __future__ import annotations

import numpy as np

import skillrl
from skillrl import Skill, SkillBank

HEATING = "pick_heat_then_place_in_recep"
MINE = [
    Skill(
        title="Steps to heat",
        principle="Find the object, take it, heat it with microwave, then put it.",
        when_to_apply="start of a heat task",
        category=HEATING,
    ),
    Skill(
        title="Find egg",
        principle="Look for egg first in garbagecan.",
        when_to_apply="you search egg",
        category=HEATING,
    ),
    Skill(
        title="Use microwave",
        principle="With the object in hand, go to microwave and heat it.",
        when_to_apply="you hold the object",
        category=HEATING,
    ),
    Skill(
        title="Heat before you put",
        principle="Never put the object before you heat it with microwave.",
        when_to_apply="before you put an object",
        category=HEATING,
        kind="mistake",
    ),
]
SHUFFLED = [
    Skill(
        title="Heat to steps",
        principle="It put the microwave, with find object it, heat take, then it.",
        when_to_apply="task heat a of start",
        category=HEATING,
    ),
    Skill(
        title="Egg find",
        principle="Garbagecan in first egg for look.",
        when_to_apply="egg search you",
        category=HEATING,
    ),
    Skill(
        title="Microwave use",
        principle="Heat and hand in the it, microwave to go object with.",
        when_to_apply="object the hold you",
        category=HEATING,
    ),
    Skill(
        title="You before put heat",
        principle="Microwave with it heat you before object the put never.",
        when_to_apply="object an put you before",
        category=HEATING,
        kind="mistake",
    ),
]


def main(tasks: int = 20) -> dict[str, np.ndarray]:
    """Plays tasks that heat an egg under three banks; returns which were won, by bank."""
    suite = skillrl.make_suite("alfworld")
    policy = skillrl.load_policy("asset:tiny_qwen2_alfworld")
    heating = [task for task in suite.tasks("train") if task.category == HEATING]
    eggs = [task for task in heating if " egg " in task.goal][:tasks]
    banks = {
        "no skill": SkillBank(),
        "my skills": SkillBank().add(MINE),
        "their words shuffled": SkillBank().add(SHUFFLED),
    }

    won = {}
    print(f"{len(eggs)} eggs to heat       won  more than without a skill, in points")
    for name, bank in banks.items():
        episodes = skillrl.rollout(policy, suite, eggs, bank, temperature=0.0)
        won[name] = np.array([float(episode.won) for episode in episodes])
        more = 100 * (won[name] - won["no skill"])
        mean, error = more.mean(), 1.96 * more.std(ddof=1) / np.sqrt(len(more))
        print(
            f"{name:20} {won[name].sum():4.0f}  "
            f"{mean:5.1f} (95 %: {mean - error:.1f} to {mean + error:.1f})"
        )
    return won


if __name__ == "__main__":
    main()
