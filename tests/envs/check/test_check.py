"""Every way of breaking the contract that the check knows, one deliberately broken suite each."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import pytest

from skillrl.cli import main
from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite, registered
from skillrl.envs.check import Check, describe, examine, handles, line_of, report

GOOD = (Path(__file__).parent / "steps.py").read_text(encoding="utf-8")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the good environment with some texts replaced, and gives its config."""
    monkeypatch.setattr(handles, "_PATIENCE", 0.2)

    def write(*changes: tuple[str, str]) -> EnvConfig:
        source = GOOD
        for old, new in changes:
            assert old in source
            source = source.replace(old, new)
        path = tmp_path / "mine.py"
        path.write_text(source, encoding="utf-8")
        return EnvConfig(name="steps", module=str(path), max_steps=12)

    with registered():
        yield write


def checked(config: EnvConfig, until: str = "") -> Check:
    """The check of this name, or the last one; those after it are not run."""
    one = None
    for one in examine(make_suite(config.name, config), config, episodes=3):
        if one.name == until:
            break
    assert one is not None
    return one


def test_a_good_environment_has_no_findings(written):
    config = written()
    checks = list(examine(make_suite("steps", config), config, episodes=3))
    assert [check.findings for check in checks] == [()] * len(checks), describe(checks)
    assert len(checks) == 12
    assert describe(checks) == ""
    assert "  splits          ok " in "\n".join(map(line_of, checks))


PROTOCOL = [
    ('    role = "You climb."\n', "", "role"),
    ('    name = "steps"\n', '    name = "stairs"\n', "name is 'stairs'"),
    ('    simulated = "stairs"\n', "", "simulated"),
    ("self.max_steps = config.max_steps\n", "self.max_steps = 0\n", "max_steps"),
    ('categories = {"low": "Low", "high": "High"}', "categories = {}", "categories"),
    ('"low"', '"general"', "'general' is among them"),
    ("    def expert(self, task):\n        return Guide(task)\n", "", "method expert"),
    ("    def close(self):\n        pass\n", "", "method close"),
    ("return Stairs(self.max_steps)", "return None", "method reset"),
    ("return Stairs(self.max_steps)", "raise OSError('no room')", "OSError: no room"),
    (
        "        return Stairs(self.max_steps)",
        "        self.one = getattr(self, 'one', Stairs(self.max_steps))\n        return self.one",
        "the same object",
    ),
    ("pass", "del self.goal", "close() of a handle that was never reset answers"),
    ('    role = "You climb."', '    role = "You climb."\n    tags = "action"', "tags is a tuple"),
    ('    role = "You climb."', '    role = "You climb."\n    tags = ("a", "b")', "instruction"),
    (
        '    role = "You climb."',
        '    role = "You climb."\n    tags = ("a", "b")\n    instruction = "Use <a>."',
        "<a>, <b>",
    ),
]

MANIFESTS = [
    ("return tuple(", "return set(", "raised TypeError"),
    ("range(first, first + 3)", "range(0)", "none has"),
    ('"high" if', '"tall" if', "'tall'"),
    ("                split=split,", '                split="train",', "split='train'"),
    ('goal=f"ring on stair {stairs}"', 'goal=""', "goal is ''"),
    ('payload={"stairs": stairs}', 'payload={"stairs": stairs, "x": {1}}', "not JSON serial"),
    ('payload={"stairs": stairs}', 'payload={"stairs": stairs, "x": (1,)}', "comes back as"),
    ('payload={"stairs": stairs}', 'payload={"stairs": stairs, "x": float("nan")}', "nan"),
    ('id=f"{split}/{stairs}"', 'id=f"{split}/{random.random()}"', "the next time"),
]

SPLITS = [
    ('id=f"{split}/{stairs}"', 'id=f"{split}/0"', "there twice, in this split"),
    ('id=f"{split}/{stairs}"', 'id=f"{stairs - first}"', "train and valid_seen"),
    ('"valid_seen": 6', '"valid_seen": 3', "train/3 and valid_seen/3 have the same goal"),
]

