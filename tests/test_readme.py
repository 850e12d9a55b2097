"""README.md: its lines for playing by hand work as they stand there."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import sys

import pytest

from skillrl.cli import main
from tests.docs import DOCS

ROOT = DOCS.parent
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = re.findall(
    r"(?:^    |`)(skillrl play --env=(?:alfworld|webshop|search)\b[^`\n]*)", PAGE, re.M
)
SETS = re.findall(r"\b(\w+/(?:train|dev|test)\.jsonl)", PAGE)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Where the lines before leave their files, with games, products and questions of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    games = folder / "alfworld" / "json_2.1.1"
    for split in ("train", "valid_seen", "valid_unseen"):
        for game in sorted((ROOT / "tests/fixtures/alfworld").glob("look_*"))[:1]:
            shutil.copytree(game, games / split / game.name)
    (folder / "webshop").mkdir()
    for name in re.findall(r"data/webshop/(\S+\.json)", PAGE):
        shutil.copy(
            ROOT / "tests/fixtures/webshop/catalogue" / name.replace("_1000", ""),
            folder / "webshop" / name,
        )
    row = {"id": "0", "question": "who wrote Emma", "golden_answers": ["Jane Austen"]}
    for name in SETS:
        (folder / "search" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "search" / name).write_text(json.dumps(row) + "\n")
    passage = {"id": "0", "contents": '"Emma"\nEmma is a novel by Jane Austen.'}
    (folder / "passages.jsonl").write_text(json.dumps(passage) + "\n")


@pytest.mark.examples
def test_the_first_python_block_runs_as_pasted(tmp_path, monkeypatch, capsys):
    block = re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[1]
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    out = capsys.readouterr().out
    assert "of 16 episodes won" in out
    assert "after 2 updates" in out
    assert not list(tmp_path.iterdir())


def test_there_are_lines_with_and_without_data_for_each_environment():
    for env in ("alfworld", "webshop", "search"):
        own = [line for line in LINES if f"--env={env}" in line]
        assert {"env.data_dir=" in line for line in own} == {True, False}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("split", ["train", "valid_seen", "valid_unseen"])
def test_a_line_as_written_plays_an_episode(data, monkeypatch, capsys, line, split):
    monkeypatch.setattr(sys, "stdin", io.StringIO("look\n:quit\n"))
    assert main.main([*shlex.split(line)[1:], f"--split={split}"]) == 0
    out = capsys.readouterr().out
    assert f"{split}/" in out
    assert "\nObservation 2: " in out
    assert ("generated" not in out.partition("\n")[0]) == ("env.data_dir=" in line)


def test_every_fault_that_is_promised_for_has_its_test():
    """The last column of docs/reliability.md names tests that there are."""
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", page)
    rows = [line for line in page.splitlines() if line.startswith("| ") and "|---" not in line]
    assert len(named) >= sum(not line.startswith("| fault") for line in rows) > 100
    gone = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"^ *def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.M)
    ]
    assert not gone
