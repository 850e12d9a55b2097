"""One question: search, read, answer; and everything else an agent may say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.agent.agent import render_response
from skillrl.agent.parse import parse
from skillrl.envs.search.documents import Document, Hit, information
from skillrl.envs.search.environment import (
    INVALID,
    NO_STEPS_LEFT,
    START,
    SearchEnvironment,
    blocks,
)
from skillrl.errors import SkillRLError
from skillrl.types import Task

TASK = Task(
    id="t",
    split="train",
    category="direct_retrieval",
    goal="Who wrote Emma?",
    payload={"answers": ["Jane Austen", "J"]},
)
HITS = [
    Hit(Document("1", '"Emma"\nEmma is a novel.\nBy Austen.'), 2.0),
    Hit(Document("2", "No title"), 1.0),
]


class Recorded:
    """Finds the same two documents, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def search(self, query, top_k):
        self.asked.append((query, top_k))
        return HITS[:top_k] if query else []


@pytest.fixture
def playing():
    environment = SearchEnvironment(Recorded(), max_steps=4, top_k=3)
    assert environment.reset(TASK).text == START
    return environment


def test_documents_are_shown_as_search_r1_shows_them():
    assert information(HITS) == (
        '<information>Doc 1(Title: "Emma") Emma is a novel.\nBy Austen.\n'
        "Doc 2(Title: No title)</information>"
    )
    assert information([]) == "<information>Nothing found.</information>"


def test_search_then_answer(playing):
    result = playing.step("<search> Emma\nauthor </search>")
    assert (result.observation.text, result.done, result.reward) == (information(HITS), False, 0)
    assert playing._retriever.asked == [("Emma\nauthor", 3)]
    result = playing.step("<answer> the jane austen. </answer>")
    assert (result.done, result.won, result.reward, result.score) == (True, True, 1.0, 1.0)


def test_a_wrong_answer_ends_it_too(playing):
    result = playing.step("<answer>Jane</answer>")
    assert (result.done, result.won, result.reward, result.score) == (True, False, 0.0, 0.0)
    assert "Austen" not in result.observation.text
    with pytest.raises(SkillRLError, match="reset"):
        playing.step("<answer>J</answer>")


@pytest.mark.parametrize(
    "text", ["", "hello", "<search>x", "<answer>J</search>", "search</search><search>", "<action>"]
)
def test_what_is_neither_costs_a_step_and_says_so(playing, text):
    result = playing.step(text)
    assert (result.observation.text, result.done) == (INVALID, False)
    assert playing._retriever.asked == []


def test_the_last_answer_counts_and_comes_before_a_search(playing):
    text = "<answer>x</answer> <search>q</search> <answer>J</answer>"
    assert playing.step(text).won
    assert playing._retriever.asked == []


def test_the_first_of_two_searches_is_made(playing):
    playing.step("<search>a</search><search>b</search>")
    assert playing._retriever.asked == [("a", 3)]


def test_an_empty_query_finds_nothing(playing):
    assert playing.step("<search> </search>").observation.text == information([])


def test_the_fourth_step_must_answer(playing):
    for _ in range(3):
        assert not playing.step("<search>q</search>").done
    result = playing.step("<search>q</search>")
    assert (result.done, result.won, result.observation.text) == (True, False, NO_STEPS_LEFT)
    assert len(playing._retriever.asked) == 3
    playing.reset(TASK)
    for _ in range(3):
        playing.step("nothing")
    assert playing.step("<answer>J</answer>").won


def test_a_handle_is_played_again_and_closed_twice(playing):
    playing.step("<search>q</search>")
    assert playing.reset(TASK).text == START
    playing.close()
    playing.close()
    with pytest.raises(SkillRLError):
        playing.step("<search>q</search>")


@pytest.mark.parametrize("payload", [{}, {"answers": []}, {"answers": "J"}])
def test_a_task_without_golden_answers_is_refused(payload):
    with pytest.raises(SkillRLError, match="golden answers"):
        SearchEnvironment(Recorded()).reset(
            Task(id="x", split="train", category="c", goal="q?", payload=payload)
        )


@given(st.lists(st.text(alphabet="<>/searchanwe J", max_size=60), min_size=4, max_size=4))
def test_any_text_is_an_action(texts):
    environment = SearchEnvironment(Recorded())
    environment.reset(TASK)
    results = []
    while not results or not results[-1].done:
        results.append(environment.step(texts[len(results)]))
    assert len(results) <= 4


_PIECES = ["<answer>", "</answer>", "<search>", "</search>", "<ans", "wer>", "x", "\n", "</", ""]


@given(st.lists(st.sampled_from(_PIECES), max_size=12), st.sampled_from(["search", "answer"]))
def test_blocks_are_those_of_the_regular_expression(pieces, tag):
    text = "".join(pieces)
    assert list(blocks(text, tag)) == re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)


def test_each_part_of_a_text_of_unclosed_tags_is_read_once():
    class Counted(str):
        read = 0

        def find(self, part, start):
            found = super().find(part, start)
            Counted.read += (found if found >= 0 else len(self)) - start + len(part)
            return found

    text = Counted("<answer>" * 1000 + "</answer>" + "<answer>" * 1000)
    assert [len(block) for block in blocks(text, "answer")] == [999 * len("<answer>")]
    assert Counted.read < 2 * len(text)


@given(st.sampled_from(["search", "answer"]), st.text(alphabet="abc ?'\n", min_size=1))
def test_the_agent_hands_over_the_whole_block(tag, content):
    tags = ("search", "answer")
    parsed = parse(render_response("why", f"<{tag}>{content}</{tag}>", tags), tags=tags)
    assert parsed.action == f"<{tag}>{content.strip()}</{tag}>"
