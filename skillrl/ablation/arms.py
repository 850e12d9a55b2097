"""The arms of `skillrl ablate`: one table of what each is, trains and plays.

An arm that trains is an ordinary run. It begins as a copy of finished phases of its parent, so
that what it does not change is the same to the bit: episodes collected, demonstrations, the first
bank, and where it fits the cold start. Every arm has the episodes, history, prompts and schedule
that the settings give; the table says what else differs, and ``--set_arm`` tunes one arm alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from skillrl.errors import SkillRLError

FINAL = "final"
"""In the place of a bank: the newest bank of the arm `full`."""

COLLECTED = ("collect", "distill")
COLD_STARTED = ("collect", "distill", "sft")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A policy with a bank, evaluated on the held-out tasks.

    Attributes:
      run: the arm whose run directory has the policy.
      checkpoint: base, sft or rl, as ``evaluate --checkpoint`` names it.
      bank: as ``evaluate --bank`` names it, or `FINAL` where that would be the file of a bank.
    """

    run: str
    checkpoint: str
    bank: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Names the arms that must have trained before."""
        whose = self.bank.rpartition(":")[2]
        return (self.run, "full") if whose == FINAL and self.run != "full" else (self.run,)

    def __str__(self) -> str:
        return f"{self.run}: {self.checkpoint}, {self.bank}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm.

    Attributes:
      name: for ``--arms``, tables and directories.
      what: what it is, in a sentence.
      parent: the arm whose phases it shares; "" for the one that begins with nothing.
      shares: those phases.
      settings: what it changes, each as ``--set`` takes it.
      trains: whether it has a run of its own; an arm without only plays policies of others.
      reinforced: whether that run goes on to RL.
      raw: whether its bank holds trajectories in place of skills.
      played: what is evaluated for it, the headline first.
    """

    name: str
    what: str
    parent: str = ""
    shares: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    trains: bool = True
    reinforced: bool = True
    raw: bool = False
    played: tuple[Played, ...]


def _played(run: str, checkpoint: str, *banks: str) -> tuple[Played, ...]:
    return tuple(Played(run=run, checkpoint=checkpoint, bank=bank) for bank in banks)


_FIXED = "evolution.enabled=false"
_NO_EXAMS = "evolution.exam_share=0"
_BARE = ("skill_retrieval.content=none", _FIXED, _NO_EXAMS, "rl.bare_members=0")

ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(
            name="base",
            what="The base policy, without skills and with the first bank.",
            trains=False,
            played=_played("sft", "base", "none", "initial"),
        ),
        Arm(
            name="base_final_bank",
            what="The base policy with the bank that full ended with, and with neutral text as "
            "long as that.",
            trains=False,
            played=_played("sft", "base", FINAL, f"neutral:{FINAL}"),
        ),
        Arm(
            name="sft",
            what="The cold start alone, with the first bank; all other arms share its episodes.",
            reinforced=False,
            played=_played("sft", "sft", "own"),
        ),
        Arm(
            name="sft_bare",
            what="The cold start alone, on the same demonstrations without skills.",
            parent="sft",
            shares=COLLECTED,
            settings=_BARE,
            reinforced=False,
            played=_played("sft_bare", "sft", "none"),
        ),
        Arm(
            name="grpo",
            what="GRPO from the base policy: no cold start, no skills.",
            parent="sft",
            shares=COLLECTED,
            settings=(*_BARE, "sft.epochs=0"),
            played=_played("grpo", "rl", "none"),
        ),
        Arm(
            name="grpo_sft",
            what="GRPO after the cold start without skills: full without skills anywhere.",
            parent="sft_bare",
            shares=COLD_STARTED,
            settings=_BARE,
            played=_played("grpo_sft", "rl", "none"),
        ),
        Arm(
            name="gigpo_sft",
            what="GiGPO after the cold start without skills, the stronger baseline.",
            parent="sft_bare",
            shares=COLD_STARTED,
            settings=(*_BARE, "rl.advantage=gigpo"),
            played=_played("gigpo_sft", "rl", "none"),
        ),
        Arm(
            name="full",
            what="The cold start with skills, then GRPO with a bank that evolves.",
            parent="sft",
            shares=COLD_STARTED,
            played=_played("full", "rl", "own", "initial"),
        ),
        Arm(
            name="no_evolution",
            what="full with the first bank to the end.",
            parent="sft",
            shares=COLD_STARTED,
            settings=(_FIXED, _NO_EXAMS),
            played=_played("no_evolution", "rl", "own"),
        ),
        Arm(
            name="no_hierarchy",
            what="full with all skills in one flat list, the most similar in the same places.",
            parent="sft",
            shares=COLLECTED,
            settings=("skill_retrieval.order=flat",),
            played=_played("no_hierarchy", "rl", "own"),
        ),
        Arm(
            name="raw_trajectories",
            what="full with the nearest successful training episode in place of skills, cut to "
            "as many tokens.",
            parent="sft",
            shares=COLLECTED,
            settings=(
                _FIXED,
                _NO_EXAMS,
                "skill_retrieval.order=similar",
                "skill_retrieval.top_k=1",
                "skill_retrieval.general_top_k=0",
                "skill_retrieval.mistakes_top_k=0",
                "skill_retrieval.similarity_threshold=-1",
                "skill_retrieval.max_tokens=0",
            ),
            raw=True,
            played=_played("raw_trajectories", "rl", "own"),
        ),
        Arm(
            name="no_cold_start",
            what="full from the base policy: skills and evolution, no cold start.",
            parent="sft",
            shares=COLLECTED,
            settings=("sft.epochs=0",),
            played=_played("no_cold_start", "rl", "own"),
        ),
        Arm(
            name="neutral_text",
            what="no_evolution with text about nothing, as long, in place of each skill, in the "
            "cold start and in RL.",
            parent="sft",
            shares=COLLECTED,
            settings=("skill_retrieval.content=neutral", _FIXED, _NO_EXAMS),
            played=_played("neutral_text", "rl", "own"),
        ),
        Arm(
            name="shuffled",
            what="sft and full, played with another category's skills.",
            trains=False,
            played=(*_played("full", "rl", "shuffled"), *_played("sft", "sft", "shuffled")),
        ),
        Arm(
            name="skills_removed",
            what="sft and full, played without skills.",
            trains=False,
            played=(*_played("full", "rl", "none"), *_played("sft", "sft", "none")),
        ),
        Arm(
            name="frozen",
            what="The cold start's policy frozen (learning rate 0) while the bank evolves.",
            parent="sft",
            shares=COLD_STARTED,
            settings=("rl.learning_rate=0",),
            played=_played("frozen", "rl", "own", "initial"),
        ),
    )
}


