"""One tiny run, shared by the tests of the pipeline."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import tiny


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a directory once for all processes of a session: whoever is first makes it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # in which each process has a directory of its own

    def get(name: str, make: Callable[[Path], None]) -> Path:
        path, done = root / f"shared-{name}", root / f"shared-{name}.done"
        with open(root / f"shared-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a process that ends, however it does, lets go
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)  # of one that failed
                path.mkdir()
                make(path)
                done.touch()
        return path

    return get


@pytest.fixture(scope="session")
def policy(shared: Callable[..., Path]) -> Path:
    """A tiny base policy, which no test may change."""
    return shared("policy", tiny.make_policy) / "model"


@pytest.fixture(scope="session")
def flags(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Makes the flags of a tiny run in `workdir`; keywords replace settings of a section."""
    folder = tmp_path_factory.mktemp("settings")

    def make(workdir: Path, seed: int | None = tiny.SEED, **other: dict[str, Any]) -> list[str]:
        settings = tiny.merged(tiny.SETTINGS, {"model": {"policy_path": str(policy)}})
        file = folder / f"{len(list(folder.iterdir()))}.json"
        file.write_text(json.dumps(tiny.merged(settings, other)))
        return [f"--config={file}", f"--workdir={workdir}", f"--seed={seed}"]

    return make


@dataclasses.dataclass(frozen=True)
class Whole:
    """A run that went through: its directory, its flags and what it said."""

    path: Path
    flags: list[str]
    out: str
    err: str


@pytest.fixture(scope="session")
def whole(
    compiled: Path,
    flags: Callable[..., list[str]],
    shared: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Whole:
    """`skillrl train`, once; a process has a copy of its own, which tests only read, or copy."""

    def make(folder: Path) -> None:
        settings, *others = flags(folder / "run")
        shutil.copyfile(settings.removeprefix("--config="), folder / "settings.json")
        arguments = [f"--config={folder / 'settings.json'}", *others]
        keys = [f"--set=model.{name}_api_key=sk-{name}-in-config" for name in ("policy", "teacher")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SKILLRL_TEACHER_API_KEY", "sk-teacher-in-environment")
            patch.setenv("OPENAI_API_KEY", "sk-openai-in-environment")
            status, out, err = tiny.run("train", *arguments, *keys)
        assert status == 0, err
        (folder / "said.json").write_text(json.dumps([out, err]))

    made = shared("whole", make)
    path = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(made / "run", path)
    said = json.loads((made / "said.json").read_text())
    out, err = (text.replace(str(made / "run"), str(path)) for text in said)
    _, *others = flags(path)
    return Whole(path, [f"--config={made / 'settings.json'}", *others], out, err)
