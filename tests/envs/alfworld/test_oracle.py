"""The native engine against the real one, live: every answer of every walk is the same.

Needs the extra ``alfworld``; skipped without it.
"""

import functools
import importlib.util
import json
import pathlib
import random
import types

import pytest

from skillrl.config.settings import AlfworldConfig
from skillrl.envs.alfworld.engine import GameEngine
from skillrl.envs.alfworld.generate import CATEGORIES, generate_game
from skillrl.envs.alfworld.manifest import load_manifest, spec_of
from skillrl.envs.alfworld.native import NativeBackend
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.alfworld.textworld import TextworldBackend, WorkerError
from skillrl.envs.alfworld.world import load_game
from skillrl.types import Task

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in ("alfworld", "textworld")),
        reason="the real engine is not installed (the extra alfworld)",
    ),
]

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "alfworld"
GAMES = sorted(FIXTURES.glob("*/*/game.tw-pddl"))
GENERATED = {"train": (0, 12), "valid_seen": (0, 6), "valid_unseen": (6, 12)}  # all categories
RANDOM_STEPS = 25


@pytest.fixture(scope="module")
def real():
    """One process for all walks: that it is used again is part of what is tested."""
    backend = TextworldBackend()
    yield backend
    backend.close()


def game_task(path: pathlib.Path) -> Task:
    return Task(
        id=path.parts[-3],
        split="train",
        category=path.parts[-3].split("-")[0],
        goal="",
        payload={"game": str(path)},
    )


@functools.cache
def generated(split: str) -> tuple[Task, ...]:
    suite = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=25))
    return tuple(suite.tasks(split))


def compare(real: TextworldBackend, task: Task, choose) -> int:
    """Plays what ``choose(step, reply)`` says in both, until it is None; returns the steps."""
    native = NativeBackend()
    ours, theirs = native.reset(task), real.reset(task)
    steps = 0
    while True:
        assert ours == theirs, (task.id, steps)
        command = choose(steps, ours)
        if command is None:
            return steps
        ours, theirs = native.step(command), real.step(command)
        steps += 1


def random_walk(seed: int, length: int = RANDOM_STEPS):
    """Mostly admissible commands; some heard earlier, with blanks around, or nonsense."""
    rng = random.Random(seed)
    heard = ["", "help", "Look", "go to fridge 99", "put mug 1 in/on desk 1", "dance"]

    def choose(step, reply):
        heard.extend(reply.admissible)
        if step == length:
            return None
        chance = rng.random()
        if chance < 0.08:
            return rng.choice(heard)
        handy = [c for c in reply.admissible if not c.startswith(("go to", "examine"))]
        command = rng.choice(handy if chance < 0.6 else reply.admissible)
        return f" {command}\t" if chance > 0.97 else command

    return choose


def script(commands):
    return lambda step, reply: commands[step] if step < len(commands) else None


@pytest.mark.parametrize("path", GAMES, ids=lambda path: path.parts[-3])
def test_fixture_games(real, path):
    task = game_task(path)
    assert compare(real, task, random_walk(0)) == RANDOM_STEPS
    solution = json.loads(path.read_text())["walkthrough"]
    assert compare(real, task, script(solution)) == len(solution) > 0
    engine = GameEngine(load_game(path))
    assert [engine.step(command).won for command in solution][-1]


@pytest.mark.parametrize(
    ("split", "index"),
    [(split, index) for split, (first, end) in GENERATED.items() for index in range(first, end)],
)
def test_generated_games(real, split, index):
    task = generated(split)[index]
    assert task.category == list(CATEGORIES)[index % 6]
    assert compare(real, task, random_walk(index)) == RANDOM_STEPS
    solution = generate_game(spec_of(load_manifest()[split][index]))["walkthrough"]
    assert compare(real, task, script(solution)) == len(solution) > 0


@pytest.mark.parametrize("index", range(6))
def test_the_older_dialect(real, index, tmp_path):
    task = older(generated("train")[index], tmp_path)
    assert compare(real, task, random_walk(index)) == RANDOM_STEPS
    solution = generate_game(spec_of(load_manifest()["train"][index]))["walkthrough"]
    commands = [
        f"put {c[5:].replace(' to ', ' in/on ')}" if c.startswith("move ") else c for c in solution
    ]
    assert compare(real, task, script(commands)) == len(commands)
    assert real.step("help").observation == "Nothing happens."
    assert any(command.startswith("put ") for command in commands) or index == 1  # a lamp task


def older(task: Task, folder: pathlib.Path) -> Task:
    """A generated game as data 2.1.1 has it: ``put X in/on Y``, and no ``help``."""
    game = generate_game(spec_of(load_manifest()[task.split][int(task.id.split("/")[1])]))
    text = game["grammar"]
    for new, old in (
        ('"move {o} to {r}"', '"put {o} in/on {r}"'),
        ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
    ):
        assert new in text
        text = text.replace(new, old)
    begin = text.index("action help {")
    text = text[:begin].rstrip() + "\n"
    domain = game["pddl_domain"]
    assert domain.count("(:action help") == 1
    domain = domain[: domain.index("(:action help")] + "\n)"  # it is the last action
    path = folder / "game.tw-pddl"
    path.write_text(json.dumps({**game, "grammar": text, "pddl_domain": domain}))
    return game_task(path)


def test_whole_episodes_through_the_environment():
    handles = {}
    for engine in ("native", "textworld"):
        config = types.SimpleNamespace(
            data_dir=str(FIXTURES), max_steps=20, alfworld=AlfworldConfig(engine=engine)
        )
        suite = AlfworldSuite(config)
        handles[engine] = suite.make()
    won = []
    for task in suite.tasks("valid_seen")[:4]:
        solution = json.loads(pathlib.Path(task.payload["game"]).read_text())["walkthrough"]
        for actions in (["dance"] * 20, solution):
            seen = [handle.reset(task) for handle in handles.values()]
            assert seen[0] == seen[1]
            for action in actions:
                results = [handle.step(action) for handle in handles.values()]
                assert results[0] == results[1]
            assert results[0].done
            won.append(results[0].won)
    for handle in handles.values():
        handle.close()
    assert won == [False, True] * 4


def test_a_game_that_the_engine_cannot_load_harms_no_later_one(real, tmp_path):
    broken = json.loads(GAMES[0].read_text())
    path = tmp_path / "game.tw-pddl"
    path.write_text(json.dumps({**broken, "pddl_problem": broken["pddl_problem"][:3000]}))
    with pytest.raises(WorkerError, match=r"failed at task|ended with status"):
        real.reset(game_task(path))
    assert compare(real, game_task(GAMES[0]), random_walk(1, length=3)) == 3
