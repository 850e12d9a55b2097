"""Lets a person play by hand: they type actions and see exactly what the agent sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from skillrl.agent.agent import SkillAgent, make_agent
from skillrl.agent.prompt import HistoryStep
from skillrl.config.settings import Config
from skillrl.envs.answers import next_move, open_handle
from skillrl.envs.base import Move, Suite, answer_form, is_admissible
from skillrl.envs.replay import entry
from skillrl.io.text import printable
from skillrl.types import Observation, Skill, StepResult, Task

if TYPE_CHECKING:
    from skillrl.models.tokenizer import Tokenizer

_HELP = """\
  an action, or its number ("3 red shoes" fills what an action leaves open)
  :again    shows task and observation again
  :skills   shows the skills retrieved for this task (with --skill_bank)
  :prompt   shows the prompt that the agent would get now
  :expert   shows what the demonstrator would do now
  :quit     ends the episode"""
_NUMBERED = re.compile(r"(\d+)(?:\s+(.*))?")


class ManualEpisode:
    """Plays one episode with the actions that a person types.

    Attributes:
      entries: what was said and answered, as `skillrl replay` writes it.
    """

    def __init__(
        self,
        suite: Suite,
        task: Task,
        config: Config,
        *,
        out: TextIO,
        skills: Sequence[Skill] | None = None,
        tokenizer: Callable[[], Tokenizer | None] = lambda: None,
    ):
        """`skills` None means that there is no bank; `tokenizer` is asked at the first prompt."""
        self._suite, self._task, self._config, self._out = suite, task, config, out
        self._skills, self._tokenizer = skills, tokenizer
        self._agent: SkillAgent | None = None
        self._past: list[HistoryStep] = []
        self._expert = suite.expert(task)
        self._move: Move | str = "There is no demonstrator for this task."
        self._now = Observation("")
        self.entries: list[dict[str, Any]] = []

    def play(self, lines: TextIO) -> None:
        """Reads actions and commands until the end of the episode or of the input."""
        terminal = lines.isatty()
        environment = open_handle(self._suite)
        try:
            self._see(environment.reset(self._task), None)
            self._introduce()
            while not self.entries[-1]["done"]:
                self._print(f"[{len(self._past) + 1}/{self._suite.max_steps}] > ", end="")
                line = lines.readline()
                if not terminal:  # nobody saw it being typed
                    self._print(line.rstrip("\n"))
                if not line or line.strip() in (":quit", ":q"):
                    break
                action = self._read(line.strip())
                if action is not None:
                    self._act(action, environment.step(action))
        finally:
            environment.close()
        self._conclude()

    def _read(self, line: str) -> str | None:
        """Finds the action that a line means; None for a command that has been answered."""
        offers = self._now.admissible
        if line in offers:
            return line
        if line.startswith(":"):
            self._command(line)
            return None
        match = _NUMBERED.fullmatch(line)
        if not line or not match or not offers:
            return line or None
        number, words = int(match[1]), match[2]
        if not 1 <= number <= len(offers):
            self._print(f"There is no action {number}; they go from 1 to {len(offers)}.")
            return None
        head, placeholder, _ = offers[number - 1].partition("[<")
        if placeholder:
            if not words:
                self._print(f"Say what for, like: {number} red shoes   or: {head}[red shoes]")
                return None
            return f"{head}[{words}]"
        if words:
            self._print(f"Type {number} alone, or an action in words.")
            return None
        return offers[number - 1]

    def _command(self, line: str) -> None:
        answers: dict[str, Callable[[], None]] = {
            ":help": lambda: self._print(_HELP),
            ":again": self._introduce,
            ":skills": self._show_skills,
            ":prompt": self._show_prompt,
            ":expert": self._show_move,
        }
        unknown = lambda: self._print(f"There is no {line}.\n{_HELP}")  # noqa: E731
        answers.get(line, unknown)()

    def _act(self, action: str, result: StepResult) -> None:
        offers = self._now.admissible
        foreign = bool(offers) and not is_admissible(action, offers)
        if foreign:
            self._print("(not an admissible action: said by an agent, it counts as invalid)")
        self._past.append(HistoryStep(self._now.text, action, failed=foreign))
        self._see(result.observation, action, result)
        self._show_observation()

    def _see(self, now: Observation, action: str | None, result: StepResult | None = None) -> None:
        self._now = now
        self.entries.append(entry(action, result or now))
        if self._expert is not None and not (result and result.done):
            try:
                self._move = next_move(self._expert, now, self._suite.name)
            except Exception as error:  # it lost the thread: no reason to stop a person
                self._expert = None
                self._move = f"The demonstrator gave up: {error}"

    def _introduce(self) -> None:
        task, form = self._task, answer_form(self._suite)
        kind = self._suite.categories.get(task.category, task.category)
        made = f" ({self._suite.simulated})" if self._suite.simulated else ""
        self._print(f"{self._suite.name}{made}: {task.id}, {kind}")
        self._print(f"{self._suite.role}\nTask: {task.goal}")
        if len(form.tags) > 1:
            self._print(form.instruction)
        self._print("Type an action or its number; :help lists the commands.")
        self._show_observation()

    def _show_observation(self) -> None:
        if self.entries[-1]["done"]:
            self._print(f"\nThe end: {self._now.text}")
            return  # what is on offer then is never asked for
        self._print(f"\nObservation {len(self._past) + 1}: {self._now.text}")
        width = len(str(len(self._now.admissible)))
        for number, action in enumerate(self._now.admissible, 1):
            self._print(f"  {number:>{width}}  {action}")

    def _show_skills(self) -> None:
        if self._skills is None:
            self._print("There is no skill bank: name one with --skill_bank=FILE.")
        elif not self._skills:
            self._print("No skill of the bank is retrieved for this task.")
        for skill in self._skills or ():
            when = f" When: {skill.when_to_apply}" if skill.when_to_apply else ""
            self._print(f"  {skill.id} ({skill.category}, {skill.kind}) {skill.title}")
            self._print(f"      {skill.principle}{when}")

    def _show_prompt(self) -> None:
        tokenizer = self._tokenizer()
        if self._agent is None:
            buckets = self._config.rollout.suffix_buckets
            limit = buckets[-1] if tokenizer and buckets else None
            self._agent = make_agent(self._config, self._suite, tokenizer, suffix_limit=limit)
        agent = self._agent
        skills = self._skills or ()
        ids, system, user = agent.prefix(self._task, skills)
        more, text = agent.suffix(self._now, self._past, prefix_length=len(ids), skills=skills)
        if tokenizer is None:
            self._print(f"system: {system}\nuser: {user}{text}")
            self._print(
                "(no tokenizer here, so lengths are estimated and no turns are marked; "
                "--set model.policy_path=DIR has one)"
            )
        else:
            self._print(tokenizer.decode([*ids, *more], keep_special=True))
            self._print(f"({len(ids)} tokens of prefix, {len(more)} of this step)")

    def _show_move(self) -> None:
        move = self._move
        self._print(move if isinstance(move, str) else f"{move.action}   ({move.thought})")

    def _conclude(self) -> None:
        last, steps = self.entries[-1], len(self._past)
        end = "Won" if last["won"] else "Not won" if last["done"] else "Left"
        earned = sum(item["reward"] for item in self.entries)
        self._print(
            f"\n{end} after {steps} of at most {self._suite.max_steps} steps; "
            f"score {last['score']:g}, reward {earned:g}."
        )

    def _print(self, text: str, end: str = "\n") -> None:
        print(printable(text), end=end, file=self._out, flush=True)
