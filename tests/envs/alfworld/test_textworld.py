"""The process around the real engine, with a stand-in for the engine itself.

What the real one answers is compared in test_oracle.py.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from skillrl.config.settings import AlfworldConfig
from skillrl.envs.alfworld import textworld, textworld_worker
from skillrl.envs.alfworld.engine import GameReply
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.alfworld.textworld import TextworldBackend, WorkerError
from skillrl.errors import SkillRLError
from skillrl.types import Task

# The modules that the worker imports, as small as it needs them: an engine that can be told
# to fail in every way.
STAND_IN = {
    "textworld/__init__.py": """
class EnvInfos:
    def __init__(self, **wanted):
        self.wanted = wanted
""",
    "textworld/envs/__init__.py": "",
    "textworld/envs/pddl/__init__.py": "",
    "textworld/envs/pddl/pddl.py": """
import json, os, sys, time

class State(dict):
    feedback = ""

class PddlEnv:
    def __init__(self, infos):
        assert infos.wanted == {"won": True, "admissible_commands": True}

    def load(self, path):
        with open(path) as file:
            self.game = json.load(file)
        self.loads = getattr(self, "loads", 0) + 1

    def reset(self):
        return self.state(f"You are in room {self.loads}, process {os.getpid()}.")

    def step(self, command):
        if command == "die":
            print("bad luck", file=sys.stderr, flush=True)
            os._exit(3)
        if command == "hang":
            time.sleep(60)
        if command == "raise":
            raise KeyError("val1")
        if command == "print":
            print("noise", flush=True)
            os.system("echo noise")
        return self.state(f"You said {command}."), int(command == "win"), command == "win"

    def state(self, text):
        state = State(admissible_commands=["look", "win"], won=text == "You said win.")
        state.feedback = text
        return state
""",
    "textworld/envs/pddl/textgen.py": """
class EvalSymbol:
    pass
""",
    "alfworld/__init__.py": """
import os
os.makedirs(os.environ["ALFWORLD_DATA"], exist_ok=True)
""",
    "alfworld/agents/__init__.py": "",
    "alfworld/agents/environment/__init__.py": "",
    "alfworld/agents/environment/alfred_tw_env.py": """
def AlfredDemangler(environment, shuffle):
    assert shuffle is False
    return environment
""",
}


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Makes the stand-in importable, in this process and in new ones."""
    for name, text in STAND_IN.items():
        path = tmp_path / "engine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "engine"))
    monkeypatch.syspath_prepend(tmp_path / "engine")
    return tmp_path / "engine"


@pytest.fixture
def backend(engine):
    made = TextworldBackend()
    yield made
    made.close()


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "game.tw-pddl"
    path.write_text("{}")
    return Task(
        id="1",
        split="train",
        category="pick_and_place_simple",
        goal="put a mug in shelf",
        payload={"game": str(path)},
    )


def process_of(backend) -> int:
    return int(backend.step("look") and backend._process.pid)


def test_plays_and_keeps_its_process_for_later_games(backend, task, tmp_path):
    first = backend.reset(task)
    assert first.observation.startswith("You are in room 1, process ")
    assert first.admissible == ("look", "win")
    assert (first.reward, first.done, first.won) == (0, False, False)
    assert backend.step("sing\na song") == GameReply(
        observation="You said sing\na song.",
        admissible=("look", "win"),
        reward=0,
        done=False,
        won=False,
    )
    end = backend.step("win")
    assert (end.reward, end.done, end.won) == (1, True, True)
    assert backend.reset(task) == first  # the game is loaded once
    other = tmp_path / "other.tw-pddl"
    other.write_text("{}")
    later = backend.reset(dataclasses.replace(task, payload={"game": str(other)}))
    assert later.observation == first.observation.replace("room 1", "room 2")


def test_what_the_engine_prints_is_no_answer(backend, task):
    backend.reset(task)
    assert backend.step("print").observation == "You said print."
    assert backend.step("look").observation == "You said look."


def test_a_generated_game_is_written_for_the_engine(backend):
    suite = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=5))
    assert backend.reset(suite.tasks("train")[0]).observation.startswith("You are in room 1")
    written = list(pathlib.Path(backend._scratch.name).glob("*.tw-pddl"))
    assert [set(json.loads(path.read_text())) >= {"grammar"} for path in written] == [True]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("die", r"ended with status 3 at command 'die'.*Its last words: bad luck"),
        ("raise", "failed at command 'raise': KeyError: 'val1'"),
    ],
)
def test_a_failure_costs_the_episode_and_the_next_has_a_new_process(
    backend, task, command, complaint
):
    backend.reset(task)
    before = process_of(backend)
    with pytest.raises(WorkerError, match=complaint) as caught:
        backend.step(command)
    assert not isinstance(caught.value, SkillRLError)  # that would stop the run
    with pytest.raises(WorkerError, match="gone"):
        backend.step("look")
    assert backend.reset(task).observation.startswith("You are in room 1")
    assert process_of(backend) != before


