"""The skill bank: an immutable, versioned set of skills with its own history.

SkillBank = S_g ∪ ⋃_k S_k (paper 3.2): general skills and skills per task category. Each
entry is a skill or a mistake (`Skill.kind`). Updates return new banks.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from skillrl.errors import SkillRLError
from skillrl.skills import caps
from skillrl.skills.duplicates import DUPLICATE_SIMILARITY, Twins, normal, skill_text
from skillrl.skills.history import BankEvent
from skillrl.skills.proposals import Addition, Merge, Proposal, Refinement, Retirement
from skillrl.skills.worth import Worth, unmeasured
from skillrl.teacher.base import Embedder
from skillrl.types import GENERAL, Exams, Provenance, Skill, SkillUse, Trajectory

KINDS = ("skill", "mistake")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _When:
    """When an event happens: what its lines of history have in common."""

    version: int
    step: int
    policy_version: int


@dataclasses.dataclass(frozen=True)
class SkillBank:
    """All skills, in the order in which they came.

    Attributes:
      skills: general and task-specific entries; ids are unique.
      version: grows by one with every update that changes the words of the bank. Use
        statistics and examinations are not words: they leave it alone.
      history: everything that was added, refined, merged, retired or refused; it only grows.
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
        policy_version: int = 0,
        embedder: Embedder | None = None,
        max_similarity: float = DUPLICATE_SIMILARITY,
        limit: int | None = None,
        max_skills: int = 0,
        worth: Worth = unmeasured,
    ) -> SkillBank:
        """Returns a bank in which each proposal took effect or was refused, in their order.

        Each proposal leaves a line of history for every skill that it touches, and all that take
        effect together make one new version. New words are refused when their normalised title,
        or their whole text with cosine similarity >= `max_similarity`, is that of another skill
        of the same category or of a general one; a refinement also when it changes nothing, and
        whatever would change a skill that left the bank in this very event. Use statistics and
        examinations of a skill with new words start afresh, because they belong to the old ones.

        Args:
          proposals: additions, refinements, merges and retirements.
          step: training iteration, for the history (0 before training).
          policy_version: number of updates of the policy, for the history.
          embedder: finds near-duplicates; without one only equal titles are found.
          max_similarity: cosine similarity from which two skills say the same.
          limit: most additions and refinements that take effect (``evolution.max_new_skills``),
            and as many merges and retirements, the others are refused; None sets no limit.
          max_skills: in the end the bank has at most as many skills, see `caps.beyond`; 0 sets no
            limit.
          worth: gives the worth of a skill, by which `max_skills` is kept.

        Raises:
          SkillRLError: a given id is taken, a skill is malformed, or a target is not in the bank.
        """
        bank, twins = self, Twins(embedder, max_similarity)
        when = _When(version=self.version + 1, step=step, policy_version=policy_version)
        effective = {False: 0, True: 0}
        for proposal in proposals:
            shrinks = isinstance(proposal, Merge | Retirement)
            lost = bank._lost(proposal, self)
            if limit is not None and effective[shrinks] >= limit:
                reason = f"more than max_new_skills={limit} in one event"
                bank = bank._refuse(when, proposal, reason, like=_targets(proposal)[0])
            elif lost:
                bank = bank._refuse(
                    when, proposal, f"{lost} left the bank in this event", like=lost
                )
            else:
                bank = bank._changed(when, proposal, twins)
                effective[shrinks] += bank.history[-1].action != "refused"
        new = [
            event.skill for event in bank.history[len(self.history) :] if event.action == "added"
        ]
        for skill in caps.beyond(bank.skills, max_skills, worth=worth, new=new):
            reason = f"more than evolution.max_skills={max_skills}"
            bank = bank._retired(when, Retirement(target=skill.id, reason=reason))
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

    def record_exams(self, exams: Mapping[str, Exams]) -> SkillBank:
        """Returns a bank whose skills have these examinations added to those they had.

        Args:
          exams: id of a skill -> what its new examinations gave.

        Raises:
          SkillRLError: there is no such skill in this bank.
        """
        for skill_id in exams:
            self.get(skill_id)
        skills = tuple(
            dataclasses.replace(skill, exams=_sum(skill.exams, exams[skill.id]))
            if skill.id in exams
            else skill
            for skill in self.skills
        )
        return dataclasses.replace(self, skills=skills)

    # Internals ----------------------------------------------------------------

    def _changed(self, when: _When, proposal: Proposal, twins: Twins) -> SkillBank:
        if isinstance(proposal, Addition):
            return self._added(when, proposal, twins)
        if isinstance(proposal, Refinement):
            return self._refined(when, proposal, twins)
        if isinstance(proposal, Merge):
            return self._merged(when, proposal, twins)
        return self._retired(when, proposal)

    def _added(self, when: _When, proposal: Addition, twins: Twins) -> SkillBank:
        skill = proposal.skill
        if proposal.evolved or not skill.id:
            skill = dataclasses.replace(skill, id=self._free_id(skill, evolved=proposal.evolved))
        check_skill(skill)
        if any(skill.id == other.id for other in self.skills):
            raise SkillRLError(
                f"skill id {skill.id!r} is taken by {self.get(skill.id).title!r}; leave the id "
                "empty to be given a free one"
            )
        twin, why = twins.find(skill, self.skills)
        if twin is not None:
            return self._refuse(when, proposal, why, like=twin.id)
        event = _event(when, proposal, skill, action="added", after=skill_text(skill))
        return SkillBank((*self.skills, skill), when.version, (*self.history, event))

    def _refined(self, when: _When, proposal: Refinement, twins: Twins) -> SkillBank:
        old = self.get(proposal.target)
        new = _reworded(old, proposal, step=when.step)
        if _words(new) == _words(old):
            return self._refuse(when, proposal, "the refinement changes nothing", like=old.id)
        twin, why = twins.find(
            new, self.skills, besides=(old.id,), titles=normal(new.title) != normal(old.title)
        )
        if twin is not None:
            return self._refuse(when, proposal, why, like=twin.id)
        event = _event(
            when, proposal, new, action="refined", before=skill_text(old), after=skill_text(new)
        )
        skills = tuple(new if skill.id == old.id else skill for skill in self.skills)
        return SkillBank(skills, when.version, (*self.history, event))

    def _merged(self, when: _When, proposal: Merge, twins: Twins) -> SkillBank:
        first, *others = (self.get(target) for target in proposal.targets)
        same = all(other.category == first.category for other in others)
        category = first.category if same else GENERAL
        new = _reworded(dataclasses.replace(first, category=category), proposal, step=when.step)
        sources = [name for old in (first, *others) for name in old.provenance.sources]
        sources = [*sources, *new.provenance.sources]
        provenance = dataclasses.replace(new.provenance, sources=tuple(dict.fromkeys(sources)))
        new = dataclasses.replace(new, provenance=provenance)
        twin, why = twins.find(new, self.skills, besides=proposal.targets)
        if twin is not None:
            return self._refuse(when, proposal, why, like=twin.id)
        event = _event(
            when, proposal, new, action="merged", before=skill_text(first), after=skill_text(new)
        )
        skills = tuple(new if skill.id == first.id else skill for skill in self.skills)
        bank = SkillBank(skills, when.version, (*self.history, event))
        for other in others:
            gone = Retirement(
                target=other.id, sources=proposal.sources, reason=f"merged into {first.id}"
            )
            bank = bank._retired(when, gone)
        return bank

    def _retired(self, when: _When, proposal: Retirement) -> SkillBank:
        old = self.get(proposal.target)
        event = _event(when, proposal, old, action="retired", before=skill_text(old))
        skills = tuple(skill for skill in self.skills if skill.id != old.id)
        return SkillBank(skills, when.version, (*self.history, event))

    def _refuse(self, when: _When, proposal: Proposal, reason: str, *, like: str) -> SkillBank:
        """Returns the same bank with a refusal in its history."""
        known = {skill.id: skill for skill in self.skills}
        title, words = _said(proposal, known.get(_targets(proposal)[0]))
        event = BankEvent(
            version=self.version,
            step=when.step,
            action="refused",
            skill=like,
            title=title,
            reason=reason,
            policy_version=when.policy_version,
            sources=_sources(proposal),
            after=words,
        )
        return dataclasses.replace(self, history=(*self.history, event))

    def _lost(self, proposal: Proposal, before: SkillBank) -> str:
        """Returns a target that was in the bank `before` and is no longer, or "".

        Raises:
          SkillRLError: a target was in neither.
        """
        here = {skill.id for skill in self.skills}
        for target in filter(None, _targets(proposal)):
            if target not in here:
                before.get(target)  # an id that never was is an error, not a refusal
                return target
        return ""

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


