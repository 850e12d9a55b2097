"""Runs phase 1: the base policy's own episodes, plus a stated number of expert ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.agent.agent import render_response
from skillrl.agent.parse import parse
from skillrl.envs.answers import next_move, open_handle
from skillrl.envs.base import Expert, Suite, answer_form
from skillrl.errors import Corrupt, SkillRLError, finally_do
from skillrl.evaluation.evaluate import outcome
from skillrl.io.checksums import unseal
from skillrl.io.files import end_last_line, truncate_jsonl
from skillrl.io.json_text import loads
from skillrl.parallel import processes, random_keys
from skillrl.phases.session import Session
from skillrl.rollouts import store
from skillrl.rollouts.player import Player, make_job, play
from skillrl.skills.bank import SkillBank
from skillrl.types import Step, Task, Trajectory

_CHUNK = 128  # episodes between two appends: what a kill can cost
_STUCK = 0.5  # chance of repeating a slip, where there are slips


def collect(
    session: Session, player: Player, *, output: Path | None = None, episodes: int | None = None
) -> Path:
    """Plays training tasks in manifest order and returns the file of trajectories.

    A file that is already longer is kept: a resumed phase plays only what is missing.

    Args:
      session: of the run.
      player: plays with the base policy.
      output: another file than the run's own.
      episodes: of the policy; ``collect.episodes`` by default.

    Raises:
      SkillRLError: there is nothing to play, or `output` holds something else.
    """
    config = session.config.collect
    path = output or session.run.file("collect", "trajectories.jsonl")
    tasks = session.suite.tasks("train")
    if not tasks:
        raise SkillRLError(f"the train split of {session.suite.name} has no tasks to collect on")
    count = episodes or config.episodes
    total = count + config.expert_episodes
    played, shown = processes.on_first("episodes on disk", lambda: _on_disk(path, output))
    to_show = [tasks[i % len(tasks)] for i in range(count + shown, total)]
    for task in to_show:
        _expert(session.suite, task)  # a task without one is found before hours of play
    with (
        session.clock.timed("collect"),
        session.display.progress("collect", total, unit="episode", done=played + shown) as bar,
    ):
        won: list[bool] = []

        def on_done(trajectory: Trajectory) -> None:
            won.append(trajectory.won)
            bar.update(success=sum(won) / len(won))

        for start in range(played, count, _CHUNK):
            jobs = [
                make_job(
                    player,
                    tasks[i % len(tasks)],
                    SkillBank(),
                    phase=random_keys.COLLECT,
                    repeat=i // len(tasks),
                )
                for i in range(start, min(start + _CHUNK, count))
            ]
            found = play(
                player,
                jobs,
                temperature=config.temperature,
                on_done=on_done,
                may_all_fail=start > 0,
            )
            _append(path, found)
        at_once = 1 if processes.count() == 1 else _CHUNK
        for start in range(0, len(to_show), at_once):
            for trajectory in _demonstrations(session, path, to_show[start : start + at_once]):
                on_done(trajectory)
    session.metrics.resume("collect", -1)
    numbers = processes.on_first(
        "outcome", lambda: outcome([t for t in store.read(path) if t.source == "policy"])
    )
    session.metrics.write("collect", 0, numbers)
    return path


def _demonstrations(session: Session, path: Path, tasks: Sequence[Task]) -> list[Trajectory]:
    """Plays the expert's episodes, each process its share, and appends them to the file."""

    def show(task: Task) -> Trajectory:
        slips = session.config.collect.expert_slips
        return expert_episode(session.suite, task, slips=slips, seed=session.seed)

    def work() -> list[dict[str, Any]]:
        return [store.to_json(show(tasks[at])) for at in processes.share(len(tasks))]

    if processes.count() == 1:
        found = list(map(show, tasks))
    else:
        parts = processes.together("demonstrations", work)
        parted = (parts[at % len(parts)][at // len(parts)] for at in range(len(tasks)))
        found = [store.from_json(data) for data in parted]
    _append(path, found)
    return found


def _append(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Appends to the file, which may lie outside of the run directory."""
    if processes.is_first():
        store.append(path, trajectories)


def expert_episode(suite: Suite, task: Task, *, slips: float, seed: int) -> Trajectory:
    """Plays one demonstration by the environment's expert, marked as such.

    With `slips` (``collect.expert_slips``) above 0 this share of its steps is replaced by its
    last action once more. Where that is not admissible, the step is recorded as invalid (so
    that it is never imitated) and the expert goes on from there, at times only after more of the
    same: the demonstration then shows what to do after a mistake, repeated or not. In an
    environment without admissible actions (search) the share changes nothing.

    An exception of the environment ends it with ``error`` set, as an episode of the policy.

    Args:
      suite: the environment.
      task: the task to play.
      slips: the share of steps to replace.
      seed: the seed of the slips.

    Raises:
      SkillRLError: the task has no expert, or the environment raised it.
    """
    expert = _expert(suite, task)
    try:
        return _demonstrate(suite, task, expert, slips=slips, seed=seed)
    except SkillRLError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        return Trajectory(
            task=task, prefix_ids=(), steps=(), won=False, error=said, source="expert"
        )


def _demonstrate(
    suite: Suite, task: Task, expert: Expert, *, slips: float, seed: int
) -> Trajectory:
    """Plays one episode with the expert's moves on a handle of its own.

    Args:
      suite: the environment.
      task: the task to play.
      expert: says each move.
      slips: the share of moves that are replaced by the last action once more.
      seed: the seed of the slips.

    Returns:
      The episode, without tokens: responses are kept as text.
    """
    environment = open_handle(suite)
    rng = np.random.default_rng([seed, random_keys.COLLECT, random_keys.task_number(task.id)])
    tags = answer_form(suite).tags
    steps: list[Step] = []
    with finally_do(environment.close):
        observation = environment.reset(task)
        while True:
            move = next_move(expert, observation, suite.name)
            action = move.action
            if steps and rng.random() < (_STUCK if steps[-1].invalid else slips):
                action = steps[-1].action  # said twice: most often not admissible any more
            response = render_response(move.thought, action, tags)
            invalid = parse(response, observation.admissible, tags=tags).invalid
            if action != move.action and not invalid:
                action, response = move.action, render_response(move.thought, move.action, tags)
            result = environment.step(action)
            if action != move.action and hasattr(expert, "played"):
                expert.played("")  # a slip is never possible; not every page would show that
            steps.append(
                Step(
                    observation=observation.text,
                    admissible=observation.admissible,
                    suffix_ids=(),
                    response_ids=(),
                    logprobs=(),
                    response=response,
                    action=action,
                    invalid=invalid,
                    reward=result.reward,
                )
            )
            observation = result.observation
            if result.done:
                break
    return Trajectory(
        task=task,
        prefix_ids=(),
        steps=tuple(steps),
        won=result.won,
        score=result.score,
        final=observation.text,
        source="expert",
    )


def _expert(suite: Suite, task: Task) -> Expert:
    expert = suite.expert(task)
    if expert is None:
        raise SkillRLError(
            f"task {task.id} has no expert for collect.expert_episodes: set it to 0, or use tasks "
            "with an expert"
        )
    return expert


def load(session: Session, path: Path) -> Sequence[Trajectory]:
    """Reads the trajectories of a file, without those whose environment failed.

    Raises:
      SkillRLError: a line is not a trajectory, or none is left.
    """
    own = path == session.run.file("collect", "trajectories.jsonl")
    found = list(store.read(path, given=not own))
    usable = [trajectory for trajectory in found if not trajectory.error]
    if not usable:
        holds = f"{len(found)} episodes, all of them errored" if found else "no trajectory"
        raise SkillRLError(
            f"{path}: holds {holds}, so there is nothing to learn from. Run collect, or name a "
            "file that collect has written."
        )
    return usable


def _on_disk(path: Path, output: Path | None) -> tuple[int, int]:
    """Counts the policy's and the expert's episodes that `path` holds already."""
    if output is not None:
        _check_ours(output)
    done = _whole_lines(path)
    return done["policy"], done["expert"]


def _check_ours(path: Path) -> None:
    """Refuses a file that holds something else, before anything in it is dropped as torn."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        first = file.readline()
    try:
        store.from_json(unseal(loads(first), path))
    except Corrupt:
        raise
    except (ValueError, RecursionError, SkillRLError):
        raise SkillRLError(
            f"--output={path}: does not begin with a trajectory and is left as it is. Name a "
            "new file, or one that collect has written."
        ) from None
    end_last_line(path)  # another tool may have written it: nothing of it goes


def _whole_lines(path: Path) -> Counter[str]:
    """Counts the episodes already on disk by who acted in them; drops a torn last line."""
    if not path.exists():
        return Counter()
    truncate_jsonl(path, lambda row: True)
    return Counter(trajectory.source for trajectory in store.read(path))
