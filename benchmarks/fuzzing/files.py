"""Kinds of input that are one file: a config, a bank, trajectories, a teacher's answer."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from fuzzing.damage import damaged, encoded, flipped, nasty, text_of
from skillrl.agent.prompt import render_prefix
from skillrl.config import presets, strict
from skillrl.config.settings import Config, public_dict
from skillrl.rollouts import store
from skillrl.skills import prompts
from skillrl.skills.bank import SkillBank
from skillrl.skills.demonstrations import rewrite_thoughts
from skillrl.skills.describe import describe_bank
from skillrl.skills.distill import distill
from skillrl.skills.evolve import evolve
from skillrl.skills.proposals import Addition
from skillrl.skills.released import save_released
from skillrl.skills.retrieval import for_prompt
from skillrl.skills.store import export_bank, load_bank, save_bank
from skillrl.teacher.base import Message
from skillrl.teacher.registry import make_embedder
from skillrl.types import Provenance, Skill, SkillUse, Step, Task, Trajectory

Attempt = Callable[[], None]
"""Feeds one input to what reads it; `SkillRLError` is a refusal, all else a fault."""

CATEGORY = "pick_and_place_simple"
TASK = Task(
    id="train/0001",
    split="train",
    category=CATEGORY,
    goal="put a mug in the safe",
    payload={"seed": 3, "sizes": [1, 2]},
)


class Accepted(AssertionError):
    """Something was accepted that does not keep what was promised of it."""


def hold(condition: bool, what: str) -> None:
    """An assertion that is there with ``python -O`` too."""
    if not condition:
        raise Accepted(what)


def check_types(value: Any, hint: Any, where: str = "value") -> None:
    """Whether a record is of its declared types all through: finite numbers, valid text.

    Written apart from the readers, whose work it judges.
    """
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        hold(type(value) is hint, f"{where} is {type(value).__name__}")
        for name, inner in get_type_hints(hint).items():
            check_types(getattr(value, name), inner, f"{where}.{name}")
    elif origin is tuple:
        hold(type(value) is tuple, f"{where} is {type(value).__name__}, no tuple")
        for item in value:
            check_types(item, get_args(hint)[0], f"{where}[]")
    elif type(None) in get_args(hint):
        if value is not None:
            check_types(value, get_args(hint)[0], where)
    elif hint is float:
        hold(type(value) is float and math.isfinite(value), f"{where} is {value!r}")
    elif hint is str:
        hold(type(value) is str, f"{where} is {value!r}")
        value.encode("utf-8")
    elif hint in (int, bool):
        hold(type(value) is hint, f"{where} is {value!r}")
    else:  # plain JSON
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")


# ---------------------------------------------------------------- config


def config(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """A file of ``--config``, or texts of ``--set``."""
    whole = public_dict(Config())
    names = rng.sample(sorted(whole), rng.randint(1, 4))
    if rng.random() < 0.3:
        texts = [_setting(rng, whole) for _ in range(rng.randint(1, 2))]
        return texts, lambda: _resolve(overrides=texts, mock=rng.random() < 0.5)
    data = encoded(rng, damaged(rng, {name: whole[name] for name in names}))
    path = place / "config.json"
    path.write_bytes(data)
    return data, lambda: _resolve(config_path=path, mock=rng.random() < 0.5)


def _setting(rng: random.Random, whole: Mapping[str, Any]) -> str:
    section = rng.choice([name for name in whole if isinstance(whole[name], dict)])
    field = rng.choice(sorted(whole[section]))
    value = nasty(rng)
    text = value if isinstance(value, str) and rng.random() < 0.5 else text_of(value)
    return f"{section}.{field}={text}"


def _resolve(**how: Any) -> None:
    found = presets.resolve(**how).config
    check_types(found, Config)
    hold(Config.from_dict(found.to_dict()) == found, "a config does not come back equal")
    for name, *_ in strict.pairs(found, found):
        hold(bool(name), "a setting has no name")


# ---------------------------------------------------------------- banks

_OWN = {
    "format": 1,
    "version": 4,
    "skills": [
        {
            "id": f"{kind}_00{number}",
            "title": f"Look {number} first",
            "principle": "Look around before acting.",
            "when_to_apply": "always",
            "category": category,
            "kind": "mistake" if kind == "err" else "skill",
            "provenance": {"teacher": "o3", "step": 5, "sources": ["train/0001#policy.v0.m0.r0"]},
            "use": {"episodes": 4, "wins": 2},
        }
        for number, (kind, category) in enumerate(
            [("gen", "general"), ("pic", CATEGORY), ("err", "general"), ("dyn", CATEGORY)]
        )
    ],
    "history": [
        {"version": 1, "step": 0, "action": "added", "skill": "gen_000", "title": "Look 0 first"},
        {"version": 2, "step": 5, "action": "refined", "skill": "gen_000", "before": "old words"},
        {"version": 2, "step": 5, "action": "refused", "skill": "", "reason": "same title"},
    ],
}
_RELEASED = {
    "general_skills": [
        {"skill_id": "gen_001", "title": "Look", "principle": "Look first.", "when_to_apply": "now"}
    ],
    "task_specific_skills": {
        "pick_and_place": [{"skill_id": "pic_001", "title": "A", "principle": "P."}],
        "clean": [{"skill_id": "cle_001", "title": "D", "principle": "P.", "when_to_apply": ""}],
    },
    "query_type_skills": {"comparison": [{"skill_id": "c_1", "title": "E", "principle": "P."}]},
    "common_mistakes": [
        {"mistake_id": "err_001", "description": "Loops", "why_it_happens": "", "how_to_avoid": "x"}
    ],
    "metadata": {"source": "x"},
}
_EMBEDDER = make_embedder(dataclasses.replace(Config().model, embedder="hashing"))


def bank(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """A skill bank of ours, or of the released kind."""
    data = encoded(rng, damaged(rng, rng.choice((_OWN, _RELEASED))))
    path = place / "bank.json"
    path.write_bytes(data)

    def attempt() -> None:
        found = load_bank(path)
        use_bank(found, place)

    return data, attempt


_FRONT = {
    "name": "look-first",
    "description": "Look around before acting. Use at the start.",
    "license": "MIT",
    "allowed-tools": ["Read", "Bash(git:*)"],
    "metadata": {"author": "x", "version": "1.10"},
}
_OWN_FRONT = _FRONT | {
    "metadata": {
        "skillrl-format": "1",
        "skillrl-id": "gen_001",
        "skillrl-position": "3",
        "skillrl-provenance": '{"teacher": "o3", "step": 5, "sources": ["a"]}',
        "skillrl-use": '{"episodes": 4, "wins": 2}',
        "skillrl-exams": '{"pairs": 4, "gain": -1, "squares": 3, "step": 5, "policy_version": 2}',
    }
}


def agent_skills(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """A directory of Agent Skills, of which one is damaged: its values, or its bytes."""
    front = damaged(rng, rng.choice((_FRONT, _OWN_FRONT)))
    if rng.random() < 0.5:  # JSON is YAML
        head = text_of(front, ascii_only=False).encode("utf-8", "surrogatepass")
    elif isinstance(front, dict):
        lines = (f"{key}: {text_of(item)}" for key, item in front.items())
        head = "\n".join(lines).encode("utf-8", "surrogatepass")
    else:
        head = text_of(front).encode("utf-8", "surrogatepass")
    data = b"---\n" + head + b"\n---\n\n# Look\n\nLook around.\n"
    data = flipped(rng, data) if rng.random() < 0.4 else data
    source = place / "skills"
    for name, content in (("look-first", data), ("act", b"---\nname: act\ndescription: D.\n---")):
        (source / name).mkdir(parents=True)
        (source / name / "SKILL.md").write_bytes(content)

    def attempt() -> None:
        found = load_bank(source)
        use_bank(found, place)
        export_bank(found, place / "again", format="agent_skills")
        hold(load_bank(place / "again").skills == found.skills, "skills do not come back equal")

    return data, attempt


def use_bank(found: SkillBank, place: Path) -> None:
    """Does with a bank what a run does: keeps, shows, retrieves, extends."""
    for skill in found.skills:
        check_types(skill, Skill, f"skill {skill.id!r}")
    save_bank(found, place / "again.json")
    hold(load_bank(place / "again.json") == found, "a bank does not come back equal")
    save_released(found, place / "released.json")
    words = {(s.id, s.title, s.principle) for s in load_bank(place / "released.json").skills}
    hold(words == {(s.id, s.title, s.principle) for s in found.skills}, "released words differ")
    describe_bank(found).encode("utf-8")
    settings = Config().skill_retrieval
    shown = for_prompt(found, TASK, embedder=_EMBEDDER, settings=settings)
    "".join(render_prefix("You play.", TASK.goal, skills=shown)).encode("utf-8")
    new = Skill(
        id="",
        title="An entirely new one",
        principle="Do it.",
        provenance=Provenance("t", 1),
        use=SkillUse(),
    )
    found.apply([Addition(skill=new, evolved=True)], step=1, embedder=_EMBEDDER)


# ---------------------------------------------------------------- trajectories

_STEP = Step(
    observation="You see a mug.",
    admissible=("look", "go"),
    suffix_ids=(1, 2),
    response_ids=(3, 4),
    logprobs=(-0.1, -2.5),
    response="r",
    action="go",
    invalid="",
    reward=0.5,
)
_EPISODES = [
    Trajectory(
        task=TASK,
        prefix_ids=(7, 8),
        steps=(_STEP, _STEP),
        won=True,
        score=1.0,
        final="The end.",
        member=2,
        repeat=1,
        skills=("gen_001",),
        policy_version=40,
        bank_version=3,
    ),
    Trajectory(task=TASK, prefix_ids=(), steps=(), won=False, error="ConnectionError: gone"),
    Trajectory(task=TASK, prefix_ids=(7,), steps=(_STEP,), won=False, source="expert", member=1),
]


def trajectories(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """A file of episodes, of which one is damaged."""
    rows: list[Any] = [json.loads(json.dumps(store.to_json(one))) for one in _EPISODES]
    at = rng.randrange(len(rows))
    rows[at] = damaged(rng, rows[at])
    lines = [encoded(rng, row).replace(b"\n", b" ") for row in rows]
    data = b"\n".join(lines) + (b"\n" if rng.random() < 0.7 else b"")
    path, given = place / "t.jsonl", rng.random() < 0.7
    path.write_bytes(data)

    def attempt() -> None:
        found = list(store.read(path, given=given))
        for one in found:
            check_types(one, Trajectory, "trajectory")
            ids = [
                *one.prefix_ids,
                *(i for s in one.steps for i in (*s.suffix_ids, *s.response_ids)),
            ]
            hold(all(0 <= i < 2**31 for i in ids), "a token id is out of range")
        store.write(place / "again.jsonl", found)
        hold(list(store.read(place / "again.jsonl")) == found, "episodes do not come back equal")
        usable = [one for one in found if not one.error]
        prompts.general_skills(usable, count=3)

    return data, attempt


# ---------------------------------------------------------------- teacher


class _Teacher:
    """Says what it is told to say, in turn."""

    model_id, simulated = "fuzz", False

    def __init__(self, answers: Sequence[str]):
        self._answers, self._at = answers, 0

    def complete(self, messages: Sequence[Message], *, purpose: str) -> str:
        for message in messages:
            message["content"].encode("utf-8")
        self._at += 1
        return self._answers[self._at % len(self._answers)]


_SKILL = {
    "title": "Search first",
    "principle": "Look in the nearest place first.",
    "when_to_apply": "always",
    "sources": ["train/0001#policy.v0.m0.r0"],
    "where_it_failed": "step 2",
    "what_was_wrong": "It gave up.",
    "what_to_do_instead": "Go on.",
}
_ANSWERS = (
    [_SKILL, {**_SKILL, "title": "Second"}],
    {"skills": [_SKILL]},
    {"add": [_SKILL], "refine": [{"id": "gen_000", "principle": "Better words.", "reason": "r"}]},
    {"new": [_SKILL], "refine": [{"id": "pic_001", "title": "T"}]},
    ["I look around.", "Then I go."],
)


def teacher(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """Answers of a teacher to every question that a run asks."""
    answers = []
    for _ in range(3):
        value = damaged(rng, rng.choice(_ANSWERS), most=2)
        data = encoded(rng, value).decode("utf-8", rng.choice(("surrogateescape", "replace")))
        lone = data.replace("\\\\", "\\") if rng.random() < 0.1 else data
        answers.append(rng.choice(("", "<think>hm</think>", "Sure:\n```json\n")) + lone)
    if rng.random() < 0.1:
        answers = [rng.choice(("", " ", "\ud83d", "I can't.", "[[[[" * 50, "null"))]
    work = rng.choice((_distil, _evolve, _rewrite))
    return answers, lambda: work(_Teacher(answers), place)


def _lost(number: int) -> Trajectory:
    task = dataclasses.replace(TASK, id=f"train/{number:04d}")
    return Trajectory(task=task, prefix_ids=(), steps=(_STEP, _STEP), won=number == 1)


def _distil(who: _Teacher, place: Path) -> None:
    found, report = distill(
        [_lost(i) for i in range(4)], teacher=who, categories=[CATEGORY], embedder=_EMBEDDER
    )
    text_of(report.to_json(), ascii_only=False).encode("utf-8")
    use_bank(found, place)


def _evolve(who: _Teacher, place: Path) -> None:
    (place / "own.json").write_text(text_of(_OWN))
    found, event = evolve(
        load_bank(place / "own.json"),
        [_lost(i) for i in range(5)],
        teacher=who,
        step=7,
        embedder=_EMBEDDER,
        evolution_threshold=0.9,
        min_episodes=1,
    )
    json.dumps(event.to_json(), allow_nan=False, ensure_ascii=False).encode("utf-8")
    use_bank(found, place)


def _rewrite(who: _Teacher, place: Path) -> None:
    thoughts = rewrite_thoughts(_lost(1), teacher=who, skills=())
    hold(thoughts is None or len(thoughts) == 2, "not a thought per step")
    "".join(thoughts or ()).encode("utf-8")
