import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skillrl.skills.budget import CHARACTERS, LEAST, affordable, fit, shorten
from skillrl.skills.render import render_all, render_trajectory
from tests.skills.builders import played

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HINT = "characters left out"


def request(items, longest):
    return [{"role": "user", "content": "Say why. " + render_all(items, longest=longest)}]


def length(chat):
    return sum(len(message["content"]) for message in chat)


def told(lengths, task="1"):
    """A failure with results of these lengths, all different, each with a beginning and an end."""
    script = [(f"go {i}", f"<{i}" + "x" * n + f"{i}>") for i, n in enumerate(lengths)]
    return played(script, task=task)


@SLOW
@given(st.integers(0, 4000), st.integers(0, 2000))
def test_a_shortened_text_has_exactly_the_length_and_keeps_both_ends(size, longest):
    text = "".join(chr(33 + i % 90) for i in range(size))
    found, most = shorten(text, longest), max(longest, LEAST)
    if size <= most:
        assert found == text
        return
    assert len(found) == most
    head, _, rest = found.partition(" [... ")
    count, _, tail = rest.partition(" characters left out ...] ")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + len(tail) + int(count) == size
    assert abs(len(head) - len(tail)) <= 1


def test_the_longest_observations_lose_most_and_the_end_nothing():
    lengths = [300, 900, 250, 100, 800, 700]
    trajectory = told(lengths)
    text = render_trajectory(trajectory, longest=200)
    assert text.count(HINT) == 2  # the last three steps saw those from 250 on
    for i in (2, 3, 4):  # 700 is the result of the last action, which no step saw
        assert f"<{i}" + "x" * lengths[i] + f"{i}>" in text
    assert "<1xxx" in text
    assert "xxx1>" in text
    for i in range(len(lengths)):
        assert f"Action: go {i}\n" in text
    assert render_trajectory(trajectory) == render_trajectory(trajectory, longest=10_000)
    assert HINT not in render_trajectory(told([900, 900, 900]), longest=LEAST)  # all of it the end


EPISODES = st.lists(
    st.lists(st.integers(0, 3000), min_size=1, max_size=7), min_size=1, max_size=4
).map(lambda rows: [told(row, task=str(i)) for i, row in enumerate(rows)])


@SLOW
@given(EPISODES, st.integers(1, 3000))
def test_a_request_keeps_to_its_budget_whenever_it_can(items, tokens):
    shown = affordable(items, request, max_tokens=tokens, what="it")
    assert shown == items[: len(shown)]
    assert shown
    chat, cut = fit(shown, request, max_tokens=tokens, what="it")
    possible = length(request(items[:1], LEAST)) <= CHARACTERS * tokens
    assert (length(chat) <= CHARACTERS * tokens) == possible
    assert cut == length(request(shown, None)) - length(chat)
    if len(shown) < len(items):  # one more would not have fitted
        more = items[: len(shown) + 1]
        assert length(request(more, LEAST)) > CHARACTERS * tokens
    text = chat[0]["content"]
    for item in shown:
        end = render_trajectory(item).split("\nStep ")[-2:]
        assert all(block in text for block in end[-1:] + end[:-1] * (len(item.steps) > 1))
        assert all(f"Action: {step.action}\n" in text for step in item.steps)
    if cut:  # no more than was needed
        longest = max(
            len(part.partition(": ")[2]) for part in text.split("\n") if f" {HINT} ...] " in part
        )
        assert length(request(shown, longest + 1)) > CHARACTERS * tokens


def test_no_budget_changes_nothing_and_a_hopeless_one_is_said(caplog):
    items = [told([2000, 50, 50, 50, 50]), told([10], task="2")]
    assert affordable(items, request, max_tokens=0, what="it") is items
    assert fit(items, request, max_tokens=0, what="it") == (request(items, None), 0)
    with caplog.at_level(logging.INFO):
        shown = affordable(items, request, max_tokens=5, what="distil mugs")
        fit(shown, request, max_tokens=5, what="distil mugs")
    assert len(shown) == 1
    said = caplog.text
    assert "distil mugs: 1 of 2 recordings are shown" in said
    assert "characters left out of long observations" in said
    assert "more than distill.max_request_tokens=5" in said


@pytest.mark.parametrize("size", [LEAST, LEAST + 1])
def test_at_the_least(size):
    assert (HINT in shorten("y" * size, 0)) == (size > LEAST)
