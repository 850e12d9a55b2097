"""Registers an advantage estimator of one's own and trains with it beside the one that ships.

    python examples/own_estimator.py

The estimator lies in this file, outside the package. The command line imports the file likewise
and says what it registers (with --dry_run it only says so):

    skillrl train --mock --set 'modules=[examples/own_estimator.py]' --set rl.advantage=sign
"""

from __future__ import annotations

import dataclasses

import numpy as np

import skillrl
from skillrl.training.advantages import EpisodeBatch, register_advantage


@register_advantage("sign")
def sign_advantage(batch: EpisodeBatch, *, penalty: float) -> np.ndarray:
    """Gives every step +1 or -1: whether its episode did better or worse than its group's mean.

    Args:
      batch: episodes in groups.
      penalty: taken from the advantage of an invalid action.

    Returns:
      An advantage per step.
    """
    signs = np.zeros(len(batch.returns), np.float32)
    for group in np.unique(batch.group):
        members = batch.group == group
        signs[members] = np.sign(batch.returns[members] - batch.returns[members].mean())
    return signs[batch.step_episode] - np.float32(penalty) * batch.invalid


def main(groups: int = 4, group_size: int = 8) -> dict[str, dict[str, float]]:
    """Makes one update with either estimator from the same episodes; returns the metrics."""
    suite = skillrl.make_suite("alfworld")
    policy = skillrl.load_policy("asset:tiny_qwen2_alfworld")
    tasks = [t for t in suite.tasks("train") if t.category == "pick_and_place_simple"][:groups]
    episodes = skillrl.rollout(policy, suite, tasks, group_size=group_size, temperature=1.0)
    print(f"{sum(e.won for e in episodes)} of {len(episodes)} episodes won")

    config, metrics = skillrl.default_config("alfworld"), {}
    for name in ("grpo", "sign"):
        own = dataclasses.replace(config, rl=dataclasses.replace(config.rl, advantage=name))
        _, metrics[name] = skillrl.grpo_step(policy, episodes, config=own)
        print(f"{name:5} grad norm {metrics[name]['grad_norm']:.4f}")
    return metrics


if __name__ == "__main__":
    main()
