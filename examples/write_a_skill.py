"""Writes a skill by hand and measures what it changes, beside the same words in another order.

    python examples/write_a_skill.py

A longer prompt alone changes what a small policy does, so a skill has done something only if it
differs from no skill *and* from its own words shuffled. Tasks are the same and decoding is
greedy, so differences are taken task by task.

What to expect: the tiny policy does what it is told and knows nothing of this household, so
without a skill it wins none of these tasks: it puts the object away cold. Told how to heat it wins
some, where it comes across the object in time; where things are kept is for another skill.
"""

from __future__ import annotations

import numpy as np

import skillrl
from skillrl import Skill, SkillBank

HEATING = "pick_heat_then_place_in_recep"
MINE = Skill(
    title="Steps to heat",
    principle="Find the object, take it, heat it with microwave, then put it.",
    when_to_apply="start of a heat task",
    category=HEATING,
)
SHUFFLED = Skill(
    title="Heat to steps",
    principle="It put the microwave, with find object it, heat take, then it.",
    when_to_apply="task heat a of start",
    category=HEATING,
)


def main(tasks: int = 30) -> dict[str, np.ndarray]:
    """Plays heating tasks under three banks; returns which of them were won, by bank."""
    suite = skillrl.make_suite("alfworld")
    policy = skillrl.load_policy("asset:tiny_qwen2_alfworld")
    heating = [task for task in suite.tasks("train") if task.category == HEATING][:tasks]
    banks = {
        "no skill": SkillBank(),
        "my skill": SkillBank().add([MINE]),
        "its words shuffled": SkillBank().add([SHUFFLED]),
    }

    won = {}
    print(f"{len(heating)} heating tasks      won  more than without a skill, in points")
    for name, bank in banks.items():
        episodes = skillrl.rollout(policy, suite, heating, bank, temperature=0.0)
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
