"""Kinds of input that are played: household games, shops, questions, lists of actions."""

from __future__ import annotations

import functools
import gzip
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuzzing.damage import damaged, encoded, flipped
from fuzzing.files import Attempt, check_types, hold
from skillrl.config.settings import Config
from skillrl.envs import SPLITS, Suite, make_suite
from skillrl.envs.alfworld.generate import generate_game, make_game
from skillrl.envs.alfworld.manifest import load_manifest, spec_of
from skillrl.envs.replay import actions_of
from skillrl.envs.search import suite as search
from skillrl.envs.webshop import generate as shops
from skillrl.io.files import read_json
from skillrl.types import Observation, StepResult, Task


def games(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """Files of one environment."""
    return rng.choice((_household, _household, _shop, _shop, _questions, _questions, _actions))(
        rng, place
    )


def _suite(name: str, place: Path, **section: Mapping[str, Any]) -> Suite:
    env = {"name": name, "data_dir": str(place), "max_steps": 5, **section}
    return make_suite(name, Config.from_dict({"env": env}).env)


def play(suite: Suite, actions: tuple[str, ...], rng: random.Random) -> None:
    """A few steps of the first task of each split, as an agent and a person play it."""
    for split in SPLITS:
        tasks = suite.tasks(split)
        for at in {0, len(tasks) - 1} if len(tasks) else ():
            task = tasks[at]
            check_types(task, Task, "task")
            environment = suite.make()
            try:
                now = environment.reset(task)
                check_types(now, Observation, "observation")
                suite.expert(task)
                for number in range(3):
                    offered = [a for a in now.admissible if "<" not in a]
                    action = rng.choice(offered) if offered and number else rng.choice(actions)
                    result = environment.step(action)
                    check_types(result, StepResult, "result")
                    now = result.observation
                    if result.done:
                        break
            finally:
                environment.close()


@functools.cache
def _game() -> Mapping[str, Any]:
    entries = load_manifest()["valid_seen"]
    specs = [spec_of(entry) for entry in entries[:12]]
    smallest = min(specs, key=lambda spec: len(make_game(spec)["pddl_problem"]))
    return dict(generate_game(smallest))


def _household(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    game: Any = dict(_game())
    traj: Any = {
        "task_type": "pick_and_place_simple",
        "turk_annotations": {"anns": [{"task_desc": "Put it there.", "votes": [1]}]},
    }
    if rng.random() < 0.5:
        key = rng.choice(("pddl_problem", "grammar", "pddl_problem"))
        game[key] = flipped(rng, game[key].encode()).decode("utf-8", "replace")
    elif rng.random() < 0.5:
        game = damaged(rng, game, most=2)
    else:
        traj = damaged(rng, traj)
    folder = place / "g" / "pick_and_place_simple-Mug-None-Desk-301" / "trial_1"
    folder.mkdir(parents=True)
    data = encoded(rng, game), encoded(rng, traj)
    (folder / "game.tw-pddl").write_bytes(data[0])
    if rng.random() < 0.8:
        (folder / "traj_data.json").write_bytes(data[1])
    goals = rng.choice(("template", "human"))
    return data, lambda: play(
        _suite("alfworld", place / "g", alfworld={"goals": goals}), ("look", "help", "\x00"), rng
    )


@functools.cache
def _stock() -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    products, extras, human = shops.catalogue()
    products = sorted(products, key=lambda product: product["asin"] not in human)[:4]
    asins = [product["asin"] for product in products]
    return products, {a: extras[a] for a in asins}, {a: human[a] for a in asins if a in human}


def _shop(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    stock: list[Any] = list(_stock())
    at = rng.randrange(3)
    stock[at] = damaged(rng, stock[at])
    data = [encoded(rng, part) for part in stock]
    for name, content in zip(
        ("items_shuffle", "items_ins_v2", "items_human_ins"), data, strict=True
    ):
        (place / f"{name}.json").write_bytes(content)
    goals = "human" if at == 2 else "synthetic"
    asin = str(_stock()[0][0]["asin"])
    actions = ("search[shirt]", f"click[{asin}]", "search[<r>]", "click[buy now]", "search[]")
    return data[at], lambda: play(_suite("webshop", place, webshop={"goals": goals}), actions, rng)


_ROWS = [
    {"id": "a", "question": "who wrote Emma", "golden_answers": ["Jane Austen", "Austen"]},
    {"question": "where?", "golden_answers": '["Rome", "Roma"]', "metadata": {"type": "bridge"}},
    {"question": "when?", "reward_model": {"ground_truth": {"target": ["1815"]}}},
]
_PASSAGES = [
    {"id": 1, "contents": '"Emma"\nEmma is a novel by Jane Austen.'},
    {"id": "2", "title": "Rome", "text": "Rome is a city."},
]


def _questions(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    rows, passages = damaged(rng, _ROWS), list(_PASSAGES)
    if rng.random() < 0.5:
        rows, passages = list(_ROWS), damaged(rng, _PASSAGES)
    rows, passages = (part if isinstance(part, list) else [part] for part in (rows, passages))
    data = [
        b"\n".join(encoded(rng, row).replace(b"\n", b" ") for row in part)
        for part in (rows, passages)
    ]
    if rng.random() < 0.3:
        data[1] = gzip.compress(data[1])
        data[1] = flipped(rng, data[1]) if rng.random() < 0.3 else data[1]
    (place / "nq").mkdir()
    for split in ("train", "test"):
        (place / "nq" / f"{split}.jsonl").write_bytes(data[0])
    corpus = place / rng.choice(("corpus.jsonl", "corpus.jsonl.gz"))
    corpus.write_bytes(data[1])
    search.open_retriever.cache_clear()
    actions = ("<search>Emma Rome</search>", "<answer>1815</answer>", "<search></search>", "Rome")
    return data, lambda: play(_suite("search", place, search={"corpus": str(corpus)}), actions, rng)


def _actions(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    entry = {"action": "look", "observation": "x", "admissible": ["look"], "done": False}
    value = rng.choice((["look", "go to desk 1"], [{**entry, "action": None}, entry, entry]))
    data = encoded(rng, damaged(rng, value))
    path = place / "actions.json"
    path.write_bytes(data)

    def attempt() -> None:
        found = actions_of(read_json(path))
        for action in found or ():
            hold(isinstance(action, str), f"{action!r} is no action")
            json.dumps(action, ensure_ascii=False).encode("utf-8")

    return data, attempt