def _targets(proposal: Proposal) -> tuple[str, ...]:
    """Returns the ids of the skills that a proposal is about; of an addition, ""."""
    if isinstance(proposal, Addition):
        return ("",)
    return proposal.targets if isinstance(proposal, Merge) else (proposal.target,)


def _sources(proposal: Proposal) -> tuple[str, ...]:
    if isinstance(proposal, Addition):
        return proposal.skill.provenance.sources
    return proposal.sources


def _said(proposal: Proposal, old: Skill | None) -> tuple[str, str]:
    """Returns title and words of what was proposed; `old` is its first target, if that is there."""
    if isinstance(proposal, Addition):
        return proposal.skill.title, skill_text(proposal.skill)
    if isinstance(proposal, Retirement):
        return old.title if old else "", ""
    if old is None:
        words = (proposal.title, proposal.principle, proposal.when_to_apply)
        return proposal.title or "", ". ".join(filter(None, words))
    new = _reworded(old, proposal, step=0)
    return new.title, skill_text(new)


def _words(skill: Skill) -> tuple[str, str, str]:
    return skill.title, skill.principle, skill.when_to_apply


def _reworded(old: Skill, proposal: Refinement | Merge, *, step: int) -> Skill:
    """Returns `old` with the words of a proposal, without the statistics of the old words."""
    words = {
        name: word
        for name in ("title", "principle", "when_to_apply")
        if (word := getattr(proposal, name)) is not None
    }
    provenance = Provenance(
        teacher=proposal.teacher or old.provenance.teacher,
        step=step,
        sources=tuple(dict.fromkeys((*old.provenance.sources, *proposal.sources))),
    )
    return dataclasses.replace(old, **words, use=SkillUse(), exams=Exams(), provenance=provenance)


def _event(
    when: _When,
    proposal: Proposal,
    skill: Skill,
    *,
    action: str,
    before: str = "",
    after: str = "",
) -> BankEvent:
    """Makes the line of history that says what a proposal did to a skill."""
    return BankEvent(
        version=when.version,
        step=when.step,
        action=action,
        skill=skill.id,
        title=skill.title,
        reason=proposal.reason,
        policy_version=when.policy_version,
        sources=_sources(proposal),
        before=before,
        after=after,
    )


def _sum(one: Exams, other: Exams) -> Exams:
    return Exams(
        pairs=one.pairs + other.pairs,
        gain=one.gain + other.gain,
        squares=one.squares + other.squares,
        step=max(one.step, other.step),
        policy_version=max(one.policy_version, other.policy_version),
    )


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