STAIR = 'won = known and action == "ring" and self.at == self.goal'
END_OF_STEPS = "self.done = won or self.steps >= self.max_steps"
SCORE = "score = 1.0 if won else 0.0"

ANSWERS = [
    (SCORE, "score = 1.0", "score=1.0 with won=False after 1 actions"),
    (END_OF_STEPS, "self.done = self.steps >= self.max_steps", "won=True with done=False"),
    (SCORE, "score = -0.5", "score=-0.5"),
    (SCORE, "score = True", "score=True"),
    (SCORE, "score = None", "score=None"),
    (SCORE, f"{SCORE}; text = None", "its text is None"),
    (SCORE, f"{SCORE}; text = b'up'", "its text is b'up', a bytes and no string"),
    ('("go up", "ring")', '("go up", 3)', "its admissible action 1 is 3, a int"),
    ("return Observation(f", "return (f", "'You stand on stair 0.'"),
    ("self.steps >= self.max_steps", "self.steps > self.max_steps", "not done after 12 actions"),
    ("score = 1.0 if won else 0.0", "score = 7.0", "score=7.0"),
    ("score = 1.0 if won else 0.0", "score = float('nan')", "score=nan"),
    ("score = 1.0 if won else 0.0", "won = True; score = 0.5", "score=0.5"),
    ("reward=score", "reward='x'", "reward is a finite"),
    ("won = known and action", "won = self.steps or action", "won is True or False"),
    ('("go up", "ring")', '(" go up", "ring")', "' go up'"),
    ('("go up", "ring")', '("go up", "go up", "ring")', "offered twice"),
    ('("go up", "ring")', '["go up", "ring"]', "tuple of strings"),
    ("return StepResult(", "return dict(", "StepResult"),
    ("self.at += known", "self.at += 1 / (self.steps < 3) * known", "ZeroDivisionError"),
]

STEP_LIMIT = [
    ((STAIR, "won = known"), (END_OF_STEPS, "self.done = won"), "not done after 12 actions"),
    (
        (STAIR, "won = known"),  # what is said counts only where it is on offer
        (END_OF_STEPS, "self.done = won or self.offers() and known and self.steps >= 12"),
        "not done after 12 actions",
    ),
    (
        ('if self.at else ("go up", "ring")', 'if self.at else ("leave", "go up")'),
        (END_OF_STEPS, 'self.done = won or action in ("leave", "ring")'),
        "not done after 12 actions",
    ),
]

DETERMINISM = [
    ('f"You stand on stair {self.at}."', 'f"It is {random.random()}."', "another handle"),
    ('("go up", "ring")', '("go up", "ring", f"hop {random.random()}")', "that vanished"),
    (
        'self.goal, self.at, self.steps, self.done = task.payload["stairs"], 0, 0, False',
        'self.goal, self.steps, self.done = task.payload["stairs"], 0, False\n'
        '        self.at = getattr(self, "at", 0)',
        "reset starts afresh",
    ),
]


RESET = 'self.goal, self.at, self.steps, self.done = task.payload["stairs"], 0, 0, False'

INDEPENDENCE = [
    ("self.at", "Stairs.at", "in between: "),
    (
        "        self.steps += 1",
        "        if threading.current_thread() is not threading.main_thread():\n"
        "            raise RuntimeError('made elsewhere')\n        self.steps += 1",
        "4 threads at once",
    ),
]

ACTIONS = [
    ("known = action in self.offers()", 'known = action in ("go up", "ring")', "is answered as"),
    ("known = action in self.offers()", 'known = action == "go up"', "'ring' after 0 actions"),
    ("known = action in self.offers()", "known = self.offers().index(action) + 1", "ValueError"),
    ("        self.steps += 1", "        assert action\n        self.steps += 1", "step('')"),
    (STAIR, f"{STAIR} or action == ''", "'' after 0 actions won the episode"),
]

END = [
    (
        '        if self.done:\n            raise RuntimeError("it is over")\n',
        "        self.steps %= self.max_steps\n",
        "went on with",
    ),
]

