"""Chooses the skills that a task gets in its prompt (paper 3.2, equations 4 and 5).

A rule fills the budgets of `skill_retrieval` for one task; ``skill_retrieval.order`` names it.
A new one is a function decorated with `register_retrieval`.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from skillrl import extensions
from skillrl.config.settings import SkillRetrievalConfig
from skillrl.errors import SkillRLError
from skillrl.skills import caps
from skillrl.skills.bank import SkillBank
from skillrl.skills.caps import CountTokens
from skillrl.skills.duplicates import skill_text
from skillrl.skills.keyword_router import route
from skillrl.skills.neutral import neutral_skill
from skillrl.skills.utility import estimates, state_of
from skillrl.skills.worth import Estimated, worth_by
from skillrl.teacher.base import Embedder
from skillrl.types import GENERAL, Skill, Task

_VECTORS: weakref.WeakKeyDictionary[Embedder, dict[str, np.ndarray]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, slots=True)
class Retrieved:
    """Holds skills for a prompt, in the order in which the prompt shows them.

    Attributes:
      general: skills that apply to every task.
      task_specific: skills of the task's own category.
      mistakes: what to avoid, in general or in the task's category.
    """

    general: tuple[Skill, ...] = ()
    task_specific: tuple[Skill, ...] = ()
    mistakes: tuple[Skill, ...] = ()

    @property
    def skills(self) -> tuple[Skill, ...]:
        """Returns all of them, in the order in which the prompt shows them."""
        return (*self.general, *self.task_specific, *self.mistakes)


class RetrievalRule(Protocol):
    """Chooses skills for a task; see `register_retrieval`."""

    def __call__(
        self,
        bank: SkillBank,
        task: Task,
        *,
        embedder: Embedder,
        top_k: int,
        similarity_threshold: float,
        general_top_k: int,
        mistakes_top_k: int,
    ) -> Retrieved:
        """Returns the skills for `task`; the same arguments must always give the same ones.

        Args:
          bank: where to look; never empty.
          task: the task that is about to be played.
          embedder: turns texts into vectors; asking it may cost a request.
          top_k: largest number of task-specific skills.
          similarity_threshold: cosine similarity that a task-specific skill must exceed, where
            the rule has such a threshold.
          general_top_k: largest number of general skills.
          mistakes_top_k: largest number of mistakes.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class RegisteredRule:
    """Holds a rule of the registry.

    Attributes:
      choose: the rule itself.
      uses_embedder: whether it may ask its embedder; one that does not needs no server for it.
    """

    choose: RetrievalRule
    uses_embedder: bool


_RULES: dict[str, RegisteredRule] = {}


def register_retrieval(
    name: str, *, uses_embedder: bool = True
) -> Callable[[RetrievalRule], RetrievalRule]:
    """Makes a rule known as `name` (``skill_retrieval.order`` in a config).

    Args:
      name: a name that no other rule has.
      uses_embedder: whether the rule may ask its embedder.

    Raises:
      SkillRLError: the name is taken.
    """

    def register(rule: RetrievalRule) -> RetrievalRule:
        entry = RegisteredRule(rule, uses_embedder)
        extensions.register("retrieval rule", name, rule, registry=_RULES, entry=entry)
        return rule

    return register


def get_retrieval(name: str) -> RegisteredRule:
    """Returns the rule registered as `name`.

    Raises:
      SkillRLError: there is none; the message lists those there are.
    """
    if name not in _RULES:
        raise SkillRLError(
            f"skill_retrieval.order is {name!r}: there is no such retrieval rule. Use one of: "
            f"{', '.join(sorted(_RULES))}."
        )
    return _RULES[name]


def query_text(task: Task) -> str:
    """Returns what is embedded of a task: its category in words, then its goal.

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
    """Returns skills for `task`; the same bank, task and embedder always give the same ones.

    Args:
      bank: where to look; from an empty one nothing is retrieved, whatever the rule.
      task: for whom.
      embedder: turns texts into vectors; those of skills are kept in memory by their text.
      top_k: K, largest number of task-specific skills.
      similarity_threshold: delta; it depends on the embedder (below 0 means no threshold).
      general_top_k: largest number of general skills.
      mistakes_top_k: largest number of mistakes.
      order: name of the rule that fills these budgets, see `register_retrieval`.

    Raises:
      SkillRLError: no rule has the name `order`.
    """
    rule = get_retrieval(order)
    if not bank.skills:
        return Retrieved()  # without asking the embedder, which the base policy never needs
    return rule.choose(
        bank,
        task,
        embedder=embedder,
        top_k=top_k,
        similarity_threshold=similarity_threshold,
        general_top_k=general_top_k,
        mistakes_top_k=mistakes_top_k,
    )


def for_prompt(
    bank: SkillBank, task: Task, *, embedder: Embedder, settings: SkillRetrievalConfig
) -> tuple[Skill, ...]:
    """Returns what a run retrieves for a task, in prompt order, however long it is.

    Nothing where ``skill_retrieval.content`` is ``none``. Of a skill that a neutral text stands for
    (``neutral``) it is the skill itself that is returned; a `Retriever` puts the text in its place.

    Args:
      bank: where to look.
      task: for whom.
      embedder: turns texts into vectors.
      settings: rule and budgets of the run.

    Raises:
      SkillRLError: no rule has the name that the settings give.
    """
    if settings.content == "none":
        return ()
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
    return found.skills


class Retrieve(Protocol):
    """Chooses the skills of a task's prompts from a bank: a `Retriever`, or what wraps one."""

    def __call__(self, bank: SkillBank, task: Task, /) -> tuple[Skill, ...]:
        """Returns skills of `bank` in prompt order; the same arguments always give the same."""


@dataclasses.dataclass(frozen=True, slots=True)
class Retriever:
    """Retrieves as a run does: called with a bank and a task, it returns skills in prompt order.

    Attributes:
      embedder: finds similar skills.
      settings: how many skills of which kind, by which rule, and how many tokens in all.
      count_tokens: counts the tokens that skills take in a prompt; without the policy's tokenizer
        they are estimated.
      utility: gives what the skills of a bank are measured to be worth, by their ids; of what does
        not fit into ``skill_retrieval.max_tokens`` the least useful goes first.
    """

    embedder: Embedder
    settings: SkillRetrievalConfig
    count_tokens: CountTokens = caps.estimated_tokens
    utility: Callable[[SkillBank], Mapping[str, Estimated]] = estimates
    _neutral: dict[tuple[str, ...], Skill] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def __call__(self, bank: SkillBank, task: Task) -> tuple[Skill, ...]:
        """Retrieves the skills that the prompts of `task` show."""
        found = for_prompt(bank, task, embedder=self.embedder, settings=self.settings)
        if self.settings.max_tokens:
            found = caps.fitting(
                found,
                self.settings.max_tokens,
                count_tokens=self.count_tokens,
                worth=worth_by(self.utility(bank)),
            )
        if self.settings.content == "neutral":
            return tuple(self._twin(skill) for skill in found)
        return found

    def _twin(self, skill: Skill) -> Skill:
        """Returns text about nothing that is as long as `skill`; made once, which takes a while."""
        key = (skill.id, skill.title, skill.principle, skill.when_to_apply, skill.category)
        if key not in self._neutral:
            self._neutral[key] = neutral_skill(
                skill, count_tokens=lambda one: self.count_tokens([one])
            )
        return self._neutral[key]


@register_retrieval("similar")
def similar(
    bank: SkillBank,
    task: Task,
    *,
    embedder: Embedder,
    top_k: int,
    similarity_threshold: float,
    general_top_k: int,
    mistakes_top_k: int,
) -> Retrieved:
    """Retrieves the skills that are most similar to the task.

        S_ret = TopK({s in S_k : sim(e_d, e_s) > delta}, K)    (equation 4)

    with the category k of the environment, cosine similarity, delta = `similarity_threshold`
    and K = `top_k`, most similar first. General skills and mistakes (general ones and those of
    the category) have budgets of their own and no threshold; the paper always gives all general
    skills, which is what happens while they fit. Ties keep bank order.

    Args:
      bank: where to look.
      task: the task that is about to be played.
      embedder: turns texts into vectors of length 1.
      top_k: largest number of task-specific skills.
      similarity_threshold: cosine similarity that a task-specific skill must exceed.
      general_top_k: largest number of general skills.
      mistakes_top_k: largest number of mistakes.
    """
    query = _embed(embedder, [query_text(task)])[0]
    specific = _rank(bank.select(category=task.category, kind="skill"), query, embedder)
    chosen = [skill for skill, similarity in specific if similarity > similarity_threshold]
    general = bank.select(category=GENERAL, kind="skill")
    return Retrieved(
        general=_budget(general, query, embedder=embedder, budget=general_top_k),
        task_specific=tuple(chosen[: max(top_k, 0)]) if task.category != GENERAL else (),
        mistakes=_budget(
            _mistakes(bank, task.category), query, embedder=embedder, budget=mistakes_top_k
        ),
    )


@register_retrieval("useful")
def useful(
    bank: SkillBank,
    task: Task,
    *,
    embedder: Embedder,
    top_k: int,
    similarity_threshold: float,
    general_top_k: int,
    mistakes_top_k: int,
) -> Retrieved:
    """Retrieves as `similar` does, but skills that are known to help first; see `RetrievalRule`.

    Of those that compete for a budget come first the skills whose measured utility lies above zero
    with its whole interval (`skillrl.skills.utility.estimates`), last those of which it lies below;
    between them are the others, measured or not. Within each of these three, the order is that of
    `similar`, so that while nothing is decided the two rules retrieve the same. A task-specific
    skill must still be similar enough: what helps elsewhere says nothing about this task.
    """
    known = estimates(bank)

    def best(skills: Iterable[Skill], budget: int) -> tuple[Skill, ...]:
        order = sorted(skills, key=lambda skill: -state_of(skill.id, known))  # stable
        return tuple(order[: max(budget, 0)])

    query = _embed(embedder, [query_text(task)])[0]
    specific = _rank(bank.select(category=task.category, kind="skill"), query, embedder)
    near = [skill for skill, similarity in specific if similarity > similarity_threshold]
    general = bank.select(category=GENERAL, kind="skill")
    mistakes = _mistakes(bank, task.category)
    return Retrieved(
        general=best(_in_turn(general, query, embedder, general_top_k), general_top_k),
        task_specific=best(near, top_k) if task.category != GENERAL else (),
        mistakes=best(_in_turn(mistakes, query, embedder, mistakes_top_k), mistakes_top_k),
    )


@register_retrieval("stored", uses_embedder=False)
def stored(
    bank: SkillBank,
    task: Task,
    *,
    embedder: Embedder,
    top_k: int,
    similarity_threshold: float,
    general_top_k: int,
    mistakes_top_k: int,
) -> Retrieved:
    """Retrieves the first skills as they are stored, as the released code does.

    Evolved general skills (``dyn_``) come before the other general ones; there is no threshold.

    Args:
      bank: where to look.
      task: the task that is about to be played.
      embedder: is not asked.
      top_k: largest number of task-specific skills.
      similarity_threshold: is not used.
      general_top_k: largest number of general skills.
      mistakes_top_k: largest number of mistakes.
    """
    general = bank.select(category=GENERAL, kind="skill")
    first = sorted(general, key=lambda skill: not skill.id.startswith("dyn_"))  # stable
    own = bank.select(category=task.category, kind="skill") if task.category != GENERAL else ()
    return Retrieved(
        general=tuple(first[: max(general_top_k, 0)]),
        task_specific=own[: max(top_k, 0)],
        mistakes=_mistakes(bank, task.category)[: max(mistakes_top_k, 0)],
    )


@register_retrieval("flat")
def flat(
    bank: SkillBank,
    task: Task,
    *,
    embedder: Embedder,
    top_k: int,
    similarity_threshold: float,
    general_top_k: int,
    mistakes_top_k: int,
) -> Retrieved:
    """Retrieves from one flat list, without hierarchy (compare paper 4.4); see `RetrievalRule`.

    Skills and mistakes, general ones and those of every category, compete for one budget as large
    as the three together, by their similarity to the task alone. There is no threshold, as there
    is none for general skills elsewhere. Prompts still show them under the usual headings.
    """
    query = _embed(embedder, [query_text(task)])[0]
    budget = sum(max(k, 0) for k in (top_k, general_top_k, mistakes_top_k))
    return Retrieved(task_specific=_budget(bank.skills, query, embedder=embedder, budget=budget))


@register_retrieval("paper", uses_embedder=False)
def paper(
    bank: SkillBank,
    task: Task,
    *,
    embedder: Embedder,
    top_k: int,
    similarity_threshold: float,
    general_top_k: int,
    mistakes_top_k: int,
) -> Retrieved:
    """Retrieves as the released code does: as `stored`, the category guessed from the goal's words.

    The guess is `skillrl.skills.keyword_router.route`; where it finds no category, only general
    skills and mistakes are retrieved. See `RetrievalRule` for the arguments.
    """
    guessed = dataclasses.replace(task, category=route(task.goal, bank.categories) or GENERAL)
    return stored(
        bank,
        guessed,
        embedder=embedder,
        top_k=top_k,
        similarity_threshold=similarity_threshold,
        general_top_k=general_top_k,
        mistakes_top_k=mistakes_top_k,
    )


def _mistakes(bank: SkillBank, category: str) -> tuple[Skill, ...]:
    return tuple(
        skill for skill in bank.select(kind="mistake") if skill.category in (GENERAL, category)
    )


def best_similarities(
    bank: SkillBank, tasks: Sequence[Task], *, embedder: Embedder | None
) -> list[float | None]:
    """Returns how similar the nearest skill of each task's category is; None where there is none.

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
    skills: tuple[Skill, ...], query: np.ndarray, *, embedder: Embedder, budget: int
) -> tuple[Skill, ...]:
    return _in_turn(skills, query, embedder, budget)[: max(budget, 0)]


def _in_turn(
    skills: tuple[Skill, ...], query: np.ndarray, embedder: Embedder, budget: int
) -> tuple[Skill, ...]:
    """Sorts skills for a budget: most similar first, but in bank order where all of them fit."""
    if len(skills) <= budget:
        return skills
    return tuple(skill for skill, _ in _rank(skills, query, embedder))


def _rank(
    skills: Sequence[Skill], query: np.ndarray, embedder: Embedder
) -> list[tuple[Skill, float]]:
    """Returns (skill, cosine similarity), most similar first, ties in the given order."""
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
