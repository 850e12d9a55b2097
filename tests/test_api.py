"""The front door, as a notebook uses it: everything by `import skillrl`."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import skillrl
from skillrl import Skill, SkillBank, SkillRLError

GROUP = 4


@pytest.fixture(scope="module")
def suite():
    return skillrl.make_suite("alfworld")


@pytest.fixture(scope="module")
def policy():
    return skillrl.load_policy("asset:tiny_qwen2_alfworld")


@pytest.fixture(scope="module")
def tasks(suite):
    return [task for task in suite.tasks("train") if task.category == "pick_and_place_simple"][:2]


@pytest.fixture(scope="module")
def episodes(policy, suite, tasks):
    return skillrl.rollout(policy, suite, tasks, group_size=GROUP, temperature=1.0, seed=0)


def test_importing_is_instant_and_touches_no_device():
    code = "import sys, skillrl; skillrl.Config; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_name_is_there_and_documented():
    for name in skillrl.__all__:
        assert getattr(skillrl, name).__doc__ or name == "__version__"
    assert set(skillrl.__all__) <= set(dir(skillrl))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        skillrl.nothing  # noqa: B018


def test_a_policy_has_what_a_notebook_asks_for(policy):
    assert policy.config.hidden_size
    assert policy.tokenizer.decode(policy.tokenizer.encode("look around")) == "look around"
    assert jax.tree.structure(policy.params) == jax.tree.structure(policy.shardings)


def test_rollouts_come_group_by_group_and_again_the_same(policy, suite, tasks, episodes):
    assert [(e.task.id, e.member) for e in episodes] == [
        (task.id, member) for task in tasks for member in range(GROUP)
    ]
    assert skillrl.rollout(policy, suite, tasks, group_size=GROUP, seed=0) == episodes
    other = skillrl.rollout(policy, suite, tasks, group_size=GROUP, seed=0, iteration=1)
    assert [e.steps for e in other] != [e.steps for e in episodes]


def test_the_same_task_twice_is_played_twice(policy, suite, tasks):
    first, second = skillrl.rollout(policy, suite, [tasks[0]] * 2, temperature=1.0)
    assert (first.repeat, second.repeat) == (0, 1)
    assert first.steps != second.steps


def test_a_skill_stands_in_the_prompt(policy, suite, tasks):
    mine = Skill(title="Look twice", principle="Go to the shelf and look.", category="general")
    bank = SkillBank().add([mine])
    (episode,) = skillrl.rollout(policy, suite, tasks[:1], bank, temperature=0.0)
    assert len(episode.skills) == 1
    assert "Look twice" in policy.tokenizer.decode(episode.prefix_ids)


def test_grpo_moves_the_policy_and_leaves_the_one_that_was_given(policy, suite, tasks, episodes):
    before = jax.tree.map(np.asarray, policy.params)
    training, metrics = skillrl.grpo_step(policy, episodes)
    assert metrics["grad_norm"] > 0
    assert metrics["sampler_gap_fresh"] < 1e-4  # what was sampled is what is trained on
    updates = training.updates
    assert updates == min(4, 2)  # rl.minibatches of whole groups
    once = training.policy
    again, _ = skillrl.grpo_step(training, episodes)
    assert again.updates == 2 * updates
    assert _equal(policy.params, before)
    assert not _equal(once.params, before)
    assert not _equal(again.policy.params, once.params)
    played = skillrl.rollout(again.policy, suite, tasks[:1], temperature=0.0)
    assert played[0].steps


def test_half_a_group_is_refused(policy, episodes):
    with pytest.raises(SkillRLError, match=r"7 episodes are no whole groups of 4"):
        skillrl.grpo_step(policy, episodes[:-1])


def test_imitation_lowers_its_loss(policy, suite, tasks):
    shown = skillrl.demonstrate(suite, tasks)
    assert all(episode.won for episode in shown)
    training, losses = policy, []
    for _ in range(4):
        training, metrics = skillrl.sft_step(training, shown, suite)
        losses.append(metrics["loss"])
    assert losses[-1] < losses[0]


def test_a_bank_is_distilled_and_evolves(suite, episodes):
    shown = skillrl.demonstrate(suite, suite.tasks("train")[:6])
    bank = skillrl.distill([*episodes, *shown], suite)
    assert len(bank) > 0
    lost = [episode for episode in episodes if not episode.won] * 8
    grown, event = skillrl.evolve(bank, lost, step=1)
    assert event.overall == 0.0
    assert grown.version > bank.version
    assert event.added or event.refined


def test_evaluation_counts_every_task_once(policy, suite):
    result = skillrl.evaluate(policy, suite, "valid_unseen", limit=4)
    assert result["n"] == 4
    assert result["low"] <= result["success"] <= result["high"]


def test_what_would_stop_a_run_is_said_before_it_starts(tmp_path):
    config = skillrl.resolve("alfworld", overrides=["rl.advantage=nothing"]).config
    with pytest.raises(SkillRLError, match="unknown advantage estimator 'nothing'"):
        skillrl.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(SkillRLError, match="no command 'dance'"):
        skillrl.run("dance", config, tmp_path / "run")


def _equal(first, second) -> bool:
    return all(
        bool(np.array_equal(a, b))
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )
