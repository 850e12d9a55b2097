"""Builds prompts, reads responses, and plays an episode as a coroutine.

An episode does not know what drives it. It yields what it waits for and is sent the
answer, so that lock-step, continuous batching, slow environments and remote engines
are different drivers of the same prose (docs/architecture.md, contract 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from skillrl.agent.parse import ParsedResponse, parse
from skillrl.agent.prompt import (
    HistoryStep,
    PromptConfig,
    encode_within,
    fit_suffix,
    render_prefix,
    render_skills,
)
from skillrl.config.settings import Config
from skillrl.envs.base import AnswerForm, Suite, answer_form
from skillrl.errors import DoesNotFit, SkillRLError
from skillrl.inference.base import Engine, Generate, Generated, Sampling, generate
from skillrl.io.text import repair
from skillrl.types import Observation, Skill, Step, StepResult, Task, Trajectory

if TYPE_CHECKING:
    from skillrl.models.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Reset:
    """Asks for the start of `task`; the episode waits until it is sent an Observation."""

    task: Task


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
    """Asks for the answer to `action`; the episode waits until it is sent a StepResult."""

    action: str


Episode = Generator[Reset | Act | Generate, Any, Trajectory]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Holds what the agent made of one observation.

    Attributes:
      action: for the environment.
      thought: what stood in the think block.
      invalid: reason, or "".
      response: the decoded text.
      ids: sampled tokens, the end-of-turn token included.
      logprobs: of each token.
    """

    action: str
    thought: str
    invalid: str
    response: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


