"""The records that describe how a tiny policy is made: stages, and a course of them."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.envs import Environment, Expert
from skillrl.envs.base import Move
from skillrl.types import Observation, Skill, Task


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A number of updates that share one setting of the demonstrator.

    Attributes:
      updates: how many there are.
      episodes: the demonstrator plays per update.
      skilled: share of prompts with skills in them.
      rate: learning rate at the beginning.
      last_rate: learning rate at the end; it changes linearly.
      aligned: share of the episodes whose demonstrator is competent, whatever the prompt says.
      noise: share of moves that are replaced.
      plain: share that is shown of the steps with a frequent move on which all demonstrators of a
        lesson agree.
      steps: of an episode that are shown; 0 shows all.
      contrasts: most readings in which a step is shown besides that of the one who plays.
      impossible: share of the replaced moves that are a slip, which is then often repeated; the
        others are random.
      own: share of the episodes in which the policy's own moves are played, so that it is shown
        what the demonstrator would do where the policy itself gets to (DAgger, arXiv 1011.0686).
      temperature: of the policy's own moves. A low one leads into the loops of greedy play.
      whole: further episodes per update that are shown to their end, where `steps` cuts the others.
      astray: share of the readings in which a step is shown although who reads so would not have
        come to it, having done another thing before. In play they are rare.
      crowded: whether prompts have several lines about one thing, as those of a run's bank do.
      lookups: whether prompts have nothing but lines about where things are, of which one is to be
        found.
      idle: share of the prompts with skills none of which matters: words about nothing, what
        other tasks need. They are answered as a prompt without skills.
      categories: that tasks are drawn from, those named twice twice as often; none draws from all
        alike.
    """

    updates: int
    episodes: int
    skilled: float
    rate: float
    last_rate: float
    aligned: float
    noise: float = 0.3
    impossible: float = 0.5
    plain: float = 1.0
    steps: int = 0
    contrasts: int = 1
    own: float = 0.0
    temperature: float = 0.6
    whole: int = 0
    crowded: bool = False
    astray: float = 1.0
    lookups: bool = False
    idle: float = 0.0
    categories: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one episode of practice is played with.

    Attributes:
      task: to do.
      environment: where.
      skills: that the prompt shows.
      expert: the demonstrator, who has read them.
      others: demonstrators of the same task who have read something else, each with its skills.
        Where they would do another thing, the step is shown as one or some of them would do it too.
    """

    task: Task
    environment: Environment
    skills: tuple[Skill, ...]
    expert: Expert
    others: tuple[tuple[tuple[Skill, ...], Expert], ...] = ()


Line = TypeVar("Line", bound=tuple[Any, ...])


def lesson_of(
    task: Task,
    environment: Environment,
    readings: Sequence[Sequence[Line]],
    demonstrator: Callable[[Sequence[Line]], Expert],
) -> Lesson:
    """Makes a lesson from what a prompt may say, as lines that begin with their skill.

    Args:
      task: to do.
      environment: where.
      readings: of the same task; the first is that of the one who plays.
      demonstrator: returns who has read these lines.
    """
    (skills, expert), *others = (
        (tuple(line[0] for line in read), demonstrator(read)) for read in readings
    )
    return Lesson(
        task=task, environment=environment, skills=skills, expert=expert, others=tuple(others)
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What making a tiny policy takes from its environment.

    Attributes:
      env: registered name.
      max_steps: step limit of an episode.
      prompts: what the policy's prompts show.
      other_prompts: further forms of prompts whose words the tokenizer should know.
      stages: in order.
      lesson: draws an episode of a stage: its task, the skills in its prompt and a demonstrator
        who follows them.
      random_move: an action taken for no reason.
      slip: a likely mistake in place of an action.
      phrases: of the corpus, strings of several words that become one token each.
      prefixes: padded lengths of prompts' shared parts.
      buckets: padded lengths of the rest.
      responses: padded lengths of answers.
      frequent: tells moves of which a stage may show a share; the others are too rare for that.
    """

    env: str
    max_steps: int
    prompts: PromptConfig
    other_prompts: tuple[PromptConfig, ...]
    stages: tuple[Stage, ...]
    lesson: Callable[[random.Random, Stage], Lesson]
    random_move: Callable[[Task, Observation, random.Random], str]
    slip: Callable[[Task, str, Sequence[HistoryStep], Observation, random.Random], str]
    phrases: Callable[[Sequence[str]], tuple[str, ...]] = lambda texts: ()
    prefixes: tuple[int, ...] = (64, 216)
    buckets: tuple[int, ...] = (64, 80, 96, 112, 136, 168, 288)
    responses: tuple[int, ...] = (20,)
    frequent: Callable[[Move], bool] = lambda move: True