def test_a_process_that_was_killed_while_idle(backend, task):
    backend.reset(task)
    os.kill(process_of(backend), signal.SIGKILL)
    with pytest.raises(WorkerError, match="ended with status -9"):
        backend.step("look")
    assert backend.reset(task).observation.startswith("You are in room 1")


def test_an_answer_that_never_comes(backend, task):
    backend.reset(task)
    backend._patience = 0.2
    with pytest.raises(WorkerError, match="took too long at command 'hang'"):
        backend.step("hang")
    assert backend._process is None


def test_a_game_that_cannot_be_loaded(backend, task, tmp_path):
    gone = dataclasses.replace(task, payload={"game": str(tmp_path / "gone")})
    with pytest.raises(WorkerError, match="task 1: FileNotFoundError"):
        backend.reset(gone)
    assert backend.reset(task).observation.startswith("You are in room 1")
    with pytest.raises(SkillRLError, match="names no game"):
        backend.reset(dataclasses.replace(task, payload={"page": 3}))


def test_close_ends_the_process_and_removes_its_files(backend, task):
    backend.reset(task)
    process, scratch = backend._process, backend._scratch.name
    assert os.path.isdir(scratch)
    backend.close()
    backend.close()
    assert process.poll() is not None
    assert not os.path.exists(scratch)


def test_the_data_directory_of_alfworld_is_not_made(backend, task, tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "mine"))
    backend.reset(task)
    assert not (tmp_path / "mine").exists()


def test_the_process_and_its_files_end_with_its_parent(engine, task):
    script = f"""
import os, signal
from skillrl.envs.alfworld.textworld import TextworldBackend
from skillrl.types import Task
backend = TextworldBackend()
backend.reset(Task(id="1", split="train", category="", goal="", payload={dict(task.payload)!r}))
print(backend._process.pid, backend._scratch.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = str(pathlib.Path(textworld.__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(engine)])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    child, scratch = done.stdout.split()
    deadline = time.monotonic() + 20
    while _alive(int(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(int(child))
    assert not os.path.exists(scratch)


def _alive(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # what nobody waits for is ended all the same


def test_handles_on_threads_have_processes_of_their_own(engine, task):
    config = AlfworldConfig(engine="textworld")
    suite = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=5, alfworld=config))
    handles = [suite.make() for _ in range(3)]
    texts: dict[int, str] = {}

    def play(number: int) -> None:
        texts[number] = handles[number].reset(task).text
        result = handles[number].step("win")
        assert (result.done, result.won, result.reward, result.score) == (True, True, 1.0, 1.0)

    threads = [threading.Thread(target=play, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts.values())) == 3
    for handle in handles:
        handle.close()


def test_an_episode_that_failed_is_over(engine, task):
    config = AlfworldConfig(engine="textworld")
    suite = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=5, alfworld=config))
    handle = suite.make()
    handle.reset(task)
    with pytest.raises(WorkerError):
        handle.step("raise")
    with pytest.raises(SkillRLError, match="reset"):
        handle.step("look")
    assert handle.reset(task).text.startswith("You are in room 1")
    handle.close()


def test_without_the_extra_the_message_names_it(monkeypatch):
    monkeypatch.setattr(textworld.importlib.util, "find_spec", lambda name: None)
    config = AlfworldConfig(engine="textworld")
    with pytest.raises(SkillRLError, match=r'textworld and alfworld .*pip install "skillrl\[alf'):
        AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=5, alfworld=config))


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        ("import fast_downward_that_is_missing", "ModuleNotFoundError: No mod"),
        ("raise OSError('libdownward.so: wrong ELF class')", "OSError: libdownward"),
    ],
)
def test_a_broken_installation_is_not_an_episode_that_failed(
    backend, engine, task, module, complaint
):
    (engine / "textworld/envs/pddl/pddl.py").write_text(module)
    with pytest.raises(SkillRLError, match=rf"cannot be imported \({complaint}"):
        backend.reset(task)


def test_expressions_of_the_grammar_see_their_variables_on_every_python():
    class Symbol:
        def __init__(self, expression, context):
            self.expression, self.context = expression, context

    textgen = types.SimpleNamespace(EvalSymbol=Symbol, TerminalSymbol=str, seen="module")
    textworld_worker._mend_expressions(textgen)
    apple = types.SimpleNamespace(name="apple 1", indefinite="a")
    own = {"variables": {"o": apple}}
    other = {"variables": {"o": types.SimpleNamespace(name="mug 2", indefinite="the")}}
    symbol = Symbol("o.indefinite + ' ' + o.name", own)
    assert symbol.derive() == ["a apple 1"]
    assert symbol.derive(other) == ["the mug 2"]
    assert Symbol("seen", own).derive() == ["module"]
    assert set(own["variables"]) == {"o"}  # eval leaves nothing behind
