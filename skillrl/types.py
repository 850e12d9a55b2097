"""Defines the plain records that move through the system.

Everything here is immutable and free of JAX, so that environments, the skill
bank and the teacher can be used without touching a device. Data goes forward
as these records:

    Task -> (Observation, Step)* -> Trajectory -> Skill / training batch

Texts are made valid (`skillrl.io.text.repair`) where a record is made: whatever an environment, a
server or a teacher said, a record can be written, sent and tokenized.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from skillrl.io.numbers import SignedInt
from skillrl.io.text import repair

GENERAL = "general"
"""The category of skills that apply to every task (S_g in the paper)."""


def valid_texts(record: Any, *names: str) -> None:
    """Repairs these fields of a frozen record that is being made (in ``__post_init__``)."""
    for name in names:
        value = getattr(record, name)
        if type(value) is str and value.isascii():
            continue  # nearly all of them, and environments make thousands a second
        if type(value) is tuple and set(map(type, value)) <= {str} and all(map(str.isascii, value)):
            continue
        repaired = repair(value)
        if repaired is not value:
            object.__setattr__(record, name, repaired)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Describes one thing to do in one environment, the same in every process.

    Attributes:
      id: unique and stable within the environment, e.g. ``valid_seen/0007``.
      split: ``train``, ``valid_seen`` or ``valid_unseen``.
      category: key of the environment's ``categories``; routes skill retrieval.
      goal: the sentence that the agent reads.
      payload: what the environment needs to start it (a path, a seed); JSON only.
    """

    id: str
    split: str
    category: str
    goal: str
    payload: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        valid_texts(self, "id", "split", "category", "goal", "payload")


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """Holds what the agent sees: ``text``, and the actions that would be understood."""

    text: str
    admissible: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        valid_texts(self, "text", "admissible")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """Holds what an environment answers to an action.

    Attributes:
      observation: the new observation.
      done: the episode is over (won, lost or out of steps).
      won: the goal is met now.
      reward: the environment's own reward for this action.
      score: partial success in [0, 1] where the environment has one, else 1 if won.
    """

    observation: Observation
    done: bool
    won: bool
    reward: float = 0.0
    score: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class VersionSpan:
    """Says which weights of a server sampled the tokens ``start <= i < end`` of a response.

    Attributes:
      version: the server's name for them.
      start: the first token.
      end: one after the last.
    """

    version: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Holds one decision of an episode, with exactly the tokens that were sampled.

    Attributes:
      observation: text the agent saw.
      admissible: actions offered at that moment.
      suffix_ids: prompt tokens after the shared prefix.
      response_ids: sampled tokens, the end-of-turn token included.
      logprobs: log-probability of each response token (full softmax, temperature 1).
      response: decoded text, for people and the teacher; never encoded again.
      action: what was sent to the environment.
      invalid: why the response was not a valid action, or "" if it was.
      reward: the environment's reward for the action.
      versions: which weights sampled which of the tokens, where a server said so.
    """

    observation: str
    admissible: tuple[str, ...]
    suffix_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    response: str
    action: str
    invalid: str = ""
    reward: float = 0.0
    versions: tuple[VersionSpan, ...] = ()

    def __post_init__(self) -> None:
        valid_texts(self, "observation", "admissible", "response", "action", "invalid")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """Holds one whole episode.

    Attributes:
      task: what was attempted.
      prefix_ids: prompt tokens shared by every step.
      steps: the decisions, in order.
      won: the goal was met.
      score: final partial score in [0, 1].
      final: text of the last observation, which no step shows.
      member: index within the group of the same task (0 in evaluation).
      repeat: index of the repetition in evaluation.
      skills: ids of the skills in the prompt.
      policy_version: number of optimiser updates behind the policy that acted.
      bank_version: version of the skill bank that was retrieved from.
      source: ``policy``, ``expert``, ...: who acted.
      error: why the environment failed, or ""; such episodes are excluded and counted.
    """

    task: Task
    prefix_ids: tuple[int, ...]
    steps: tuple[Step, ...]
    won: bool
    score: float = 0.0
    final: str = ""
    member: int = 0
    repeat: int = 0
    skills: tuple[str, ...] = ()
    policy_version: int = 0
    bank_version: int = 0
    source: str = "policy"
    error: str = ""

    def __post_init__(self) -> None:
        valid_texts(self, "final", "skills", "source", "error")

    @property
    def id(self) -> str:
        """A name for provenance: task, who acted, member and repeat."""
        return f"{self.task.id}#{self.source}.v{self.policy_version}.m{self.member}.r{self.repeat}"


@dataclasses.dataclass(frozen=True, slots=True)
class SkillUse:
    """Counts how often a skill was in a prompt, and how often that episode was won."""

    episodes: int = 0
    wins: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exams:
    """What a skill's examinations gave: tasks played with it and, all else alike, without it.

    Attributes:
      pairs: tasks that were played both ways; 0 means that the skill is unmeasured.
      gain: sum over pairs of success with the skill minus success without it, each 0 or 1.
      squares: sum over pairs of the squared difference.
      step: training iteration of the latest examination.
      policy_version: number of updates that the policy had had then.
    """

    pairs: int = 0
    gain: SignedInt = 0
    squares: int = 0
    step: int = 0
    policy_version: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Says where a skill came from.

    Attributes:
      teacher: model id of the teacher that wrote it.
      step: training iteration at which it was written (0 before training).
      sources: ids of the trajectories it was distilled from.
    """

    teacher: str = ""
    step: int = 0
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        valid_texts(self, "teacher", "sources")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """Holds a reusable piece of advice (paper 3.2: name, principle, when to apply).

    Attributes:
      id: unique in the bank, e.g. ``gen_001``, ``pic_003``, ``err_002``, ``dyn_004``; the bank
        gives one to a skill that is added without.
      title: short name.
      principle: what to do (for a mistake: how to avoid it).
      when_to_apply: the situation it is for (for a mistake: why it happens).
      category: ``GENERAL`` or a category key of the environment.
      kind: ``skill`` or ``mistake``.
      provenance: where it came from.
      use: how often it was in a prompt.
      exams: what it is worth, as far as that was measured.
      notes: what the file that it was imported from says beyond these fields, by format; JSON
        only. It is written back on export and never shown to a policy or a teacher.
    """

    id: str = ""
    title: str
    principle: str
    when_to_apply: str = ""
    category: str = GENERAL
    kind: str = "skill"
    provenance: Provenance = Provenance()
    use: SkillUse = SkillUse()
    exams: Exams = Exams()
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        valid_texts(self, "id", "title", "principle", "when_to_apply", "category", "notes")
