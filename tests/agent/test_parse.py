import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.agent.parse import INADMISSIBLE, MALFORMED, UNFINISHED, is_admissible, parse

OFFERS = ("go to desk 1", "look")


def test_well_formed():
    found = parse("<think>The desk.</think><action>go to desk 1</action>", OFFERS)
    assert found == ("The desk.", "go to desk 1", "")
    spaced = "\n <think> The desk.\nThen on. </think>\n\n<action> look </action> \n"
    assert parse(spaced, OFFERS) == ("The desk.\nThen on.", "look", "")
    assert parse("<think></think><action>look</action>", OFFERS) == ("", "look", "")


def test_anything_goes_where_nothing_is_offered():
    assert parse("<think>a</think><action>dance</action>") == ("a", "dance", "")


def test_not_admissible_keeps_the_action():
    found = parse("<think>a</think><action>go to desk 2</action>", OFFERS)
    assert found == ("a", "go to desk 2", INADMISSIBLE)
    assert parse("<think>a</think><action>Look</action>", OFFERS).invalid == INADMISSIBLE


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("", ""),
        ("go to desk 1", ""),
        ("<action>look</action>", "look"),  # no thought
        ("<think>a<action>look</action>", "look"),  # a thought without end
        ("<think>a</think>", ""),
        ("<think>a</think><action>look", ""),
        ("<think>a</think><action></action>", ""),
        ("<think>a</think><action>look</action> I hope.", "look"),
        ("So: <think>a</think><action>look</action>", "look"),
        ("<think>a</think> hm <action>look</action>", "look"),
        ("<action>look</action><think>a</think>", "look"),
        ("<think>a</think><action>look</action><action>go to desk 1</action>", "go to desk 1"),
        ("<THINK>a</THINK><ACTION>look</ACTION>", ""),
    ],
)
def test_malformed(response, action):
    found = parse(response, OFFERS)
    assert (found.action, found.invalid) == (action, MALFORMED)


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("<think>a <action>look</action></think><action>go to desk 1</action>", "go to desk 1"),
        ("<think>a<think>b</think></think><action>look</action>", "look"),
        ("<think>a</think>b</think><action>look</action>", "look"),
        ("<think>a</think><action><action>look</action></action>", "look"),
        ("<think>a</think><action>go<action>look</action>", "look"),
        ("<think>a</think><action>look</action></action>", "look"),
        ("<think>a <action>look</action></think>", ""),  # only in the thought: not said
    ],
)
@pytest.mark.parametrize("offers", [OFFERS, ()])
def test_nested_tags_are_malformed_and_the_innermost_last_action_is_read(response, action, offers):
    found = parse(response, offers)
    assert (found.action, found.invalid) == (action, MALFORMED)


def test_unfinished_comes_before_other_reasons():
    whole = "<think>a</think><action>look</action>"
    assert parse(whole, OFFERS, finished=False) == ("a", "look", UNFINISHED)
    assert parse("<think>a and so", OFFERS, finished=False) == ("", "", UNFINISHED)
    other = whole.replace("look", "dance")
    assert parse(other, OFFERS, finished=False).invalid == UNFINISHED


def test_thoughts_are_optional_where_the_config_says_so():
    assert parse("<action>look</action>", OFFERS, think=False) == ("", "look", "")
    whole = "<think>a</think><action>look</action>"
    assert parse(whole, OFFERS, think=False) == ("a", "look", "")
    assert parse("look", OFFERS, think=False) == ("", "", MALFORMED)
    twice = "<action>look</action><action>go to desk 1</action>"
    assert parse(twice, OFFERS, think=False) == ("", "go to desk 1", MALFORMED)


@pytest.mark.parametrize(
    ("action", "valid"),
    [
        ("search[red shoes]", True),
        ("search[a [b] c]", True),
        ("search[]", False),
        ("search[red", False),
        ("search", False),
        ("search red shoes", False),
        ("find[red shoes]", False),
        ("research[red shoes]", False),
        ("click[Buy]", True),
        ("click[Back]", False),
        ("", False),
    ],
)
def test_placeholders_admit_any_argument(action, valid):
    assert is_admissible(action, ("search[<your query>]", "click[Buy]")) is valid


PIECES = ["<think>", "</think>", "<action>", "</action>", "look", "\n", " ", "<", "search[", "]"]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=14).map("".join)),
    st.lists(st.sampled_from(["look", "search[<x>]", "[<x>]", "", "<think>"]), max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_never_raises_and_valid_means_offered(response, offers, finished, think):
    found = parse(response, offers, finished=finished, think=think)
    assert found.invalid in ("", UNFINISHED, MALFORMED, INADMISSIBLE)
    assert (found.invalid == UNFINISHED) is (not finished)
    if not found.invalid:
        assert found.action
        assert not offers or is_admissible(found.action, offers)
        assert found.action in response


SEARCH = ("search", "answer")


def test_several_tags_stay_around_the_action():
    found = parse("<think>Who?</think>\n<search> who wrote Emma </search>", tags=SEARCH)
    assert found == ("Who?", "<search>who wrote Emma</search>", "")
    assert parse("<answer>Austen</answer>", think=False, tags=SEARCH).action == (
        "<answer>Austen</answer>"
    )


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("<think>a</think><action>b</action>", ""),
        ("<think>a</think><search>b</answer>", ""),
        ("<think>a</think><search></search>", "<search></search>"),
        ("<think>a</think><search>b</search><answer>c</answer>", "<answer>c</answer>"),
        ("<think>a</think><search>b <answer>c</answer></search>", "<answer>c</answer>"),
        ("<search>b</search>", "<search>b</search>"),
    ],
)
def test_malformed_with_several_tags(response, action):
    found = parse(response, tags=SEARCH)
    assert (found.action, found.invalid) == (action, MALFORMED)
