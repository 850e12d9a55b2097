"""Holds what the suites of live servers share: the server's own manifest, or lazily read tasks."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.envs.base import SPLITS, AnswerForm, Expert
from skillrl.envs.remote.connection import Connection
from skillrl.envs.remote.environment import RemoteEnvironment, SessionLost, Wire, pause
from skillrl.envs.remote.manifest import (
    Header,
    NumberedTasks,
    numbered_id,
    read_header,
    read_split,
)
from skillrl.errors import SkillRLError
from skillrl.net.http import HTTPFailure
from skillrl.types import Task

_LOG = logging.getLogger(__name__)
_EXPERTS = {
    "alfworld": ("skillrl.envs.alfworld.expert", "TemplateExpert"),
    "webshop": ("skillrl.envs.webshop.expert", "ShopExpert"),
    "search": ("skillrl.envs.search.expert", "QuestionExpert"),
}


class RemoteSuite:
    """Offers tasks that are played on a server. Subclasses say how it is spoken to.

    Attributes:
      header: what one of our servers says about itself; None with any other server.
      reads_goals: a reset tells the goal.
    """

    name = ""
    role = ""
    categories: Mapping[str, str] = {}
    default_url = ""
    sleep = staticmethod(time.sleep)

    def __init__(self, config: Any):
        """Connects to the server; raises SkillRLError where it is not there or another one."""
        self.settings = config.server
        self.max_steps: int = config.max_steps
        self.connection = Connection(config.server, self.default_url)
        self.simulated = ""
        self.tags = AnswerForm().tags
        self.instruction = AnswerForm().instruction
        self.check_server()
        self.header = self._read_header()
        if self.header is not None:
            self._adopt(self.header)
        self._manifests: dict[str, Sequence[Task]] = {}
        self._reader: Wire | None = None

    def check_server(self) -> None:
        """Raises SkillRLError unless the server speaks the dialect of this suite."""
        raise NotImplementedError

    def wire(self) -> Wire:
        """Returns what speaks the dialect of the server, for one session."""
        raise NotImplementedError

    def numbers(self, split: str) -> Sequence[int]:
        """Returns the task numbers of a split of a server without a manifest of ours."""
        raise NotImplementedError

    def categorise(self, goal: str, category: str) -> str:
        """Returns a key of `categories` for a task, from its goal and what the server calls it."""
        raise NotImplementedError

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the fixed list of a split; raises SkillRLError for an unknown split."""
        if split not in SPLITS:
            raise SkillRLError(f"split {split!r}: use one of {', '.join(SPLITS)}")
        if split not in self._manifests:
            self._manifests[split] = self._load(split)
        return self._manifests[split]

    def make(self) -> RemoteEnvironment:
        """Returns a new handle; its session is opened by its first reset."""
        return RemoteEnvironment(
            self.wire(),
            max_steps=self.max_steps,
            retries=self.settings.retries,
            backoff=self.settings.backoff,
            sleep=self.sleep,
        )

    def expert(self, task: Task) -> Expert | None:
        """Returns the expert of the served environment if it reads texts alone; else None."""
        name = self.header.environment if self.header else self.name
        played = name.removeprefix("agentgym_")
        if played not in _EXPERTS:
            return None
        module, expert = _EXPERTS[played]
        try:
            return getattr(importlib.import_module(module), expert)(task.goal)
        except SkillRLError:
            return None  # the protocol's answer for "no demonstrator"

    def _adopt(self, header: Header) -> None:
        where = f"on {self.connection.url}"
        self.role, self.categories = header.role, dict(header.categories)
        self.simulated = f"{header.simulated} {where}" if header.simulated else ""
        self.tags, self.instruction = header.tags, header.instruction
        if self.max_steps > header.max_steps:
            _LOG.warning(
                "%s ends its episodes after %d steps, before env.max_steps=%d does",
                self.connection.url, header.max_steps, self.max_steps,
            )  # fmt: skip

    def _read_header(self) -> Header | None:
        try:
            return read_header(self.connection.read("/manifest"), where=self.connection.url)
        except HTTPFailure as error:
            if error.status is not None and 400 <= error.status < 500:
                return None  # another server than ours
            raise

    def _load(self, split: str) -> Sequence[Task]:
        limit = self.settings.num_tasks if split == "train" else 0
        if self.header is None:
            numbers = self.numbers(split)
            return NumberedTasks(split, numbers[:limit] if limit else numbers, self._read)
        if split not in self.header.splits:
            return ()
        value = self.connection.read(f"/manifest?split={split}")
        tasks = read_split(value, split, where=self.connection.url)
        return tasks[:limit] if limit else tasks

    def _read(self, number: int) -> Task:
        """Returns the task with this number, as its reset tells it.

        One that the server cannot start, or shows as something else than a start, has no goal,
        and its episodes end as errored: a single broken game stops no run.
        """
        split = next(split for split in SPLITS if number in self.numbers(split))
        attempt = 0
        while True:
            self._reader = self._reader or self.wire()
            try:
                start = self._reader.start(number)
                break
            except SessionLost as error:
                self._reader.drop()
                attempt += 1
                if attempt > self.settings.retries and error.answered:
                    _LOG.warning("task %d cannot be played: %s", number, error)
                    payload = {"number": number, "unreadable": str(error)}
                    kind = next(iter(self.categories))
                    return Task(
                        id=numbered_id(split, number),
                        split=split,
                        category=kind,
                        goal="(unknown)",
                        payload=payload,
                    )
                if attempt > self.settings.retries:
                    raise SkillRLError(
                        f"{self.connection.url}: cannot start task {number} to read its goal: "
                        f"{error} Repair the server, then run the same command again: it "
                        "continues where it stopped."
                    ) from error
                _LOG.warning("reading task %d: %s; trying again", number, error)
                pause(attempt, self.settings.backoff, self.sleep)
        category = self.categorise(start.goal, start.category)
        goal = start.goal or start.observation.text
        return Task(
            id=numbered_id(split, number),
            split=split,
            category=category,
            goal=goal,
            payload={"number": number},
        )
