"""Holds the skill bank: an immutable, versioned set of skills with its own history.

SkillBank = S_g ∪ ⋃_k S_k (paper 3.2): general skills and skills per task category. Each
entry is a skill or a mistake (`Skill.kind`). Updates return new banks.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from skillrl.errors import SkillRLError
from skillrl.skills.proposals import Addition, Proposal, Refinement, Retirement
from skillrl.teacher.base import Embedder
from skillrl.types import GENERAL, Provenance, Skill, SkillUse, Trajectory, valid_texts

KINDS = ("skill", "mistake")
ACTIONS = ("added", "refined", "retired", "refused")
"""What may have happened to a skill."""
DUPLICATE_SIMILARITY = 0.85
"""Cosine similarity from which two skills of one category say the same."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BankEvent:
    """Holds one line of a bank's history.

    Attributes:
      version: version of the bank after the event.
      step: training iteration (0 before training).
      action: one of `ACTIONS`.
      skill: id of the skill; for a refusal, of the skill that it would have repeated ("" if none).
      title: title of the skill that was added, refined, retired or refused.
      reason: why.
      before: for a refinement or a retirement, the words that went.
    """

    version: int
    step: int
    action: str
    skill: str
    title: str = ""
    reason: str = ""
    before: str = ""

    def __post_init__(self) -> None:
        valid_texts(self, "skill", "title", "reason", "before")


