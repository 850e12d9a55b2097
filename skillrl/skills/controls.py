"""Arms of an evaluation: the same policy and tasks with other skills, or none, in the prompts.

Whether skills help is not seen from success with them. ``none`` says what the policy does alone,
``neutral`` what mere length does, ``shuffled`` whether it matters which skills there are, and
``initial`` what the bank's evolution added. Nothing here needs JAX.
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Mapping, Sequence

from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.skills.bank import SkillBank
from skillrl.skills.neutral import CountTokens, neutral_bank
from skillrl.skills.retrieval import Retrieve, Retriever
from skillrl.types import Skill, Task

NONE, OWN, INITIAL = "none", "own", "initial"
CONTROLS = ("shuffled", "neutral")
_HOW = (
    "an arm is none, own, initial or the file of a bank, or shuffled or neutral, which are made "
    "from own unless another is named (shuffled:initial, neutral:FILE); commas separate several"
)


@dataclasses.dataclass(frozen=True, slots=True)
class AskedArm:
    """An arm as ``--bank`` names it.

    Attributes:
      name: as it was typed.
      source: ``none``, ``own``, ``initial`` or the path of a bank.
      control: what is done with that bank: "" for nothing, ``shuffled`` or ``neutral``.
    """

    name: str
    source: str
    control: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What an arm of an evaluation has in its prompts.

    Attributes:
      name: for tables.
      bank: where its skills are.
      retrieve: which of them a task gets.
    """

    name: str
    bank: SkillBank
    retrieve: Retrieve


def split_arms(text: str) -> list[str]:
    """Splits what ``--bank`` says into the names of arms; a file with commas in its name is one."""
    if _is_file(text):
        return [text]
    return [name.strip() for name in text.split(",")]


def num_played(text: str | None) -> int:
    """Counts the arms that an evaluation plays for ``--bank``, ``none`` included."""
    return 1 if text is None else len({*split_arms(text), NONE})


def parse_arms(text: str) -> tuple[AskedArm, ...]:
    """Reads what ``--bank`` says.

    Examples:
      >>> [arm.source for arm in parse_arms("own,neutral,shuffled:initial")]
      ['own', 'own', 'initial']

    Raises:
      SkillRLError: an arm is no such name nor a file, or stands there twice; says what there is.
    """
    names = split_arms(text)
    for name in names:
        if names.count(name) > 1:
            raise SkillRLError(f"--bank={text:.200}: {name!r:.80} stands there twice; keep one.")
    return tuple(_asked(name) for name in names)


def _asked(name: str) -> AskedArm:
    control, colon, source = name.partition(":")
    if control not in CONTROLS:
        control, source = "", name
    elif not colon:
        source = OWN
    known = (OWN, INITIAL) if control else (NONE, OWN, INITIAL)
    if source in known:
        return AskedArm(name, source, control)
    if not _is_file(source):
        raise SkillRLError(f"--bank={name:.200}: no such arm, nor a file; {_HOW}.")
    return AskedArm(name, paths.expand(source), control)


def _is_file(name: str) -> bool:
    return not paths.problem(name) and os.path.isfile(paths.expand(name))


def make_arms(
    asked: Sequence[AskedArm],
    banks: Mapping[str, SkillBank],
    *,
    retriever: Retriever,
    count_tokens: CountTokens | None = None,
) -> tuple[Arm, ...]:
    """Makes the arms that were asked for.

    Args:
      asked: as from `parse_arms`.
      banks: source -> its bank, for each that an arm names; that of ``none`` may be missing.
      retriever: retrieval as the run does it.
      count_tokens: the policy's tokenizer; None matches neutral text by words.

    Raises:
      SkillRLError: a bank cannot be shuffled, since it has no skills of two categories, or has no
        skills that could be neutral ones.
    """
    return tuple(
        _make_arm(
            arm,
            banks.get(arm.source, SkillBank()),
            retriever=retriever,
            count_tokens=count_tokens,
        )
        for arm in asked
    )


def _make_arm(
    arm: AskedArm, bank: SkillBank, *, retriever: Retriever, count_tokens: CountTokens | None
) -> Arm:
    if arm.control == "neutral":
        if not bank.skills:
            raise SkillRLError(
                f"--bank={arm.name:.200}: the bank has no skills to imitate; {_HOW}."
            )
        neutral = neutral_bank(bank, count_tokens=count_tokens)
        return Arm(name=arm.name, bank=neutral, retrieve=in_place_of(bank, retriever))
    if arm.control == "shuffled":
        if len(bank.categories) < 2:
            raise SkillRLError(
                f"--bank={arm.name:.200}: the bank has skills of "
                f"{', '.join(bank.categories) or 'no category'} alone, so no task can be given "
                f"another category's; {_HOW}."
            )
        # Another category's skills are less similar to a task. Under a threshold some tasks
        # would get none, and the arm would be `none` by another name.
        settings = dataclasses.replace(retriever.settings, similarity_threshold=-1.0)
        freely = dataclasses.replace(retriever, settings=settings)
        return Arm(name=arm.name, bank=bank, retrieve=shuffled(retriever, freely))
    return Arm(name=arm.name, bank=bank, retrieve=retriever)


def in_place_of(bank: SkillBank, retrieve: Retrieve) -> Retrieve:
    """Returns a retriever that finds in `bank`, and gives what has the same ids in another.

    Neutral text is similar to no task: retrieved by its own words it would not be as much, nor
    in the same prompts, as what it stands for.
    """

    def twins(other: SkillBank, task: Task) -> tuple[Skill, ...]:
        return tuple(other.get(skill.id) for skill in retrieve(bank, task))

    return twins


def shuffled(retrieve: Retrieve, freely: Retrieve | None = None) -> Retrieve:
    """Returns a retriever that gives a task the skills and mistakes of another category.

    Which one depends on the task's id and the categories of the bank. There are no general skills
    among them, and no more than `retrieve` gives the task as its own.

    Args:
      retrieve: retrieval as the run does it; says how many skills the task would have.
      freely: finds those of the other category; `retrieve` by default.
    """
    find = freely or retrieve

    def of_another(bank: SkillBank, task: Task) -> tuple[Skill, ...]:
        others = [name for name in bank.categories if name != task.category]
        if not others:
            return ()
        other = others[zlib.crc32(task.id.encode("utf-8")) % len(others)]
        theirs = SkillBank(bank.select(category=other), bank.version)
        found = find(theirs, dataclasses.replace(task, category=other))
        return found[: len(retrieve(bank, task))]

    return of_another
