"""What is looked at before a phase: prompts that do not fit, and tasks without skills."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from skillrl import pipeline
from skillrl.config.presets import parse_set
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.io.files import read_json
from skillrl.parallel.speed import Peak
from skillrl.phases import prompts
from skillrl.phases.build import make_buckets, make_shapes
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import Retriever
from skillrl.types import GENERAL, Skill
from tests.pipeline import tiny

WORDS = "Open every closed cabinet and look at each shelf before you go back to one. " * 2


def released_size(categories) -> SkillBank:
    """55 skills of 150 letters, as the released bank has them."""
    rows = [("gen", GENERAL, "skill", 12), ("err", GENERAL, "mistake", 11)]
    rows += [(name, name, "skill", 6) for name in categories]
    return SkillBank(
        tuple(
            Skill(
                id=f"{prefix}_{i:03d}",
                title=f"Rule {prefix} {i}",
                principle=WORDS,
                when_to_apply=WORDS[:72],
                category=category,
                kind=kind,
            )
            for prefix, category, kind, count in rows
            for i in range(count)
        )
    )


def changed(config: Config, flags: list[str]) -> Config:
    for flag in flags:
        config = Config.from_dict(parse_set(flag), config)
    return config


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({}, "rollout.prefix_buckets is 640"),
        ({"rollout": {"prefix_buckets": []}}, "rl.max_prompt_length is 1024"),
    ],
)
def test_the_advice_about_a_bank_that_does_not_fit_can_be_followed(whole, other, named):
    config = Config.from_dict(other, Config.from_dict(read_json(whole.path / "config.json")))

    def check(config: Config) -> None:
        with tiny.opened(whole.path, config) as (run, model, player):
            tasks = run.suite.tasks("train")[:12]
            prompts.check_fit(
                run,
                released_size(run.suite.categories),
                model=model,
                retriever=player.retriever,
                tasks=tasks,
            )

    with pytest.raises(SkillRLError) as caught:
        check(config)
    said = str(caught.value)
    assert named in said
    room, fewer = said.split("Make room with ")[1].rstrip(".").split(", or show fewer skills with ")
    for advice in (room, fewer):
        words = shlex.split(advice)
        assert set(words[::2]) == {"--set"}
        check(changed(config, words[1::2]))
    assert not re.search(r"_top_k=-", fewer)


def test_skills_take_no_more_tokens_of_a_prompt_than_they_may(whole):
    base = Config.from_dict(read_json(whole.path / "config.json"))
    for first_step in (True, False):
        settings = {"skill_retrieval": {"max_tokens": 200, "first_step": first_step}}
        with tiny.opened(whole.path, Config.from_dict(settings, base)) as (run, model, player):
            bank = released_size(run.suite.categories)
            tasks = run.suite.tasks("train")[:6]
            prompts.check_fit(run, bank, model=model, retriever=player.retriever, tasks=tasks)
            for task in tasks:
                skills = player.retriever(bank, task)
                ids = (player.agent.prefix(task, shown)[0] for shown in (skills, ()))
                taken = [*map(len, ids)] if first_step else [len(player.agent.late(skills)[0]), 0]
                assert 100 < taken[0] - taken[1] <= 200


def test_skills_at_every_step_that_fill_it_are_refused_too(whole):
    late = {"skill_retrieval": {"first_step": False}, "rollout": {"cache_buckets": [128]}}
    config = Config.from_dict(late, Config.from_dict(read_json(whole.path / "config.json")))
    with tiny.opened(whole.path, config) as (run, model, player):
        tasks = run.suite.tasks("train")[:6]
        with pytest.raises(SkillRLError, match=r"first_step is false.*of the 128.*_top_k="):
            prompts.check_fit(
                run,
                released_size(run.suite.categories),
                model=model,
                retriever=player.retriever,
                tasks=tasks,
            )


def test_tasks_without_skills_are_warned_of(whole, capsys):
    config = Config.from_dict(read_json(whole.path / "config.json"))
    strict = Config.from_dict({"skill_retrieval": {"similarity_threshold": 0.99}}, config)
    for settings, warned in ((strict, True), (config, False)):
        with tiny.opened(whole.path, settings) as (run, model, player):
            bank = released_size(run.suite.categories)
            bank = dataclasses.replace(
                bank, skills=tuple(s for s in bank.skills if s.kind == "skill")
            )
            small = dataclasses.replace(
                settings.skill_retrieval, general_top_k=0, top_k=1, mistakes_top_k=0
            )
            object.__setattr__(run, "config", dataclasses.replace(settings, skill_retrieval=small))
            retriever = Retriever(player.retriever.embedder, small)
            before = run.metrics.rows()
            prompts.look(
                run,
                bank,
                model=model,
                retriever=retriever,
                phase="evaluate",
                tasks=run.suite.tasks("train")[:6],
            )
            assert run.metrics.rows() == before  # an evaluation leaves the run as it is
        error = capsys.readouterr().err
        assert ("6 of 6 tasks get no task-specific skill" in error) == warned
        assert ("model.embedder=hashing" in error) == warned


def test_a_phase_that_takes_hours_says_so_first(flags, whole, compiled, tmp_path, monkeypatch):
    slow = Peak(bandwidth=1e9, flops=1e3, source="measured")
    monkeypatch.setattr(pipeline.speed, "of_device", lambda dtype: slow)
    monkeypatch.setattr(pipeline.estimate, "_SLOW", 1e3)

    def stop(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "collect_phase", stop)
    status, _, err = tiny.run("collect", *flags(tmp_path / "run"))
    assert status == 130
    assert "warning: this takes long on 1 cpu: collect " in err


def test_a_raised_limit_of_responses_has_a_bucket_too(whole):
    """The buckets are the mock preset's; a limit above them must not end RL at a long response."""
    config = Config.from_dict(read_json(whole.path / "config.json"))
    more = {"rl": {"max_response_length": 100}, "train_batch": {"response_buckets": [20]}}
    raised = Config.from_dict(more, config)
    with tiny.opened(whole.path, config) as (_, model, _):
        shapes = make_shapes(raised, model, samples_per_row=1)
        assert shapes.response_buckets == (20, 100)
        assert shapes.row_buckets[-1] == make_buckets(raised).suffix_limit + 100
        before = make_shapes(config, model, samples_per_row=1)
        assert before.response_buckets == config.train_batch.response_buckets
