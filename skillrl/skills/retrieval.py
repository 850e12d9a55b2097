"""Which skills a task gets in its prompt (paper 3.2, equations 4 and 5)."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence

import numpy as np

from skillrl.config.settings import SkillRetrievalConfig
from skillrl.skills.bank import SkillBank, skill_text
from skillrl.teacher.base import Embedder
from skillrl.types import GENERAL, Skill, Task

_VECTORS: weakref.WeakKeyDictionary[Embedder, dict[str, np.ndarray]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, slots=True)
class Retrieved:
    """Skills for a prompt, each tuple in bank order where all fit, else most similar first."""

    general: tuple[Skill, ...] = ()
    task_specific: tuple[Skill, ...] = ()
    mistakes: tuple[Skill, ...] = ()

    @property
    def all_ids(self) -> tuple[str, ...]:
        """Ids of all of them, in prompt order."""
        return tuple(skill.id for skill in (*self.general, *self.task_specific, *self.mistakes))


def query_text(task: Task) -> str:
    """What is embedded of a task: its category in words, then its goal.

    A goal names objects ("put a hot mug in cabinet"), a skill names the procedure
    ("heat it with the microwave"); the category's words bridge the two.
    """
    return f"{task.category.replace('_', ' ')} task: {task.goal}"


def retrieve(
    bank: SkillBank,
    task: Task,
    *,
    embedder: Embedder,
    top_k: int = 6,
    similarity_threshold: float = 0.4,
    general_top_k: int = 12,
    mistakes_top_k: int = 5,
    order: str = "similar",
) -> Retrieved:
    """Skills for `task`; the same bank, task and embedder always give the same ones.

    Task-specific: S_ret = TopK({s in S_k : sim(e_d, e_s) > delta}, K) (equation 4), with
    the category k of the environment, cosine similarity, delta = `similarity_threshold`
    and K = `top_k`, most similar first. General skills and mistakes (general ones and
    those of the category) have budgets of their own and no threshold; the paper always
    gives all general skills, which is what happens while they fit. Ties keep bank order.

    Args:
      bank: where to look.
      task: for whom.
      embedder: vectors of skills are kept in memory by their text.
      top_k: K, largest number of task-specific skills.
      similarity_threshold: delta; it depends on the embedder (below 0 means no threshold).
      general_top_k: largest number of general skills.
      mistakes_top_k: largest number of mistakes.
      order: ``stored`` takes the first of each as they are stored, evolved general skills
        (``dyn_``) before the others, as the released code does; the embedder is not asked.
    """
    if not bank.skills:
        return Retrieved()  # without asking the embedder, which the base policy never needs
    if order == "stored":
        return _as_stored(bank, task.category, top_k, general_top_k, mistakes_top_k)
    query = _embed(embedder, [query_text(task)])[0]
    specific = _rank(bank.select(category=task.category, kind="skill"), query, embedder)
    chosen = [skill for skill, similarity in specific if similarity > similarity_threshold]
    mistakes = _mistakes(bank, task.category)
    return Retrieved(
        general=_budget(
            bank.select(category=GENERAL, kind="skill"), query, embedder, general_top_k
        ),
        task_specific=tuple(chosen[: max(top_k, 0)]) if task.category != GENERAL else (),
        mistakes=_budget(mistakes, query, embedder, mistakes_top_k),
    )


def for_prompt(
    bank: SkillBank, task: Task, *, embedder: Embedder, settings: SkillRetrievalConfig
) -> tuple[Skill, ...]:
    """What a run with these `settings` retrieves for a task, in prompt order."""
    found = retrieve(
        bank,
        task,
        embedder=embedder,
        top_k=settings.top_k,
        similarity_threshold=settings.similarity_threshold,
        general_top_k=settings.general_top_k,
        mistakes_top_k=settings.mistakes_top_k,
        order=settings.order,
    )
    return (*found.general, *found.task_specific, *found.mistakes)


@dataclasses.dataclass(frozen=True, slots=True)
class Retriever:
    """Retrieval as a run does it: called with a bank and a task, it returns skills in prompt order.

    Attributes:
      embedder: finds similar skills.
      settings: how many skills of which kind, and by which rule.
    """

    embedder: Embedder
    settings: SkillRetrievalConfig

    def __call__(self, bank: SkillBank, task: Task) -> tuple[Skill, ...]:
        """Retrieves the skills that the prompts of `task` show."""
        return for_prompt(bank, task, embedder=self.embedder, settings=self.settings)


def _as_stored(
    bank: SkillBank, category: str, top_k: int, general_top_k: int, mistakes_top_k: int
) -> Retrieved:
    general = bank.select(category=GENERAL, kind="skill")
    first = sorted(general, key=lambda skill: not skill.id.startswith("dyn_"))  # stable
    specific = bank.select(category=category, kind="skill") if category != GENERAL else ()
    return Retrieved(
        general=tuple(first[: max(general_top_k, 0)]),
        task_specific=specific[: max(top_k, 0)],
        mistakes=_mistakes(bank, category)[: max(mistakes_top_k, 0)],
    )


def _mistakes(bank: SkillBank, category: str) -> tuple[Skill, ...]:
    return tuple(
        skill for skill in bank.select(kind="mistake") if skill.category in (GENERAL, category)
    )


def best_similarities(
    bank: SkillBank, tasks: Sequence[Task], *, embedder: Embedder | None
) -> list[float | None]:
    """For each task how similar the nearest skill of its category is; None where there is none.

    Without an embedder any skill counts as 1.
    """
    found: list[float | None] = []
    if embedder is not None and bank.skills and tasks:
        _embed(embedder, [query_text(task) for task in tasks])  # in one request
    for task in tasks:
        own = bank.select(category=task.category, kind="skill")
        if not own or task.category == GENERAL:
            found.append(None)
            continue
        if embedder is None:
            found.append(1.0)
            continue
        query = _embed(embedder, [query_text(task)])[0]
        found.append(_rank(own, query, embedder)[0][1])
    return found


def _budget(
    skills: tuple[Skill, ...], query: np.ndarray, embedder: Embedder, budget: int
) -> tuple[Skill, ...]:
    if len(skills) <= budget:
        return skills
    return tuple(skill for skill, _ in _rank(skills, query, embedder)[: max(budget, 0)])


def _rank(
    skills: Sequence[Skill], query: np.ndarray, embedder: Embedder
) -> list[tuple[Skill, float]]:
    """(skill, cosine similarity), most similar first, ties in the given order."""
    if not skills:
        return []
    vectors = _embed(embedder, [skill_text(skill) for skill in skills])
    # Rounded so that a tie is a tie whatever the order of summation.
    similarity = np.round(vectors.astype(np.float64) @ query.astype(np.float64), 6)
    order = np.argsort(-similarity, kind="stable")
    return [(skills[i], float(similarity[i])) for i in order]


def _embed(embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
    known = _VECTORS.setdefault(embedder, {})
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if missing:
        known.update(zip(missing, embedder.embed(missing), strict=True))
    return np.stack([known[text] for text in texts])
