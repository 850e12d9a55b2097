"""Examinations whose outcomes are drawn: a policy of which the worth of each skill is known.

A task t has a difficulty z_t ~ N(0, 1), and an episode with skills R is won with probability

    p = logistic(DIFFICULTY z_t + sum of the effects of R)

A draw is u < p with u uniform. Two arms at the same sampling addresses share u with probability
`COUPLED` (their texts are the same until the skill changes one), else each has its own. In the
design `same task` arms have draws of their own; `unpaired` gives the arm without the skill another
task of the category, too. What is planned, estimated and retired is the package's own code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.exams.planted import HARMFUL, HELPFUL, NEUTRAL, WORTHS, Planted
from skillrl.skills.bank import SkillBank
from skillrl.skills.exams import Sitting, pairs_of, plan, tally
from skillrl.skills.utility import RETIRE_LEVEL, estimates, verdicts
from skillrl.types import GENERAL, Skill, Task, Trajectory

DESIGNS = ("paired", "same task", "unpaired")
DIFFICULTY = 1.5
EFFECT = 1.3
"""Of a helpful skill on the logit, and of a harmful one with a minus: about 20 points."""
COUPLED = 0.5
TASKS = 600
CATEGORIES = ("a", "b", "c")


@dataclasses.dataclass(frozen=True)
class World:
    """Tasks with their difficulties, and the effect of each skill by its id."""

    tasks: tuple[Task, ...]
    difficulty: Mapping[str, float]
    effect: Mapping[str, float]

    def chance(self, task: Task, skills: Sequence[Skill]) -> float:
        """Computes the probability that an episode is won."""
        logit = DIFFICULTY * self.difficulty[task.id] + sum(self.effect[s.id] for s in skills)
        return float(_logistic(logit))

    def worths(self, bank: SkillBank) -> dict[str, float]:
        """Computes what each skill of a bank adds to success on the tasks where it is retrieved."""
        gains: dict[str, list[float]] = {}
        for category in CATEGORIES:
            level = DIFFICULTY * np.array(
                [self.difficulty[task.id] for task in self.tasks if task.category == category]
            )
            shown = [s for s in bank.skills if s.category in (GENERAL, category)]
            logit = level + sum(self.effect[s.id] for s in shown)
            for skill in shown:
                gain = _logistic(logit) - _logistic(logit - self.effect[skill.id])
                gains.setdefault(skill.id, []).append(float(gain.mean()))
        return {name: float(np.mean(of_skill)) for name, of_skill in gains.items()}


def planted() -> Planted:
    """Returns a general skill of each worth, and one in each of three categories."""
    skills, worth = [], {}
    for category in (GENERAL, *CATEGORIES):
        for kind in WORTHS:
            name = f"{category[:3]}_{kind}"
            worth[name] = kind
            skills.append(Skill(id=name, title=name, principle=kind, category=category))
    return Planted(SkillBank(tuple(skills)), worth)


def make_world(truth: Planted, seed: int) -> World:
    """Draws tasks and how difficult they are."""
    rng = np.random.default_rng([seed, 1])
    tasks = tuple(
        Task(
            id=f"train/{i:04d}", split="train", category=CATEGORIES[i % len(CATEGORIES)], goal="win"
        )
        for i in range(TASKS)
    )
    effect = {HELPFUL: EFFECT, NEUTRAL: 0.0, HARMFUL: -EFFECT}
    return World(
        tasks,
        {task.id: float(z) for task, z in zip(tasks, rng.normal(size=TASKS), strict=True)},
        {name: effect[kind] for name, kind in truth.worth.items()},
    )


def retrieve(bank: SkillBank, task: Task) -> tuple[Skill, ...]:
    """Returns all general skills and all of the task's category."""
    return tuple(s for s in bank.skills if s.category in (GENERAL, task.category))


def play(
    world: World, sittings: Sequence[Sitting], design: str, rng: np.random.Generator
) -> list[Trajectory]:
    """Draws the outcomes of an examination."""
    played = []
    for sitting in sittings:
        shared = rng.random()
        for number, skills in enumerate(sitting.arms):
            task = sitting.task
            if number and design == "unpaired":
                others = world.tasks[CATEGORIES.index(task.category) :: len(CATEGORIES)]
                task = others[rng.integers(len(others))]
            own = rng.random()
            coupled = rng.random() < COUPLED and design == "paired"
            won = (shared if coupled or not number else own) < world.chance(task, skills)
            played.append(Trajectory(task=task, prefix_ids=(), steps=(), won=bool(won)))
    return played


@dataclasses.dataclass
class Outcome:
    """What became of the skills of one bank.

    Attributes:
      retired: by id, after which event.
      episodes: played in all.
      covered: of each look at a measured skill, whether its 95 % interval held the truth.
      reached: after each event, share of skills retired by worth.
    """

    retired: dict[str, int] = dataclasses.field(default_factory=dict)
    episodes: int = 0
    covered: list[bool] = dataclasses.field(default_factory=list)
    reached: list[dict[str, float]] = dataclasses.field(default_factory=list)


def run(
    seed: int, *, design: str, episodes: int, events: int, level: float = RETIRE_LEVEL
) -> Outcome:
    """Examines a bank at several events, as a run does.

    Args:
      seed: of tasks and outcomes.
      design: one of `DESIGNS`.
      episodes: most of an event.
      events: how many there are.
      level: of the interval that must lie below zero.
    """
    truth = planted()
    world, bank = make_world(truth, seed), truth.bank
    rng = np.random.default_rng([seed, 2, DESIGNS.index(design)])
    outcome = Outcome()
    for event in range(1, events + 1):
        sittings = plan(bank, world.tasks, retrieve, episodes=episodes, seed=seed, iteration=event)
        played = play(world, sittings, design, rng)
        outcome.episodes += len(played)
        differences = ((p.skill, p.difference) for p in pairs_of(sittings, played))
        bank = bank.record_exams(tally(differences, step=event, policy_version=0))
        true = world.worths(bank)
        for name, found in estimates(bank).items():
            outcome.covered.append(found.low <= true[name] <= found.high)
        going = verdicts(bank, level=level)
        outcome.retired |= {verdict.target: event for verdict in going}
        bank = bank.apply(going, step=event) if going else bank
        outcome.reached.append(retired_by_worth(truth, outcome.retired))
    return outcome


def retired_by_worth(truth: Planted, retired: Mapping[str, int]) -> dict[str, float]:
    """Computes which share of the skills of each worth has been retired."""
    return {
        kind: float(np.mean([n in retired for n, w in truth.worth.items() if w == kind]))
        for kind in WORTHS
    }


def _logistic(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
