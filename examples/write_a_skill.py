"""Writes a skill by hand and measures what it changes: none, this one, and another of its length.

    python examples/write_a_skill.py

A skill helps if success with it is higher than without it *and* than with other words of the
same length: a longer prompt alone changes what a small policy does. The tasks are the same
and decoding is greedy, so each difference is the skill's, and the intervals say how far twenty
tasks can be trusted.
"""

from __future__ import annotations

from typing import Any

import skillrl
from skillrl import Skill, SkillBank

MINE = Skill(
    id="",  # the bank finds one
    title="Treat it before you put it",
    principle="Take the object, heat it with the microwave, then go and put it where it belongs.",
    when_to_apply="The task says hot or heat.",
    category="pick_heat_then_place_in_recep",
)
OTHER = Skill(
    id="",
    title="Look around you before leaving",
    principle="Walk to the window, admire the view from the garden, then sit down and rest awhile.",
    when_to_apply="The day is long and sunny.",
    category="pick_heat_then_place_in_recep",
)


def main(tasks: int = 20) -> dict[str, dict[str, Any]]:
    """Evaluates the tiny policy under the three banks; returns the results by name."""
    suite = skillrl.make_suite("alfworld")
    policy = skillrl.load_policy("asset:tiny_qwen2_alfworld")
    banks = {
        "no skill": SkillBank(),
        "my skill": SkillBank().add([MINE]),
        "other words": SkillBank().add([OTHER]),
    }
    results = {}
    for name, bank in banks.items():
        found = skillrl.evaluate(policy, suite, "valid_seen", bank, limit=6 * tasks)
        result = found["by_category"]["pick_heat_then_place_in_recep"]
        results[name] = result
        print(
            f"{name:12} {100 * result['success']:5.1f} % of {result['n']} heating tasks "
            f"(95 %: {100 * result['low']:.0f} to {100 * result['high']:.0f})"
        )
    print("\nDo the intervals overlap? Then these tasks do not show that the skill helps.")
    return results


if __name__ == "__main__":
    main()
