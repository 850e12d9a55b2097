"""One tiny run, shared by the tests of the pipeline."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import tiny


@pytest.fixture(scope="package")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base policy."""
    return tiny.make_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def whole(
    compiled: Path,
    flags: Callable[..., list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Whole:
    """`skillrl train`, once; tests only read it, or copy it."""
    path = tmp_path_factory.mktemp("whole") / "run"
    arguments = flags(path)
    keys = [f"--set=model.{name}_api_key=sk-{name}-in-config" for name in ("policy", "teacher")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKILLRL_TEACHER_API_KEY", "sk-teacher-in-environment")
        patch.setenv("OPENAI_API_KEY", "sk-openai-in-environment")
        status, out, err = tiny.run("train", *arguments, *keys)
    assert status == 0, err
    return Whole(path, arguments, out, err)
