"""Plays one question at a time: search, read, answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skillrl.envs.search.documents import DocumentRetriever, information
from skillrl.envs.search.grade import exact_match
from skillrl.errors import SkillRLError
from skillrl.types import Observation, StepResult, Task

START = "No search yet."
RIGHT = "The answer is right."
WRONG = "The answer is wrong."
NO_STEPS_LEFT = "No answer was given, and no steps are left."
INVALID = (
    "My previous action is invalid. If I want to search, I should put the query between <search> "
    "and </search>. If I want to give the final answer, I should put the answer between <answer> "
    "and </answer>. Let me try again."
)
"""What follows a text without a search or an answer (Search-R1, ``generation.py``)."""


class SearchEnvironment:
    """Plays questions over a retriever.

    The action is the whole block, tags included. An answer ends the episode, wherever it
    stands in the text, and the last one counts; otherwise the first search is made
    (SkyRL-gym, ``envs/search/env.py``). The last step only counts if it answers. A text with
    neither costs a step. There is no list of admissible actions.

    Args:
      retriever: finds documents.
      max_steps: turns, the one that answers included.
      top_k: documents shown per search.
    """

    def __init__(self, retriever: DocumentRetriever, *, max_steps: int = 4, top_k: int = 3):
        self._retriever = retriever
        self._max_steps = max_steps
        self._top_k = top_k
        self._golden: Sequence[str] | None = None
        self._steps = 0

    def reset(self, task: Task) -> Observation:
        """Starts `task`; raises SkillRLError where its payload has no golden answers."""
        golden = task.payload.get("answers")
        if not isinstance(golden, list | tuple) or not golden:
            raise SkillRLError(
                f"task {task.id}: payload {dict(task.payload)!r} has no golden answers; take "
                "tasks from SearchSuite.tasks"
            )
        self._golden = golden
        self._steps = 0
        return Observation(START)

    def step(self, action: str) -> StepResult:
        """Searches or answers.

        Raises:
          SkillRLError: there is no running episode, or the retriever is set up wrongly.
          RetrievalError: the search failed; the episode cannot go on.
        """
        if self._golden is None:
            raise SkillRLError("the episode is over or was never started: call reset(task) first")
        self._steps += 1
        if answers := list(blocks(action, "answer")):
            won = exact_match(answers[-1], self._golden)
            return self._end(RIGHT if won else WRONG, won=won)
        if self._steps >= self._max_steps:
            return self._end(NO_STEPS_LEFT, won=False)
        if (query := next(blocks(action, "search"), None)) is None:
            return StepResult(observation=Observation(INVALID), done=False, won=False)
        hits = self._retriever.search(query.strip(), self._top_k)
        return StepResult(observation=Observation(information(hits)), done=False, won=False)

    def close(self) -> None:
        """Drops the running episode, if any."""
        self._golden = None

    def _end(self, text: str, *, won: bool) -> StepResult:
        self._golden = None
        return StepResult(
            observation=Observation(text), done=True, won=won, reward=float(won), score=float(won)
        )


def blocks(text: str, tag: str) -> Iterator[str]:
    """Yields what stands in ``<tag>...</tag>``, in order: the matches of ``<tag>(.*?)</tag>``.

    In linear time: the regular expression would look for the end anew from every opening tag of a
    text that never closes one.
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    end = 0
    while (start := text.find(opening, end)) >= 0:
        start += len(opening)
        stop = text.find(closing, start)
        if stop < 0:
            return
        yield text[start:stop]
        end = stop + len(closing)