EXPERT = [
    (  # a fault that random actions hardly ever come to
        "        score = 1.0 if won else 0.0",
        "        score = (0.7 if self.goal == self.steps - 1 else 1.0) if won else 0.0",
        "won=True with score=0.7",
    ),
    ('Move("up", "go up")', 'Move("up", "fly")', "'fly' after 0 actions is not among the 2"),
    ('Move("up", "go up")', 'Move("up", " go up")', "not among"),
    ('Move("up", "go up")', '("up", "go up")', "it is ('up', 'go up')"),
    ("self.left >= 0", "self.left >= -1", "it won none of 9"),
    ("self.left -= 1", "self.left -= 1; 1 / self.left", "ZeroDivisionError"),
    (
        "self.left = task",  # every second expert goes one stair too far
        "Guide.made = not getattr(Guide, 'made', False)\n        self.left = Guide.made + task",
        "the same in every episode",
    ),
]

CLOSING = [
    ("pass", "vars(self).pop('max_steps')", "the second close() of a handle that was never"),
    ("pass", "hasattr(self, 'at') and vars(self).pop('goal')", "the second close() after reset"),
    (RESET, f"{RESET}; self.file = open(__file__)", "4 open files behind"),
    (
        RESET,
        f"{RESET}; threading.Thread(target=threading.Event().wait, args=(9,), daemon=1).start()",
        "4 threads behind",
    ),
    (
        RESET,
        f"{RESET}; import subprocess, sys; self.p = subprocess.Popen(['sleep', '9'])",
        "4 processes behind",
    ),
]


def cases(name: str, rows: list) -> list:
    """(check, old, new, words) of every row."""
    return [pytest.param(name, *row, id=f"{name}-{i}") for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        *cases("protocol", PROTOCOL),
        *cases("manifests", MANIFESTS),
        *cases("splits", SPLITS),
        *cases("answers", ANSWERS),
        *cases("determinism", DETERMINISM),
        *cases("independence", INDEPENDENCE),
        *cases("actions", ACTIONS),
        *cases("end", END),
        *cases("expert", EXPERT),
        *cases("closing", CLOSING),
    ],
)
def test_a_broken_environment_is_found_out(written, name, old, new, words):
    check = checked(written((old, new)), name)
    assert check.name == name
    assert check.findings, line_of(check)
    assert words in describe([check]).replace("\n               ", " ")


@pytest.mark.parametrize("changes", STEP_LIMIT)
def test_an_episode_is_led_past_its_early_ends_to_the_step_limit(written, changes):
    *replaced, words = changes
    config = written(*replaced)
    first = islice(examine(make_suite("steps", config), config, episodes=3), 5)
    checks = {check.name: check for check in first}
    assert checks["answers"].findings == ()  # random play wins, or leaves, long before
    assert words in describe([checks["step limit"]])


def test_where_every_action_ends_the_episode_that_is_said(written):
    config = written((END_OF_STEPS, "self.done = True"))
    found = checked(config, "step limit")
    assert found.findings == ()
    assert found.notes == (
        "no episode outlives its first action, so nothing was seen of max_steps=12",
    )
    assert checked(config, "answers").notes == (
        "every episode ended with its first action, and none was won",
    )


HANGS = "while not self.__dict__.get('never'): threading.Event().wait(0.01)"
SWALLOWS = (
    "while True:\n            try: threading.Event().wait()\n            except Exception: pass"
)
THERE = "if threading.current_thread() is not threading.main_thread(): threading.Event().wait(60)"
PASS = "    def close(self):\n        pass"
STEP = "        self.steps += 1"
EXPERT_ACT = "        self.left -= 1\n"

HANGING = [
    ("protocol", "return Stairs(self.max_steps)", f"{HANGS}\n", "make() answers within"),
    (
        "manifests",
        "        first = {",
        f"        {HANGS}\n        first = {{",
        "tasks('train') ans",
    ),
    ("answers", RESET, f"{HANGS}\n        {RESET}", "reset(task) answers within"),
    ("protocol", PASS, PASS.replace("pass", HANGS), "close() of a handle that was never reset"),
    ("answers", STEP, f"        {HANGS}", "step('"),
    ("answers", STEP, f"        {SWALLOWS}", "after 0 actions answers within"),
    ("expert", EXPERT_ACT, f"        {HANGS}\n", "expert.act(observation) answers"),
    ("expert", "return Guide(task)", HANGS, "expert(task) answers within"),
    (
        "independence",
        "        self.steps += 1",
        f"        {THERE}\n        self.steps += 1",
        "step('",
    ),
]


