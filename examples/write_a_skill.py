"""Writes a skill by hand and measures what it changes, beside the same words in another order.

    python examples/write_a_skill.py

A longer prompt alone changes what a small policy does, so a skill has done something only if it
differs from no skill *and* from its own words shuffled. Tasks are the same and decoding is
greedy, so differences are taken task by task.

What to expect: the tiny policy has learned to skip the heating, and no skill changes that; it
takes training (examples/train_with_plot.py). What a skill can change is how often the policy
tries what is not possible; whether this one does, the intervals say.
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


def main(tasks: int = 20) -> dict[str, np.ndarray]:
    """Plays heating tasks under three banks; returns each episode's share of invalid actions."""
    suite = skillrl.make_suite("alfworld")
    policy = skillrl.load_policy("asset:tiny_qwen2_alfworld")
    heating = [task for task in suite.tasks("valid_seen") if task.category == HEATING][:tasks]
    banks = {
        "no skill": SkillBank(),
        "my skill": SkillBank().add([MINE]),
        "its words shuffled": SkillBank().add([SHUFFLED]),
    }

    invalid = {}
    print(f"{len(heating)} heating tasks      won  invalid  less than without a skill, by")
    for name, bank in banks.items():
        episodes = skillrl.rollout(policy, suite, heating, bank, temperature=0.0)
        invalid[name] = np.array(
            [np.mean([bool(step.invalid) for step in episode.steps]) for episode in episodes]
        )
        won = sum(episode.won for episode in episodes)
        less = 100 * (invalid["no skill"] - invalid[name])
        mean, error = less.mean(), 1.96 * less.std(ddof=1) / np.sqrt(len(less))
        print(
            f"{name:20} {won:4} {100 * invalid[name].mean():6.1f} %  "
            f"{mean:4.1f} points (95 %: {mean - error:.1f} to {mean + error:.1f})"
        )
    return invalid


if __name__ == "__main__":
    main()
