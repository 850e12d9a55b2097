"""Skills that are shown from the second step on: skill_retrieval.first_step=false."""

import dataclasses

import pytest

from skillrl.agent.agent import SkillAgent
from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate
from skillrl.training.demonstrations import examples
from skillrl.types import Observation
from tests.agent.test_agent import SKILLS, play, walk

LINES = "General skills:\n- Read: Read the task.\n"


def make(tokenizer, *, first_step=False, **options):
    config = PromptConfig(**options)
    return SkillAgent(tokenizer, role="You act.", config=config, first_step=first_step)


def test_only_the_first_prompt_is_without_skills(tiny_tokenizer):
    agent = make(tiny_tokenizer)
    trajectory, asked = play(agent, walk(agent))
    requests = [wants for wants in asked if isinstance(wants, Generate)]
    assert [LINES in "".join(r.text) for r in requests] == [False, True, True]
    assert all(LINES not in r.text[1] for r in requests)  # the user turn's shared beginning
    assert all(r.text[2].startswith(LINES) for r in requests[1:])
    for request, step in zip(requests, trajectory.steps, strict=True):
        assert request.prefix_ids == trajectory.prefix_ids  # one prefix for all steps
        assert request.suffix_ids == step.suffix_ids
    block = tuple(tiny_tokenizer.encode(LINES))
    assert [step.suffix_ids[: len(block)] == block for step in trajectory.steps] == [
        False,
        True,
        True,
    ]
    assert trajectory.skills == ("gen_001",)


def test_the_prompt_is_otherwise_the_same(tiny_tokenizer):
    late, early = make(tiny_tokenizer), make(tiny_tokenizer, first_step=True)
    now, past = Observation("You see a safe.", ("look",)), [HistoryStep("A room.", "go on")]
    suffix, text = late.suffix(now, past, prefix_length=10, skills=SKILLS)
    other, same = early.suffix(now, past, prefix_length=10, skills=SKILLS)
    assert text == LINES + same
    assert suffix == (*tiny_tokenizer.encode(LINES), *other)
    assert late.suffix(now, [], prefix_length=10, skills=SKILLS) == early.suffix(
        now, [], prefix_length=10
    )


def test_demonstrations_show_them_where_rollouts_do(tiny_tokenizer):
    agent = make(tiny_tokenizer)
    trajectory, _ = play(agent, walk(agent))
    won = dataclasses.replace(trajectory, won=True)
    found = examples(won, ["because"] * 3, skills=SKILLS, agent=agent)
    assert [e.suffix_ids for e in found] == [s.suffix_ids for s in trajectory.steps]
    assert {e.prefix_ids for e in found} == {trajectory.prefix_ids}


def test_skills_count_towards_the_length_of_a_step(tiny_tokenizer):
    block = len(tiny_tokenizer.encode(LINES))
    past, long = [HistoryStep("x", "y")], Observation("word " * 300, ("look",))
    agent = make(tiny_tokenizer, max_prompt_length=block + 120)
    ids, _ = agent.suffix(long, past, prefix_length=20, skills=SKILLS)
    assert block < len(ids) <= block + 100
    agent = make(tiny_tokenizer, max_prompt_length=block + 10)
    with pytest.raises(SkillRLError, match=r"first_step=true"):
        agent.suffix(long, past, prefix_length=20, skills=SKILLS)


def test_without_a_tokenizer_the_text_has_them(tiny_tokenizer):
    agent = make(None)
    _, text = agent.suffix(
        Observation("x"), [HistoryStep("x", "y")], prefix_length=0, skills=SKILLS
    )
    assert text.startswith(LINES)
    assert Config().skill_retrieval.first_step  # the default is the paper's: always
