"""Question answering as a suite: generated questions by default, data sets with ``data_dir``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.envs.base import SPLITS, register
from skillrl.envs.search.bm25 import BM25Retriever, index_directory
from skillrl.envs.search.categories import CATEGORIES
from skillrl.envs.search.data import check_folder, load_split
from skillrl.envs.search.documents import DocumentRetriever
from skillrl.envs.search.environment import SearchEnvironment
from skillrl.envs.search.expert import QuestionExpert
from skillrl.envs.search.questions import build_manifest, load_corpus, load_tasks, tasks_of
from skillrl.envs.search.remote import RemoteRetriever, RoundRobin
from skillrl.envs.search.world import make_world
from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.types import Task

_LOG = logging.getLogger(__name__)


@register("search")
class SearchSuite:
    """Questions that are answered by searching passages.

    Args:
      config: ``data_dir``: a folder of question sets (see `skillrl.envs.search.data`), or ""
        for the generated ones; ``max_steps``: turns of an episode (4 in the paper);
        ``search``: a `SearchConfig`.

    Raises:
      SkillRLError: the settings do not go together, or name what is not there.
    """

    name = "search"
    role = "You answer questions by searching a collection of passages."
    categories: Mapping[str, str] = CATEGORIES
    tags = ("search", "answer")
    instruction = (
        "Think briefly inside <think> </think>, then either search with <search> query </search> "
        "or, when you know it, give the answer with <answer> answer </answer>."
    )

    def __init__(self, config: Any):
        if config.max_steps < 1:
            raise SkillRLError(f"max_steps={config.max_steps}: an episode needs at least one step")
        self.max_steps: int = config.max_steps
        self.simulated = "" if config.data_dir else "generated questions and passages"
        self._data_dir, self._search = config.data_dir, config.search
        self._tasks: dict[str, Sequence[Task]] = {}
        _check(config)
        if config.data_dir:
            check_folder(config.data_dir, config.search.datasets)

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the fixed list of a split; files are read when their split is first asked for.

        Raises:
          SkillRLError: a split that does not exist, or a broken file.
        """
        if split not in SPLITS:
            raise SkillRLError(f"split {split!r}: use one of {', '.join(SPLITS)}")
        if not self._data_dir:
            return load_tasks()[split]
        if split not in self._tasks:
            self._tasks[split] = load_split(self._data_dir, split, self._search.datasets)
        return self._tasks[split]

    def make(self) -> SearchEnvironment:
        """Returns a new handle. Handles share the local index, and take the servers in turn."""
        return SearchEnvironment(
            self.retriever(), max_steps=self.max_steps, top_k=self._search.top_k
        )

    def expert(self, task: Task) -> QuestionExpert | None:
        """Returns a text-only expert, or None where the question is not a generated one."""
        try:
            return QuestionExpert(task.goal)
        except SkillRLError:
            return None  # the protocol's answer for "no demonstrator"

    def retriever(self) -> DocumentRetriever:
        """Returns what the next handle searches with; raises SkillRLError if it cannot open."""
        if self._search.retriever == "http":
            return self._servers.take()
        return open_retriever(self._search.corpus)

    @functools.cached_property
    def _servers(self) -> RoundRobin:
        search = self._search
        return RoundRobin(
            [
                RemoteRetriever(
                    url, dialect=search.dialect, timeout=search.timeout, retries=search.retries
                )
                for url in search.urls
            ]
        )


@functools.lru_cache(maxsize=4)
def open_retriever(corpus: str = "") -> BM25Retriever:
    """Opens BM25 over the JSONL file `corpus`, or over the generated passages, once."""
    return BM25Retriever.open(corpus) if corpus else BM25Retriever.over(load_corpus())


@functools.lru_cache(maxsize=8)
def generated_world(seed: int) -> tuple[BM25Retriever, Mapping[str, Sequence[Task]]]:
    """Makes another world to practise in: its passages, and its tasks by split.

    It has the words and the forms of the world that ships (seed 0), and facts of its own, so
    that who learns to read there has not learned what is asked here.
    """
    world = make_world(seed)
    return BM25Retriever.over(world.documents), tasks_of(build_manifest(world, seed))


def _check(config: Any) -> None:
    search = config.search
    if search.retriever == "http" and not search.urls:
        raise SkillRLError(
            "env.search.retriever is http, but env.search.urls is empty: name the servers, e.g. "
            """--set 'env.search.urls=["http://localhost:8000/retrieve"]'."""
        )
    if search.retriever == "bm25" and search.urls:
        raise SkillRLError(
            f"env.search.urls is {list(search.urls)}, but env.search.retriever is bm25, which "
            "searches env.search.corpus here: set it to http, or leave the addresses out."
        )
    if config.data_dir and search.retriever == "bm25" and not search.corpus:
        raise SkillRLError(
            f"env.data_dir is {config.data_dir}, but nothing says what to search: name a JSONL "
            "file of {id, contents} with env.search.corpus, or a server with "
            "env.search.retriever=http and env.search.urls."
        )
    if not config.data_dir and (search.corpus or search.datasets):
        raise SkillRLError(
            "env.search.corpus or env.search.datasets is set, but env.data_dir is empty, which "
            "plays the generated questions over their own passages: name the folder of the "
            "question sets with env.data_dir."
        )
    if search.corpus:
        index_directory(Path(paths.expand(search.corpus)))  # is it there?
    if not config.data_dir and search.retriever == "http":
        _LOG.warning(
            "env.data_dir is empty: the questions are generated ones, so the servers of "
            "env.search.urls should serve the generated passages"
        )
