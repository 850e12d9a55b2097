"""Holds what plays episodes: tasks, an agent, an engine, and how skills are retrieved."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from skillrl.agent.agent import Episode, SkillAgent
from skillrl.envs.base import Suite
from skillrl.errors import SkillRLError
from skillrl.inference.base import Engine, Sampling
from skillrl.parallel import processes, random_keys
from skillrl.rollouts import store
from skillrl.rollouts.collector import Job, check_some_ended, collect
from skillrl.rollouts.journal import Journal
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import Retrieve, Retriever
from skillrl.types import Skill, Task, Trajectory


def _say_nothing(doing: str) -> None:
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Player:
    """Holds everything that an episode needs but its task and its skill bank.

    Attributes:
      suite: makes the environments.
      agent: builds prompts and reads responses.
      engine: samples responses; a local one needs parameters before it answers.
      retriever: chooses the skills that prompts show.
      max_response_length: longest response, in tokens.
      workers: threads on which environments step; 0 steps them where episodes are driven.
      note: told about twice a second what goes on.
    """

    suite: Suite
    agent: SkillAgent
    engine: Engine
    retriever: Retriever
    max_response_length: int
    workers: int = 0
    note: Callable[[str], None] = _say_nothing


def make_job(
    player: Player,
    task: Task,
    bank: SkillBank,
    *,
    phase: int,
    iteration: int = 0,
    member: int = 0,
    repeat: int = 0,
    skills: Sequence[Skill] | None = None,
    drawn_as: int | None = None,
    retrieve: Retrieve | None = None,
) -> Job:
    """Plans an episode of `task` with skills from `bank`.

    Args:
      player: who plays it.
      task: what is to be done.
      bank: where skills are retrieved from, now.
      phase: a phase of `skillrl.parallel.random_keys`; with the numbers below it fixes every
        random draw of the episode.
      iteration: of the phase.
      member: index within the group of the same task.
      repeat: index among episodes that are otherwise alike.
      skills: what the prompt shows; None shows what is retrieved.
      drawn_as: the member whose random draws this one makes; None makes its own.
      retrieve: chooses the skills from `bank`; None for the player's retriever.
    """
    if skills is None:
        skills = (retrieve or player.retriever)(bank, task)
    shown = tuple(skills)
    draws = member if drawn_as is None else drawn_as
    number = random_keys.task_number(task.id)

    def start() -> Episode:
        return player.agent.episode(
            task,
            shown,
            rng_address=lambda step: (phase, iteration, number, draws, repeat, step),
            member=member,
            repeat=repeat,
            policy_version=player.engine.version,
            bank_version=bank.version,
        )

    ids = tuple(skill.id for skill in shown)
    return Job(
        task=task,
        start=start,
        member=member,
        repeat=repeat,
        skills=ids,
        bank_version=bank.version,
    )


def play(
    player: Player,
    jobs: Iterable[Job],
    *,
    temperature: float,
    on_done: Callable[[Trajectory], None] | None = None,
    width: int = 0,
    may_all_fail: bool = False,
    journal: Journal | None = None,
) -> list[Trajectory]:
    """Plays episodes with the policy that was published last.

    Where a run has several processes, each plays its share on its own engine and environments, and
    all get all episodes. Who plays an episode changes no bit of it.

    Args:
      player: who plays.
      jobs: the episodes; the same on all processes.
      temperature: of sampling; 0 is greedy.
      on_done: called with each trajectory as it ends, or as it comes from another process.
      width: episodes alive at once; 0 lets the collector choose. It changes speed alone.
      may_all_fail: whether all of these may end with an error without ending the run.
      journal: has what they were answered before a kill, and keeps what they are now.

    Returns:
      One trajectory per job, in the order of the jobs.

    Raises:
      SkillRLError: a token had a log-probability that is not finite: the parameters are finite,
        but what is computed from them is not. Also whatever `collector.collect` raises.
    """
    jobs, told = list(jobs), on_done or (lambda trajectory: None)
    if processes.count() == 1:
        return _play_here(
            player,
            jobs,
            temperature=temperature,
            on_done=told,
            width=width,
            may_all_fail=may_all_fail,
            journal=journal,
        )
    groups = groups_of(jobs)
    own: list[Trajectory] = []

    def work() -> list[dict[str, Any]]:
        mine = [jobs[at] for group in processes.share(len(groups)) for at in groups[group]]
        own.extend(
            _play_here(
                player,
                mine,
                temperature=temperature,
                on_done=told,
                width=width,
                may_all_fail=True,  # others may have had more luck
                journal=journal,
            )
        )
        return [store.to_json(trajectory) for trajectory in own]

    def beat() -> None:
        player.note(f"{len(own)} of {len(jobs)} episodes played here, waiting for the others'")

    played: dict[int, Trajectory] = {}
    parts = processes.together("episodes", work, beat=beat)
    for process, part in enumerate(parts):
        places = [at for group in groups[process :: len(parts)] for at in group]
        if process == processes.index():
            found = own
        else:
            found = [store.from_json(data) for data in part]
            for trajectory in found:
                told(trajectory)
        played |= zip(places, found, strict=True)
    trajectories = [played[at] for at in range(len(jobs))]
    if not may_all_fail:
        check_some_ended(trajectories)
    return trajectories


def groups_of(jobs: Sequence[Job]) -> list[list[int]]:
    """Numbers the jobs by groups: neighbours of the same task, whose prefixes one engine shares."""
    groups: list[list[int]] = []
    for at, job in enumerate(jobs):
        if at and job.task == jobs[at - 1].task and job.repeat == jobs[at - 1].repeat:
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


def _play_here(
    player: Player,
    jobs: Sequence[Job],
    *,
    temperature: float,
    on_done: Callable[[Trajectory], None],
    width: int,
    may_all_fail: bool,
    journal: Journal | None,
) -> list[Trajectory]:
    """Plays episodes with this process's engine and environments; see `play`."""
    engine = player.engine
    start, before = time.monotonic(), engine.tokens

    def on_turn(done: int) -> None:
        drawn = engine.tokens - before
        rate = f", {drawn} tokens ({drawn / (time.monotonic() - start):.0f}/s)" if drawn else ""
        player.note(f"{done} of {len(jobs)} episodes played{rate or ', reading prompts'}")

    played = collect(
        jobs,
        suite=player.suite,
        engine=engine,
        sampling=Sampling(temperature=temperature, max_tokens=player.max_response_length),
        workers=player.workers,
        width=width,
        on_done=on_done,
        on_turn=on_turn,
        may_all_fail=may_all_fail,
        journal=journal,
    )
    for trajectory in played:
        for number, step in enumerate(trajectory.steps, 1):
            if not all(map(math.isfinite, step.logprobs)):
                raise SkillRLError(
                    f"task {trajectory.task.id}, step {number}: the policy gave its answer a "
                    "log-probability that is not finite, so it has diverged. Go on from an "
                    "earlier checkpoint or other weights, with a lower learning rate."
                )
    return played