@pytest.mark.parametrize(("name", "old", "new", "words"), HANGING)
def test_a_call_without_end_is_a_finding_that_names_it(written, name, old, new, words):
    config = written((old, new))
    suite = make_suite("steps", config)
    checks = list(examine(suite, config, episodes=1, timeout=0.3))
    last = checks[-1]
    assert last.name == name
    (finding,) = last.findings
    assert words in finding.expected
    assert "(--timeout)" in finding.expected
    assert "mine.py line" in finding.seen
    assert all(check.findings == () for check in checks[:-1])


def test_the_whole_check_has_its_time_as_well(written):
    config = written(
        ("        self.steps += 1", "        threading.Event().wait(0.02); self.steps += 1")
    )
    *before, last = examine(make_suite("steps", config), config, episodes=3, time_limit=0.5)
    (finding,) = last.findings
    assert finding.expected == "the whole check ends within 0.5 s (--time_limit)"
    assert "it had come to step('" in finding.seen
    assert all(check.findings == () for check in before)


def test_a_call_that_no_signal_ends_ends_the_process(written, monkeypatch):
    slow = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 3_000_000)"  # never looks up
    config = written((STEP, f"        {slow}\n{STEP}"))
    monkeypatch.setattr(report, "_GRACE", 0.0)
    ended = []
    monkeypatch.setattr(report.os, "_exit", ended.append)
    out, err = io.StringIO(), io.StringIO()
    with report.ProgressReport(out, err):
        *_, last = examine(make_suite("steps", config), config, episodes=1, timeout=0.1)
    assert set(ended) == {1}
    assert "  answers         1 FOUND   ended here: nothing interrupts this call" in out.getvalue()
    assert "answers within 0.1 s (--timeout)" in out.getvalue()
    assert last.name == "answers"


def test_what_an_environment_says_reaches_no_terminal_raw(written, capsys):
    config = written((STAIR, STAIR), ('"low"', '"low\\x1b[2J"'), ('"high": "High"', '"\\x07": "x"'))
    flags = [f"--set=env.module={config.module}", "--env=steps", "--episodes=1"]
    assert main.main(["check", *flags]) == 1
    out = capsys.readouterr().out
    assert "\\x1b[2J" in out
    assert not any(char in out for char in "\x1b\x07")


def test_the_command_ends_where_a_call_hangs_and_says_so(written, capsys):
    config = written((STEP, f"        {HANGS}"))
    flags = [f"--set=env.module={config.module}", "--env=steps", "--timeout=0.3"]
    assert main.main(["check", *flags]) == 1
    out = capsys.readouterr().out
    assert "ended here: the checks after it were not made" in out
    assert out.endswith("steps breaks the contract: 1 finding.\n")


