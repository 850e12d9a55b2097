"""The table of arms: complete, and every arm's settings are settings."""

import pytest

from skillrl.ablation.arms import (
    ARMS,
    FINAL,
    Played,
    choose,
    parse_tuned,
    settings_of,
    trained_for,
)
from skillrl.ablation.numbers import QUESTIONS
from skillrl.config import presets
from skillrl.config.settings import Config, diff
from skillrl.errors import SkillRLError
from skillrl.skills.controls import parse_arms
from skillrl.skills.retrieval import get_retrieval
from skillrl.training.advantages import get_estimator

TRAINING = [name for name, arm in ARMS.items() if arm.trains]


def config_of(name: str) -> Config:
    settings = settings_of(ARMS[name], {})
    return presets.resolve("alfworld", mock=True, overrides=settings).config


def test_all_arms_that_a_sceptic_asks_for_are_there():
    assert set(ARMS) == {
        *("base", "base_final_bank", "sft", "sft_bare", "grpo", "grpo_sft", "gigpo_sft", "full"),
        *("no_evolution", "no_hierarchy", "raw_trajectories", "no_cold_start", "neutral_text"),
        *("shuffled", "skills_removed", "frozen"),
    }


@pytest.mark.parametrize("name", TRAINING)
def test_settings_of_an_arm_are_accepted_and_name_registered_parts(name):
    config = config_of(name)
    assert get_retrieval(config.skill_retrieval.order)
    assert get_estimator(config.rl.advantage)
    assert (config.rl.training_epochs > 0) == ARMS[name].reinforced


@pytest.mark.parametrize("name", TRAINING)
def test_what_an_arm_shares_was_made_under_its_own_settings(name):
    arm = ARMS[name]
    if not arm.parent:
        return
    changed = {line.split(" was ")[0] for line in diff(config_of(arm.parent), config_of(name))}
    sections = {name.split(".")[0] for name in changed}
    assert not sections & {"env", "model", "agent", "collect", "distill", "evaluation"}
    if "sft" in arm.shares:  # then it may differ in RL alone
        assert not sections & {"sft", "skill_retrieval"}


def test_arms_differ_from_full_in_what_they_say_and_budgets_are_equal():
    full = config_of("full")
    for name in ("grpo", "grpo_sft", "gigpo_sft", "no_evolution", "raw_trajectories", "frozen"):
        rl = config_of(name).rl
        assert (rl.batch_size, rl.group_size, rl.training_epochs) == (
            full.rl.batch_size,
            full.rl.group_size,
            full.rl.training_epochs,
        )
    assert {line.split(" was ")[0] for line in diff(full, config_of("no_evolution"))} == {
        "evolution.enabled"
    }
    assert config_of("grpo_sft").skill_retrieval.content == "none"
    assert config_of("gigpo_sft").rl.advantage == "gigpo"
    assert config_of("frozen").rl.learning_rate == 0


@pytest.mark.parametrize("name", ARMS)
def test_what_is_played_can_be_played(name, tmp_path):
    file = tmp_path / "bank.json"
    file.write_text("{}")
    for played in ARMS[name].played:
        parse_arms(played.bank.replace(FINAL, str(file)))
        assert played.checkpoint in ("base", "sft", "rl")
        if played.checkpoint == "rl":
            assert ARMS[played.run].reinforced


def test_every_question_is_about_what_some_arm_plays():
    # evaluate plays none beside every bank
    played = {p for arm in ARMS.values() for p in arm.played}
    played |= {Played(run=p.run, checkpoint=p.checkpoint, bank="none") for p in played}
    for question in QUESTIONS:
        assert {question.first, question.second} <= played, question.what


def test_parents_train_first_and_arms_that_only_play_bring_what_they_play():
    names = [arm.name for arm in trained_for(choose("gigpo_sft, shuffled"))]
    assert names == ["sft", "sft_bare", "full", "gigpo_sft"]
    assert [arm.name for arm in trained_for(choose("base_final_bank"))] == ["sft", "full"]
    assert [arm.name for arm in trained_for(choose("base"))] == ["sft"]


def test_arms_are_chosen_in_the_order_of_the_table():
    assert choose("all") == tuple(ARMS.values())
    assert [arm.name for arm in choose("full,sft")] == ["sft", "full"]
    with pytest.raises(SkillRLError, match="no arm 'ful'; there are: base, "):
        choose("sft,ful")


def test_an_arm_is_tuned_alone_and_what_shares_its_cold_start_follows():
    tuned = parse_tuned(["sft_bare:sft.learning_rate=1e-3", "grpo_sft:rl.learning_rate=3e-4"])
    assert settings_of(ARMS["sft_bare"], tuned)[-2:] == (
        "sft.learning_rate=1e-3",
        "rl.training_epochs=0",
    )
    settings = settings_of(ARMS["grpo_sft"], tuned)
    assert "sft.learning_rate=1e-3" in settings
    assert settings[-1] == "rl.learning_rate=3e-4"
    assert "rl.training_epochs=0" not in settings
    assert settings_of(ARMS["full"], tuned) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rl.learning_rate=1", "ARM:section.field=value"),
        ("nobody:rl.learning_rate=1", "no arm 'nobody'"),
        ("shuffled:rl.learning_rate=1", "only plays the policies of full and sft"),
    ],
)
def test_tuning_that_means_nothing_is_refused(text, said):
    with pytest.raises(SkillRLError, match=said):
        parse_tuned([text])