@dataclasses.dataclass(frozen=True)
class SkillBank:
    """Holds all skills, in the order in which they came.

    Attributes:
      skills: general and task-specific entries; ids are unique.
      version: grows by one with every update that changes the words of the bank. Use
        statistics are not words: they leave it alone.
      history: everything that was added, refined, retired or refused.
    """

    skills: tuple[Skill, ...] = ()
    version: int = 0
    history: tuple[BankEvent, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for skill in self.skills:
            check_skill(skill)
            if skill.id in seen:
                raise SkillRLError(
                    f"skill id {skill.id!r} occurs twice in the bank; make it unique"
                )
            seen.add(skill.id)

    def __len__(self) -> int:
        return len(self.skills)

    def get(self, skill_id: str) -> Skill:
        """Returns the skill with this id.

        Raises:
          SkillRLError: there is none.
        """
        for skill in self.skills:
            if skill.id == skill_id:
                return skill
        raise SkillRLError(
            f"no skill {skill_id!r} in bank version {self.version} ({len(self.skills)} skills); "
            "is this the bank that the trajectory was played with?"
        )

    def select(self, *, category: str | None = None, kind: str | None = None) -> tuple[Skill, ...]:
        """Returns skills of a category and kind, in bank order; None means any."""
        return tuple(
            skill
            for skill in self.skills
            if category in (None, skill.category) and kind in (None, skill.kind)
        )

    @property
    def categories(self) -> tuple[str, ...]:
        """Task categories that have an entry, in order of appearance, without `GENERAL`."""
        found = dict.fromkeys(skill.category for skill in self.skills)
        return tuple(name for name in found if name != GENERAL)

    def summary(self) -> dict[str, int | dict[str, int]]:
        """Counts entries: in total, per tier, per category, evolved; and gives the version."""
        general = self.select(category=GENERAL, kind="skill")
        mistakes = self.select(kind="mistake")
        return {
            "version": self.version,
            "total": len(self.skills),
            "general": len(general),
            "task_specific": len(self.skills) - len(general) - len(mistakes),
            "mistakes": len(mistakes),
            "evolved": sum(skill.id.startswith("dyn_") for skill in self.skills),
            "categories": {
                name: len(self.select(category=name)) for name in (GENERAL, *self.categories)
            },
        }

    # Pure updates -------------------------------------------------------------

    def apply(
        self,
        proposals: Iterable[Proposal],
        *,
        step: int = 0,
        embedder: Embedder | None = None,
        max_similarity: float = DUPLICATE_SIMILARITY,
        limit: int | None = None,
    ) -> SkillBank:
        """Returns a bank in which each proposal took effect or was refused, in their order.

        Each proposal leaves exactly one line of history, and all that take effect together make
        one new version. An addition is refused when its normalised title, or its whole text with
        cosine similarity >= `max_similarity`, is that of a skill of the same category or of a
        general one; a refinement is refused when it changes nothing. The use statistics of a
        refined skill start afresh, because they belong to the old words.

        Args:
          proposals: additions, refinements and retirements.
          step: training iteration, for the history (0 before training).
          embedder: finds near-duplicates; without one only equal titles are found.
          max_similarity: cosine similarity from which two skills say the same.
          limit: most proposals that take effect (``evolution.max_new_skills``), the others are
            refused; None sets no limit.

        Raises:
          SkillRLError: a given id is taken, a skill is malformed, or a target is not in the bank.
        """
        bank, version, effective = self, self.version + 1, 0
        for proposal in proposals:
            if limit is not None and effective >= limit:
                reason = f"more than max_new_skills={limit} in one event"
                bank = bank._refuse(bank._title(proposal), step, reason, like=_target(proposal))
                continue
            if isinstance(proposal, Addition):
                bank = bank._added(
                    proposal,
                    version=version,
                    step=step,
                    embedder=embedder,
                    max_similarity=max_similarity,
                )
            elif isinstance(proposal, Refinement):
                bank = bank._refined(proposal, version, step)
            else:
                bank = bank._retired(proposal, version, step)
            effective += bank.history[-1].action != "refused"
        return bank

    def add(
        self,
        skills: Iterable[Skill],
        *,
        step: int = 0,
        reason: str = "",
        embedder: Embedder | None = None,
        max_similarity: float = DUPLICATE_SIMILARITY,
    ) -> SkillBank:
        """Returns a bank with `skills` appended; what it already says is refused, see `apply`.

        Args:
          skills: new skills; those without an id are given a free one.
          step: training iteration, for the history.
          reason: why they are added, for the history.
          embedder: finds near-duplicates; without one only equal titles are found.
          max_similarity: cosine similarity from which two skills say the same.

        Raises:
          SkillRLError: a given id is taken, or a skill is malformed.
        """
        return self.apply(
            [Addition(skill=skill, reason=reason) for skill in skills],
            step=step,
            embedder=embedder,
            max_similarity=max_similarity,
        )

    def record_use(self, trajectories: Iterable[Trajectory]) -> SkillBank:
        """Returns a bank whose use statistics count these episodes (failed environments excluded).

        Raises:
          SkillRLError: an episode had a skill that this bank does not know.
        """
        episodes: dict[str, int] = {}
        wins: dict[str, int] = {}
        for trajectory in trajectories:
            if trajectory.error:
                continue
            for skill_id in dict.fromkeys(trajectory.skills):
                episodes[skill_id] = episodes.get(skill_id, 0) + 1
                wins[skill_id] = wins.get(skill_id, 0) + trajectory.won
        for skill_id in episodes:
            self.get(skill_id)
        skills = tuple(
            dataclasses.replace(
                skill,
                use=SkillUse(
                    skill.use.episodes + episodes.get(skill.id, 0),
                    skill.use.wins + wins.get(skill.id, 0),
                ),
            )
            for skill in self.skills
        )
        return dataclasses.replace(self, skills=skills)

    # Internals ----------------------------------------------------------------

    def _added(
        self,
        proposal: Addition,
        *,
        version: int,
        step: int,
        embedder: Embedder | None,
        max_similarity: float,
    ) -> SkillBank:
        skill = proposal.skill
        if proposal.evolved or not skill.id:
            skill = dataclasses.replace(skill, id=self._free_id(skill, evolved=proposal.evolved))
        check_skill(skill)
        if any(skill.id == other.id for other in self.skills):
            raise SkillRLError(
                f"skill id {skill.id!r} is taken by {self.get(skill.id).title!r}; leave the id "
                "empty to be given a free one"
            )
        twin, why = self._twin(skill, embedder, max_similarity)
        if twin is not None:
            return self._refuse(skill.title, step, why, like=twin.id)
        event = BankEvent(
            version=version,
            step=step,
            action="added",
            skill=skill.id,
            title=skill.title,
            reason=proposal.reason,
        )
        return SkillBank((*self.skills, skill), version, (*self.history, event))

    def _refined(self, proposal: Refinement, version: int, step: int) -> SkillBank:
        old = self.get(proposal.target)
        words = {
            name: word
            for name in ("title", "principle", "when_to_apply")
            if (word := getattr(proposal, name)) is not None
        }
        new = dataclasses.replace(old, **words)
        if new == old:
            return self._refuse(old.title, step, "the refinement changes nothing", like=old.id)
        new = dataclasses.replace(
            new,
            use=SkillUse(),
            provenance=Provenance(
                teacher=proposal.teacher or old.provenance.teacher,
                step=step,
                sources=tuple(dict.fromkeys((*old.provenance.sources, *proposal.sources))),
            ),
        )
        event = BankEvent(
            version=version,
            step=step,
            action="refined",
            skill=old.id,
            title=new.title,
            reason=proposal.reason,
            before=skill_text(old),
        )
        skills = tuple(new if skill.id == old.id else skill for skill in self.skills)
        return SkillBank(skills, version, (*self.history, event))

    def _retired(self, proposal: Retirement, version: int, step: int) -> SkillBank:
        old = self.get(proposal.target)
        event = BankEvent(
            version=version,
            step=step,
            action="retired",
            skill=old.id,
            title=old.title,
            reason=proposal.reason,
            before=skill_text(old),
        )
        skills = tuple(skill for skill in self.skills if skill.id != old.id)
        return SkillBank(skills, version, (*self.history, event))

    def _refuse(self, title: str, step: int, reason: str, *, like: str) -> SkillBank:
        """Returns the same bank with a refusal in its history."""
        event = BankEvent(
            version=self.version,
            step=step,
            action="refused",
            skill=like,
            title=title,
            reason=reason,
        )
        return dataclasses.replace(self, history=(*self.history, event))

    def _title(self, proposal: Proposal) -> str:
        if isinstance(proposal, Addition):
            return proposal.skill.title
        title = proposal.title if isinstance(proposal, Refinement) else None
        return self.get(proposal.target).title if title is None else title

    def _free_id(self, skill: Skill, *, evolved: bool) -> str:
        if evolved:
            prefix = "dyn"
        elif skill.kind == "mistake":
            prefix = "err"
        else:
            prefix = re.sub(r"[^a-z]", "", skill.category.lower())[:3] or "ski"
        used = [item.id for item in self.skills]
        used += [event.skill for event in self.history if event.action != "refused"]
        pattern = re.compile(rf"{prefix}_([0-9]{{1,9}})")  # longer is no number that we gave
        numbers = [int(match[1]) for match in map(pattern.fullmatch, used) if match]
        return f"{prefix}_{max(numbers, default=0) + 1:03d}"

    def _twin(
        self, skill: Skill, embedder: Embedder | None, max_similarity: float
    ) -> tuple[Skill | None, str]:
        """Returns the skill that already says this, and how that was seen."""
        rivals = [other for other in self.skills if other.category in (skill.category, GENERAL)]
        for other in rivals:
            if _normal(other.title) == _normal(skill.title):
                return other, f"same title as {other.id}"
        if embedder is None or not rivals:
            return None, ""
        vectors = embedder.embed([skill_text(item) for item in (skill, *rivals)])
        similarity = vectors[1:] @ vectors[0]
        best = int(np.argmax(similarity))
        if similarity[best] >= max_similarity:
            return rivals[best], f"cosine {similarity[best]:.2f} with {rivals[best].id}"
        return None, ""


def _target(proposal: Proposal) -> str:
    return "" if isinstance(proposal, Addition) else proposal.target


def skill_text(skill: Skill) -> str:
    """Returns what is embedded of a skill: "title. principle. when_to_apply"."""
    return ". ".join(filter(None, (skill.title, skill.principle, skill.when_to_apply)))


def check_skill(skill: Skill) -> None:
    """Raises `SkillRLError` unless id, title and principle are there and the kind is known."""
    for name in ("id", "title", "principle", "category"):
        value = getattr(skill, name)
        if not isinstance(value, str) or not value.strip():
            raise SkillRLError(
                f"skill {skill.id!r}: field {name!r} is {value!r:.80}; give it a text"
            )
    if skill.kind not in KINDS:
        raise SkillRLError(
            f"skill {skill.id!r}: kind {skill.kind!r} is unknown; use one of {', '.join(KINDS)}"
        )


def rename_categories(bank: SkillBank, aliases: Mapping[str, str]) -> SkillBank:
    """Returns the bank with category names replaced; the version stays, the words are the same."""
    skills = tuple(
        dataclasses.replace(skill, category=aliases.get(skill.category, skill.category))
        for skill in bank.skills
    )
    return dataclasses.replace(bank, skills=skills)


def _normal(title: str) -> str:
    return " ".join(re.findall(r"\w+", title.lower()))