def test_building_an_environment_has_its_time_as_well(written, capsys):
    config = written(("SHARED = []", "threading.Event().wait()"))
    flags = [f"--set=env.module={config.module}", "--env=steps", "--timeout=0.3"]
    assert main.main(["check", *flags]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "importing and building it took more than 0.3 s and was in mine.py line 9" in said


def test_a_call_without_end_in_the_second_process_is_named(written):
    other = "import os\nif os.environ.get('PYTHONHASHSEED') == '1':"
    hang = "\n    _look = Stairs.step\n    Stairs.step = lambda *a: threading.Event().wait(60)\n"
    config = written(("assert threading\n", f"assert threading\n{other}{hang}"))
    last = list(examine(make_suite("steps", config), config, episodes=1, timeout=2.0))[-1]
    assert last.name == "processes"
    (finding,) = last.findings
    assert finding.seen.startswith("in a second process there was no answer yet")


PROCESSES = {
    "playing changes no task": (RESET, f"{RESET}; task.payload['seen'] = 1"),
    "tasks('train') is the same in every process": (
        'goal=f"ring on stair {stairs}"',
        'goal="ring " + ", ".join({"once", "twice", "a third time", "often", "loudly"})',
    ),
    "the same actions get the same answers in every process": (
        'f"You stand on stair {self.at}."',
        'f"You stand on {hash(chr(97 + self.at))}."',
    ),
    "the environment works in a second process": (
        "SHARED = []",
        "import os\nif os.environ.get('PYTHONHASHSEED') == '1':\n    raise OSError('locked')",
    ),
}


@pytest.mark.parametrize("expected", sorted(PROCESSES))
def test_another_process_must_see_the_same(written, monkeypatch, expected):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    found = checked(written(PROCESSES[expected])).findings
    assert expected in [finding.expected for finding in found]


SEARCHER = """
from skillrl import Observation, StepResult, Task, register
from skillrl.envs import Move


class Library:
    def reset(self, task):
        self.goal, self.steps = task.goal, 0
        return Observation("Ask.", OFFERS)

    def step(self, action):
        self.steps += 1
        known = not OFFERS or action.startswith("search[")
        won = action == MOVE
        text = f"Nothing about {action}." if known else "What?"
        done = won or self.steps >= 5
        return StepResult(
            observation=Observation(text, OFFERS),
            done=done,
            won=won,
            reward=won * 1.0,
            score=won * 1.0,
        )

    def close(self):
        pass


class Reader:
    def act(self, observation):
        return Move("I know", MOVE)


@register("searcher")
class Suite:
    name, role, simulated, max_steps = "searcher", "You ask.", "", 5
    categories = {"one": "One"}
    tags = TAGS
    instruction = "Think, then <search>words</search>, <answer>words</answer> or <action>."

    def __init__(self, config):
        pass

    def tasks(self, split):
        if split == "valid_seen":
            return ()
        return (
            Task(
                id=f"{split}/0",
                split=split,
                category="one",
                goal=f"find {split} books",
                payload={"split": split},
            ),
        )

    def make(self):
        return Library()

    def expert(self, task):
        return Reader()
"""


@pytest.mark.parametrize(
    ("offers", "tags", "move", "words"),
    [
        ((), ("search", "answer"), "<answer>books</answer>", ""),
        ((), ("action",), "books", ""),
        (("search[<your query>]", "search[books]"), ("action",), "search[red books]", ""),
        ((), ("search", "answer"), "books", "not a block of one of the tags search, answer"),
        ((), ("action",), " ", "is empty"),
        (("search[<your query>]",), ("action",), "search[]", "not among the 1"),
        (("search[<your query>]", "buy[<thing>]"), ("action",), "search[a]", "answered as"),
    ],
)
def test_free_answers_placeholders_and_tags(tmp_path, offers, tags, move, words):
    path = tmp_path / "searcher.py"
    path.write_text(f"OFFERS, TAGS, MOVE = {offers!r}, {tags!r}, {move!r}\n{SEARCHER}")
    config = EnvConfig(name="searcher", module=str(path))
    with registered():
        every = examine(make_suite("searcher", config), config)
        checks = list(islice(every, 10))  # all but processes
    assert words in describe(checks)
    assert bool(words) == any(check.findings for check in checks), describe(checks)
    assert "the split valid_seen has no tasks" in checks[1].notes


def test_an_environment_without_an_expert_is_told_what_follows(written):
    config = written(("return Guide(task)", "return None"))
    assert checked(config, "expert").notes == (
        "no task has an expert, so collect.expert_episodes must be 0",
    )


def test_one_split_less_is_no_fault_and_another_error_is_one(written):
    unknown = "if split == 'valid_seen':\n            raise {}('no')\n        first ="
    from_skillrl = ("import random\n", "import random\nfrom skillrl import SkillRLError\n")
    config = written(("first =", unknown.format("SkillRLError")), from_skillrl)
    check = checked(config, "manifests")
    assert check.findings == ()
    assert check.notes == ("the split valid_seen has no tasks",)
