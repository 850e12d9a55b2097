"""The registry: environments that ship, that are registered, that packages add."""

import importlib
import sys

import pytest

from skillrl.config.settings import EnvConfig
from skillrl.envs import (
    AnswerForm,
    answer_form,
    is_admissible,
    make_suite,
    names,
    registered,
)
from skillrl.errors import SkillRLError


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package on the path whose metadata adds environments."""
    (tmp_path / "corridor.py").write_text(
        "class Suite:\n"
        "    name = 'corridor'\n"
        "    tags = ('search', 'answer')\n"
        "    def __init__(self, config):\n"
        "        self.max_steps = config.max_steps\n"
    )
    info = tmp_path / "corridor-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: corridor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[skillrl.environments]\ncorridor = corridor:Suite\nbroken = no_such_module:Suite\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with registered():
        yield
    sys.modules.pop("corridor", None)


def test_an_entry_point_adds_an_environment(installed):
    assert "corridor" in names()
    suite = make_suite("corridor", EnvConfig(max_steps=3))
    assert suite.max_steps == 3
    assert answer_form(suite) == AnswerForm(("search", "answer"))


def test_a_broken_entry_point_is_named_and_harms_no_other(installed):
    with pytest.raises(SkillRLError, match=r"--env=broken.*no_such_module"):
        make_suite("broken", EnvConfig())
    assert make_suite("alfworld", EnvConfig()).name == "alfworld"


def test_an_unknown_environment_is_answered_with_those_there_are():
    with pytest.raises(SkillRLError, match=r"--env=alfword: .*alfworld"):
        make_suite("alfword", EnvConfig())


@pytest.fixture
def registry():
    """What a test registers is forgotten after it."""
    with registered():
        yield


MINE = """
import dataclasses

import skillrl


@dataclasses.dataclass
class Point:  # looks its module up while it is made
    x: "int" = 0


@skillrl.register("mine")
class Suite:
    name = "mine"

    def __init__(self, config):
        self.max_steps = config.max_steps
"""


def test_a_file_registers_an_environment(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text(MINE)  # hides no module of the library
    monkeypatch.chdir(tmp_path)
    with registered():
        for _ in range(2):
            suite = make_suite("mine", EnvConfig(module="random.py", max_steps=7))
            assert suite.max_steps == 7
        assert "mine" in names()
        import random

        assert random.Random(1)
        with pytest.raises(SkillRLError, match=r"random.py was imported and registers no 'other'"):
            make_suite("other", EnvConfig(module="random.py"))
    assert "mine" not in names()
    with registered():  # as another part of the same process
        assert make_suite("mine", EnvConfig(module=str(tmp_path / "random.py"))).name == "mine"


def test_what_is_registered_for_a_block_is_gone_after_it():
    def suite(config):
        return config

    with registered(mine=suite):
        assert make_suite("mine", EnvConfig(max_steps=3)).max_steps == 3
        with (
            pytest.raises(SkillRLError, match="'mine' is registered twice"),
            registered(mine=suite),
        ):
            pass
        assert "mine" in names()
        make_suite("alfworld", EnvConfig())
    assert "mine" not in names()
    assert make_suite("alfworld", EnvConfig()).name == "alfworld"  # its module is imported once
    with pytest.raises(SkillRLError, match="one that ships"), registered(alfworld=suite):
        pass


def test_a_dotted_module_registers_an_environment(registry, tmp_path, monkeypatch):
    package = tmp_path / "own_envs"
    package.mkdir()
    (package / "__init__.py").write_text("from own_envs import mine\n")
    (package / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    assert make_suite("mine", EnvConfig(module="own_envs")).name == "mine"
    assert make_suite("mine", EnvConfig(module="own_envs.mine")).name == "mine"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\n", "registers no environment"),
        ("x = = 1\n", "line 1 is not Python"),
        ("import no_such_thing\n", "mine.py line 1: ModuleNotFoundError: No module named 'no_s"),
        (MINE + "\n1 / 0\n", "mine.py line 19: ZeroDivisionError"),
        (MINE + "raise skillrl.SkillRLError('bring water')\n", "bring water"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_its_line(registry, tmp_path, source, words):
    before = names()
    path = tmp_path / "mine.py"
    path.write_text(source)
    for _ in range(2):  # the second time says the same
        with pytest.raises(SkillRLError, match=words):
            make_suite("mine", EnvConfig(module=str(path)))
    assert names() == before


def test_a_relative_file_or_module_that_lacks_something_of_a_like_name(
    registry, tmp_path, monkeypatch
):
    (tmp_path / "no_such_env.py").write_text("import no_such\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("no_such_env.py", "no_such_env"):
        with pytest.raises(SkillRLError, match=r"line 1: ModuleNotFoundError"):
            make_suite("mine", EnvConfig(module=module))


@pytest.mark.parametrize("name", ["webshop", "agentgym_alfworld"])
def test_names_that_ship_are_taken(registry, tmp_path, name):
    path = tmp_path / "own.py"
    path.write_text(MINE.replace('register("mine")', f'register("{name}")'))
    with pytest.raises(SkillRLError, match=f"'{name}' of .* has the name of one that ships"):
        make_suite(name, EnvConfig(module=str(path)))


def test_a_module_that_is_not_there(registry, tmp_path):
    with pytest.raises(SkillRLError, match="there is no file"):
        make_suite("mine", EnvConfig(module=str(tmp_path / "none.py")))
    with pytest.raises(SkillRLError, match="no such module on Python's path"):
        make_suite("mine", EnvConfig(module="no_such_package.mine"))


@pytest.mark.parametrize(
    ("action", "offers", "expected"),
    [
        ("look", ("look",), True),
        ("search[red shoes]", ("search[<your query>]",), True),
        ("search[]", ("search[<your query>]",), False),
        ("click[red]", ("search[<your query>]", "click[blue]"), False),
        ("", (), False),
    ],
)
def test_placeholders_admit_any_argument(action, offers, expected):
    assert is_admissible(action, offers) is expected