def choose(text: str) -> tuple[Arm, ...]:
    """Reads ``--arms``: ``all``, or names with commas between them; in the order of the table.

    Raises:
      SkillRLError: no such arm; the message lists those there are.
    """
    if text.strip() == "all":
        return tuple(ARMS.values())
    names = [name.strip() for name in text.split(",")]
    for name in names:
        get(name, "--arms")
    return tuple(arm for arm in ARMS.values() if arm.name in names)


def get(name: str, flag: str) -> Arm:
    """Returns the arm `name`, that `flag` asks for.

    Raises:
      SkillRLError: there is none; the message lists those there are.
    """
    if name not in ARMS:
        raise SkillRLError(f"{flag}: no arm {name!r:.80}; there are: {', '.join(ARMS)}.")
    return ARMS[name]


def trained_for(arms: Iterable[Arm]) -> tuple[Arm, ...]:
    """Lists the arms that must train for `arms`, parents and those they play included, in order."""
    wanted: set[str] = set()

    def add(name: str) -> None:
        if name and name not in wanted:
            wanted.add(name)
            add(ARMS[name].parent)

    for arm in arms:
        if arm.trains:
            add(arm.name)
        for played in arm.played:
            for name in played.needs:
                add(name)
    return tuple(sorted((ARMS[name] for name in wanted), key=_depth))


def _depth(arm: Arm) -> tuple[int, int]:
    """Counts the parents of an arm; then comes its place in the table."""
    parents, above = 0, arm.parent
    while above:
        parents, above = parents + 1, ARMS[above].parent
    return parents, list(ARMS).index(arm.name)


def settings_of(arm: Arm, tuned: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Lists what an arm sets, a later one winning.

    An arm that shares its parent's cold start has that one's settings, too.

    Args:
      arm: which.
      tuned: arm -> what ``--set_arm`` says of it.
    """
    inherited: tuple[str, ...] = ()
    if "sft" in arm.shares:
        parent = ARMS[arm.parent]
        inherited = (*parent.settings, *tuned.get(parent.name, ()))
    ended = () if arm.reinforced else ("rl.training_epochs=0",)
    return (*inherited, *arm.settings, *tuned.get(arm.name, ()), *ended)


def parse_tuned(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads ``--set_arm NAME:section.field=value``, which may be repeated.

    Raises:
      SkillRLError: it is written in another way, or there is no such arm that trains.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, colon, setting = text.partition(":")
        if not colon or "=" not in setting:
            raise SkillRLError(
                f"--set_arm {name!r:.80}: write it as ARM:section.field=value, e.g. "
                "--set_arm grpo_sft:rl.learning_rate=3e-4."
            )
        if not get(name, "--set_arm").trains:
            raise SkillRLError(
                f"--set_arm {name}: this arm only plays the policies of "
                f"{' and '.join(dict.fromkeys(p.run for p in ARMS[name].played))}; set theirs."
            )
        found[name] = (*found.get(name, ()), setting)
    return found
