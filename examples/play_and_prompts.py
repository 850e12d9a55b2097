"""Plays one household task with the tiny policy and shows every prompt and response.

    python examples/play_and_prompts.py

What to look at: the prompt has a part that all steps of an episode share (role, skills, task)
and a part of the step's own (what was done, what is seen, what is admissible).
"""

from __future__ import annotations

import skillrl


def main(steps: int = 4) -> skillrl.Trajectory:
    """Plays the first training task, prints the first `steps` decisions, returns the episode."""
    suite = skillrl.make_suite("alfworld")
    policy = skillrl.load_policy("asset:tiny_qwen2_alfworld")
    task = suite.tasks("train")[0]
    print(f"{len(suite.tasks('train'))} training tasks; the first, {task.id}: {task.goal}\n")

    (episode,) = skillrl.rollout(policy, suite, [task], temperature=0.0)

    print("--- the shared part of the prompt, as the model reads it")
    print(policy.tokenizer.decode(episode.prefix_ids))
    for number, step in enumerate(episode.steps[:steps], 1):
        print(f"--- step {number}: the step's own part")
        print(policy.tokenizer.decode(step.suffix_ids))
        surest = max(step.logprobs)
        print(f"--- response ({len(step.response_ids)} tokens, best log-probability {surest:.3f})")
        print(step.response, "  INVALID: " + step.invalid if step.invalid else "")
    print(f"\n{len(episode.steps)} steps in all, {'won' if episode.won else 'lost'}")
    return episode


if __name__ == "__main__":
    main()
