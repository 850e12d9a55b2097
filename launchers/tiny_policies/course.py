"""What a course in one environment consists of: the demonstrator, its slips, the stages."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.envs import Environment, Expert
from skillrl.types import Observation, Task

HELD_BACK = 48
"""Last tasks of the train split, which are not practised on: for looking at the result."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Updates with one setting; the learning rate goes from `rate` to `last_rate`."""

    updates: int
    episodes: int  # per update, played by the demonstrator
    skilled: float  # share of prompts with skills
    rate: float
    last_rate: float
    aligned: float  # share of episodes that pursue the stated task, without skills
    aligned_with_skills: float
    noise: float  # share of moves that are replaced
    impossible: float  # share of these that are a slip, and then often repeated


@dataclasses.dataclass(frozen=True)
class Course:
    """An environment's own part in the making of its tiny policy.

    Attributes:
      env: registered name.
      max_steps: step limit of an episode.
      prompts: what the policy's prompts show.
      other_prompts: further forms of prompts whose words the tokenizer should know.
      stages: in order.
      expert: (task, careless) -> a demonstrator of one episode. A careless one answers in the
        right form and does only part of what the task says.
      random_move: an action taken for no reason.
      slip: a likely mistake in place of an action.
      phrases: of the corpus, strings of several words that become one token each.
      parts: whole phrase -> the words of its two parts, for `mimetic_init`.
      prefixes: padded lengths of prompts' shared parts.
      buckets: padded lengths of the rest.
      responses: padded lengths of answers.
      similarity_threshold: that task-specific skills must exceed.
      noisy: which of the episodes are played at random that the skill bank is distilled from.
      practice: a task to learn from and where to play it; None takes them from the train split.
    """

    env: str
    max_steps: int
    prompts: PromptConfig
    other_prompts: tuple[PromptConfig, ...]
    stages: tuple[Stage, ...]
    expert: Callable[[Task, bool], Expert]
    random_move: Callable[[Task, Observation, random.Random], str]
    slip: Callable[[Task, str, Sequence[HistoryStep], Observation, random.Random], str]
    phrases: Callable[[Sequence[str]], tuple[str, ...]] = lambda texts: ()
    prefixes: tuple[int, ...] = (64, 216)
    buckets: tuple[int, ...] = (64, 80, 96, 112, 136, 168, 288)
    responses: tuple[int, ...] = (20,)
    similarity_threshold: float = 0.05
    noisy: Callable[[int], bool] = lambda index: index % 2 == 0
    practice: Callable[[random.Random], tuple[Task, Environment]] | None = None
