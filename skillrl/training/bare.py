"""Groups of which some members play without skills (``rl.bare_members``): what skills add there.

The bare members are the last of their group. They have prompts without skills, are sampled and
trained on these, and are compared with the rest of the group like any member. What the others win
more is a measurement of all skills of the prompt together; which of them earned it cannot be told,
so only where there was exactly one it counts as that skill's examination.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from skillrl.config.settings import RLConfig
from skillrl.skills.exams import tally
from skillrl.types import Exams, Trajectory


def is_bare(member: int, config: RLConfig) -> bool:
    """Tells whether this member of a group plays without skills."""
    return member >= config.group_size - config.bare_members


def with_skills(trajectories: Iterable[Trajectory], config: RLConfig) -> tuple[Trajectory, ...]:
    """Picks the members that play with what is retrieved, though that may be nothing."""
    return tuple(t for t in trajectories if not is_bare(t.member, config))


def skill_gain(trajectories: Sequence[Trajectory], config: RLConfig) -> dict[str, float]:
    """Computes what skills added to success in an iteration, as metrics.

    Args:
      trajectories: whole groups of ``rl.group_size`` one after the other.
      config: says which members are bare.

    Returns:
      ``skill_gain``, the mean over groups of the success of members with skills minus that of bare
      ones, and ``bare_success``. Groups for which nothing was retrieved, or of which one side has
      failed altogether, are left out; empty if none is left.
    """
    gains, wins = [], []
    for shown, bare in _sides(trajectories, config):
        if shown and bare:
            rates = [sum(t.won for t in side) / len(side) for side in (shown, bare)]
            gains.append(rates[0] - rates[1])
            wins.append(rates[1])
    if not gains:
        return {}
    return {"skill_gain": sum(gains) / len(gains), "bare_success": sum(wins) / len(wins)}


def single_skill_exams(
    trajectories: Sequence[Trajectory], config: RLConfig, *, step: int, policy_version: int
) -> dict[str, Exams]:
    """Counts groups with a single skill as examinations of it.

    The first member is paired with the first bare one, and so on; members make draws of their own,
    so that these pairs share their task and nothing else.

    Args:
      trajectories: whole groups of ``rl.group_size`` one after the other.
      config: says which members are bare.
      step: training iteration.
      policy_version: number of updates behind the policy that played.

    Returns:
      Examinations by skill, for `SkillBank.record_exams`.
    """
    return tally(
        (
            (shown[0].skills[0], int(first.won) - int(second.won))
            for shown, bare in _sides(trajectories, config)
            if shown and len(shown[0].skills) == 1
            for first, second in zip(shown, bare, strict=False)
        ),
        step=step,
        policy_version=policy_version,
    )


def _sides(
    trajectories: Sequence[Trajectory], config: RLConfig
) -> Iterator[tuple[list[Trajectory], list[Trajectory]]]:
    """Yields, of each group, the members that had skills and the bare ones that did not fail."""
    size = config.group_size
    for at in range(0, len(trajectories), size):
        group = [t for t in trajectories[at : at + size] if not t.error]
        shown = [t for t in with_skills(group, config) if t.skills]
        yield shown, [t for t in group if is_bare(t.member, config)]
