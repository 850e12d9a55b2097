"""Files of one's own that register parts, named by the setting ``modules``."""

import pytest

from skillrl import extensions
from skillrl.config.presets import resolve
from skillrl.errors import SkillRLError
from skillrl.preflight.static_checks import find_problems
from skillrl.training.advantages import ESTIMATORS
from skillrl.training.losses import KL_ESTIMATORS

OWN = """
import numpy as np
from skillrl.skills.retrieval import Retrieved, register_retrieval
from skillrl.teacher.registry import register_embedder, register_teacher
from skillrl.training.advantages import register_advantage
from skillrl.training.losses import register_kl, register_policy_loss

@register_advantage("own_{tag}")
def advantage(batch, *, penalty):
    return np.zeros(len(batch.step_episode), np.float32)

@register_kl("own_{tag}")
def kl(logprobs, ref):
    return (logprobs - ref) ** 2

@register_policy_loss("own_{tag}")
def objective(logprobs, old, *, advantages, mask, clip_low, clip_high, clip_ratio_c):
    return logprobs * advantages[:, None] * mask

@register_retrieval("own_{tag}", uses_embedder=False)
def nothing(bank, task, **budgets):
    return Retrieved()
"""


@pytest.fixture
def own(tmp_path):
    """A file that registers four parts, and the word in their names; they go with the test."""
    tag = tmp_path.name.replace("-", "_")
    path = tmp_path / "own.py"
    path.write_text(OWN.replace("{tag}", tag))
    yield path, tag
    for note in extensions._notes:
        if note.name == f"own_{tag}":
            note.registry.pop(note.name, None)


def test_what_a_file_registers_is_said_and_can_be_named(own, tmp_path):
    path, tag = own
    overrides = [
        f"modules=[{path}]",
        f"rl.advantage=own_{tag}",
        f"rl.kl_estimator=own_{tag}",
        f"rl.policy_loss=own_{tag}",
        f"skill_retrieval.order=own_{tag}",
    ]
    config = resolve("alfworld", overrides=overrides).config
    for _ in range(2):  # imported once, said again
        problems, said = find_problems("train", config, workdir=tmp_path / "run", chosen={})
        assert not problems
        assert said.splitlines()[0] == (
            f"modules: {path} registers advantage estimator 'own_{tag}', KL estimator "
            f"'own_{tag}', policy loss 'own_{tag}', retrieval rule 'own_{tag}'"
        )


def test_a_file_that_registers_nothing_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(SkillRLError, match=r"modules=.*empty\.py: was imported and registers noth"):
        extensions.load([str(tmp_path / "empty.py")])


def test_a_file_that_fails_leaves_nothing_behind(own):
    path, tag = own
    path.write_text(path.read_text() + "\nraise ValueError('late')\n")
    for _ in range(2):
        with pytest.raises(SkillRLError, match=r"modules=.*line \d+: ValueError: late"):
            extensions.load([str(path)])
        assert f"own_{tag}" not in ESTIMATORS
        assert f"own_{tag}" not in KL_ESTIMATORS
    path.write_text(OWN.replace("{tag}", tag))
    assert extensions.load([str(path)])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SkillRLError, match=r"modules=.*nowhere\.py: there is no file"):
        extensions.load([str(tmp_path / "nowhere.py")])


def test_an_installed_package_adds_its_parts(own, tmp_path, monkeypatch):
    path, tag = own
    (tmp_path / f"package_{tag}.py").write_text(path.read_text())
    info = tmp_path / f"package_{tag}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: package_{tag}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[skillrl.modules]\nmine = package_{tag}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (line,) = extensions.load([])
    assert line.startswith(f"package_{tag} registers advantage estimator 'own_{tag}'")


def test_what_somebody_has_imported_before_is_known(own, tmp_path, monkeypatch):
    path, tag = own
    (tmp_path / f"package_{tag}.py").write_text(path.read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__(f"package_{tag}")
    for named in (f"package_{tag}", str(tmp_path / f"package_{tag}.py")):
        (line,) = extensions.load([named])
        assert line.startswith(f"{named} registers advantage estimator 'own_{tag}'")


def test_another_name_for_one_of_ours_is_a_part_too(own):
    path, tag = own
    path.write_text(
        f"from skillrl.training.losses import kl_k3, register_kl\nregister_kl('own_{tag}')(kl_k3)\n"
    )
    assert extensions.load([str(path)]) == [f"{path} registers KL estimator 'own_{tag}'"]


def test_a_notebook_cell_that_registers_may_be_run_again(own):
    _, tag = own
    cell = (
        "from skillrl.training.advantages import register_advantage\n"
        f"@register_advantage('own_{tag}')\n"
        "def mine(batch, *, penalty): return {value}\n"
    )
    notebook = {"__name__": "__main__"}
    for value in (1, 2):
        exec(cell.replace("{value}", str(value)), notebook)
        assert ESTIMATORS[f"own_{tag}"](None, penalty=0) == value
    with pytest.raises(SkillRLError, match=f"'own_{tag}' is registered twice"):
        exec(cell.replace("def mine", "def other").replace("{value}", "3"), notebook)
    assert ESTIMATORS[f"own_{tag}"](None, penalty=0) == 2