class SkillAgent:
    """Acts in text, with skills in its prompt.

    Attributes:
      role: the sentence that tells the policy what it is.
      config: what prompts show.
      think: whether responses must hold a thought.
      form: how responses state their action.
      first_step: skills stand in the prefix, which all steps share; else in the suffix of every
        step but the first, whose prompt has none.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        *,
        role: str,
        config: PromptConfig,
        think: bool = True,
        form: AnswerForm | None = None,
        suffix_limit: int | None = None,
        first_step: bool = True,
    ):
        """Makes an agent; `tokenizer` is None for engines that take text."""
        self.role, self.config, self.think = role, config, think
        self.form = form or AnswerForm()
        self.first_step = first_step
        self._tokenizer = tokenizer
        self._suffix_limit = suffix_limit or config.max_prompt_length

    def prefix(self, task: Task, skills: Sequence[Skill]) -> tuple[tuple[int, ...], str, str]:
        """Returns token ids of an episode's shared prefix, and its system and user texts.

        Raises:
          DoesNotFit: the skills leave no room for the steps.
          SkillRLError: the task does not.
        """
        shared = skills if self.first_step else ()
        system, user = render_prefix(
            self.role, task.goal, skills=shared, instruction=self.form.instruction
        )
        if self._tokenizer is None:
            return (), system, user
        from skillrl.models import chat

        tokenizer, limit = self._tokenizer, self.config.max_prompt_length
        ids, count = encode_within(
            user, lambda text: chat.prompt_prefix(tokenizer, system, text), limit - 1
        )
        if ids is None:
            bare = render_prefix(
                self.role, task.goal, skills=(), instruction=self.form.instruction
            )[1]
            alone, _ = encode_within(
                bare, lambda text: chat.prompt_prefix(tokenizer, system, text), limit - 1
            )
            raise (SkillRLError if alone is None else DoesNotFit)(
                f"task {task.id} with {len(skills)} skills needs {count} prompt tokens, but "
                f"rl.max_prompt_length is {limit}: raise it, or lower "
                "skill_retrieval.top_k, general_top_k or mistakes_top_k (the goal alone has "
                f"{len(task.goal)} characters, the longest skill "
                f"{max((len(s.principle + s.when_to_apply) for s in skills), default=0)})"
            )
        return tuple(ids), system, user

    def late(self, skills: Sequence[Skill]) -> tuple[tuple[int, ...], str]:
        """Returns token ids (none without a tokenizer) and text of what `prefix` leaves out."""
        text = "" if self.first_step else render_skills(skills)
        ids = self._tokenizer.encode(text) if text and self._tokenizer is not None else ()
        return tuple(ids), text

    def suffix(
        self,
        observation: Observation,
        past: Sequence[HistoryStep],
        *,
        prefix_length: int,
        skills: Sequence[Skill] = (),
    ) -> tuple[tuple[int, ...], str]:
        """Returns a step's own part of the prompt: token ids (none without a tokenizer) and text.

        Args:
          observation: what the agent sees now.
          past: all earlier steps of the episode, oldest first.
          prefix_length: tokens of the episode's prefix.
          skills: those of the episode; they stand here where `prefix` leaves them out.

        Raises:
          DoesNotFit: the skills leave no room for the step.
          SkillRLError: even an empty history and observation do not fit.
        """
        head, late = self.late(skills) if past else ((), "")
        if self._tokenizer is None:
            encode: Callable[[str], Any] = _estimate
            head = tuple(_estimate(late)) if late else ()
            room = budget = self.config.max_prompt_length
        else:
            from skillrl.models import chat

            tokenizer = self._tokenizer
            encode = lambda text: chat.prompt_suffix(tokenizer, text)  # noqa: E731
            room = self.config.max_prompt_length - prefix_length
            budget = min(room, self._suffix_limit)
        if head and len(head) >= budget:
            raise DoesNotFit(
                f"{len(skills)} skills need {len(head)} tokens at every step, since "
                f"skill_retrieval.first_step is false, but a step's part of a prompt has {budget} "
                "(rl.max_prompt_length, rollout.suffix_buckets). Raise these, lower "
                "skill_retrieval.top_k / general_top_k / mistakes_top_k, or set "
                "skill_retrieval.first_step=true."
            )
        ids, text = fit_suffix(
            len(past) + 1,
            observation.text,
            admissible=observation.admissible,
            past=past,
            config=self.config,
            encode=encode,
            budget=budget - len(head),
            bucket=budget < room,
        )
        return ((*head, *ids) if self._tokenizer is not None else ()), late + text

    def read(self, answer: Generated, admissible: Sequence[str]) -> tuple[ParsedResponse, str]:
        """Parses a response; returns what was read and the text.

        Raises:
          RuntimeError: it came as tokens, and this agent has no tokenizer.
        """
        text = answer.text
        if text is None:
            if self._tokenizer is None:
                raise RuntimeError("an engine that answers in tokens needs a tokenizer")
            text = self._tokenizer.decode(answer.ids)
        parsed = parse(
            text, admissible, finished=answer.finished, think=self.think, tags=self.form.tags
        )
        return parsed, text

    def thought(self, response: str) -> str:
        """Returns what stood in the think block of a response."""
        return parse(response, think=self.think, tags=self.form.tags).thought

    def response_ids(self, thought: str, action: str) -> tuple[int, ...]:
        """Returns the tokens with which the policy would have said this (for demonstrations).

        Raises:
          RuntimeError: this agent has no tokenizer.
        """
        from skillrl.models import chat

        if self._tokenizer is None:
            raise RuntimeError("demonstrations need a tokenizer")
        return tuple(
            chat.response(self._tokenizer, render_response(thought, action, self.form.tags))
        )

    def act(self, engine: Engine, task: Task, skills: Sequence[Skill], **now: Any) -> str:
        """Returns the action for one observation; see `act_with_logprob`."""
        return self.act_with_logprob(engine, task, skills, **now).action

    def act_with_logprob(
        self,
        engine: Engine,
        task: Task,
        skills: Sequence[Skill],
        *,
        observation: Observation,
        past: Sequence[HistoryStep] = (),
        sampling: Sampling | None = None,
        rng_address: tuple[int, ...] = (0, 0, 0, 0, 0, 0),
    ) -> Decision:
        """Makes one decision outside of any driver, with the tokens' log-probabilities.

        Args:
          engine: samples the response.
          task: what is being done.
          skills: what was retrieved for it, in prompt order.
          observation: what the agent sees now.
          past: all earlier steps of the episode, oldest first.
          sampling: how tokens are chosen; None takes the defaults.
          rng_address: where in the run the draw is made (`skillrl.parallel.random_keys`).
        """
        prefix, system, user = self.prefix(task, skills)
        suffix, text = self.suffix(observation, past, prefix_length=len(prefix), skills=skills)
        request = Generate(prefix, suffix, rng_address, (system, user, text))
        (answer,) = generate(engine, [request], sampling or Sampling())
        parsed, response = self.read(answer, observation.admissible)
        return Decision(
            action=parsed.action,
            thought=parsed.thought,
            invalid=parsed.invalid,
            response=response,
            ids=answer.ids,
            logprobs=answer.logprobs,
        )

    def episode(
        self,
        task: Task,
        skills: Sequence[Skill],
        *,
        rng_address: Callable[[int], tuple[int, ...]],
        member: int = 0,
        repeat: int = 0,
        policy_version: int = 0,
        bank_version: int = 0,
    ) -> Episode:
        """Plays `task` to its end; yields `Reset`, `Generate` and `Act`, returns the Trajectory.

        Args:
          task: what to do.
          skills: what was retrieved for it, in prompt order.
          rng_address: step (from 0) -> address of its draw.
          member: index in its group.
          repeat: index of the repetition in an evaluation.
          policy_version: recorded.
          bank_version: recorded.
        """
        prefix, system, user = self.prefix(task, skills)
        observation: Observation = yield Reset(task)
        past: list[HistoryStep] = []
        steps: list[Step] = []
        while True:
            suffix, text = self.suffix(observation, past, prefix_length=len(prefix), skills=skills)
            answer: Generated = yield Generate(
                prefix, suffix, rng_address(len(past)), (system, user, text)
            )
            parsed, response = self.read(answer, observation.admissible)
            result: StepResult = yield Act(parsed.action)
            steps.append(
                Step(
                    observation=observation.text,
                    admissible=observation.admissible,
                    suffix_ids=suffix,
                    response_ids=answer.ids,
                    logprobs=answer.logprobs,
                    response=response,
                    action=parsed.action,
                    invalid=parsed.invalid,
                    reward=result.reward,
                    versions=answer.versions,
                )
            )
            past.append(HistoryStep(observation.text, parsed.action, bool(parsed.invalid)))
            observation = result.observation
            if result.done:
                break
        return Trajectory(
            task=task,
            prefix_ids=prefix,
            steps=tuple(steps),
            won=result.won,
            score=result.score,
            final=observation.text,
            member=member,
            repeat=repeat,
            skills=tuple(skill.id for skill in skills),
            policy_version=policy_version,
            bank_version=bank_version,
        )


def make_agent(
    config: Config, suite: Suite, tokenizer: Tokenizer | None, *, suffix_limit: int | None = None
) -> SkillAgent:
    """Makes the agent of a run: its prompts are those that are sampled from and trained on.

    Args:
      config: settings of prompts and responses.
      suite: says its role and the form of answers.
      tokenizer: None for an engine that takes text.
      suffix_limit: most tokens of a step's own part; None sets no limit but the prompt's.
    """
    agent = config.agent
    return SkillAgent(
        tokenizer,
        role=repair(suite.role),
        config=PromptConfig(
            history_length=agent.history_length,
            action_history=agent.action_history,
            max_prompt_length=config.rl.max_prompt_length,
            max_observation_tokens=agent.max_observation_tokens,
        ),
        think=agent.require_think,
        form=answer_form(suite),
        suffix_limit=suffix_limit,
        first_step=config.skill_retrieval.first_step,
    )


def render_response(thought: str, action: str, tags: tuple[str, ...] = ("action",)) -> str:
    """Writes a response in the form that `parse` reads."""
    block = f"<{tags[0]}>{action}</{tags[0]}>" if len(tags) == 1 else action
    return f"<think>{thought}</think>{block}"


def _estimate(text: str) -> range:
    """Stands in for token ids where no tokenizer is known: three characters a token."""
    return range(len(text) // 3 + 1)
