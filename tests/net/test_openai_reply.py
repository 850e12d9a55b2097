"""A chat completion is text, a stated reason why there is none, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.net.openai_client import stated_error
from skillrl.net.openai_reply import ChatReply, read_reply
from tests.loopback import chat

KEYS = st.sampled_from(
    ["choices", "message", "content", "text", "type", "thinking", "refusal", "finish_reason",
     "logprobs", "logprob", "error", "code", "reasoning", "x"]
)  # fmt: skip
WORDS = st.sampled_from(["text", "thinking", "refusal", "length", "stop"]) | st.text(max_size=3)
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.fixed_dictionaries({"content": SHAPES}, optional={"refusal": SHAPES})
CHOICES = st.fixed_dictionaries(
    {"message": SHAPES | MESSAGES}, optional={"finish_reason": SHAPES, "logprobs": SHAPES}
)


@given(SHAPES | st.fixed_dictionaries({"choices": SHAPES | st.lists(CHOICES, max_size=2)}))
def test_any_json_is_a_reply_or_a_value_error(answer):
    stated_error(answer)
    try:
        reply = read_reply(answer)
    except ValueError:
        return
    assert isinstance(reply.text, str)
    assert isinstance(reply.problem, str)
    assert reply.problem or reply.text.strip()


def said(content, finish="stop", **message):
    body = chat(content)
    body["choices"][0]["message"] |= message
    body["choices"][0]["finish_reason"] = finish
    return read_reply(body)


def test_parts_of_text_are_joined_and_thoughts_stay_apart():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}
    parts = [
        thinking,
        {"type": "text", "text": "one "},
        "two",
        {"type": "output_text", "text": "!"},
    ]
    reply = said(parts)
    assert (reply.text, reply.thought, reply.problem) == ("one two!", 3, "")
    assert said("one", reasoning_content="hmm").text == "one"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (said(None, refusal="I cannot"), "refused: 'I cannot' (finish_reason=stop)"),
        (said([{"type": "refusal", "refusal": "No"}]), "refused: 'No'"),
        (said("", "content_filter"), "filter (finish_reason=content_filter)"),
        (said("[1, 2", "length"), "token limit after 5 characters (finish_reason=length)"),
        (
            said(None, "length", reasoning_content="abcd"),
            "token limit before any text (finish_reason=length, after 4 characters of reasoning)",
        ),
        (said(" ", "stop", reasoning="abc"), "empty (finish_reason=stop, after 3 characters"),
        (said("", None), "empty (finish_reason=not given)"),
        (said("fine"), ""),
    ],
)
def test_the_reason_is_the_servers_own(reply, why):
    assert why in reply.problem
    assert bool(why) is bool(reply.problem)


@pytest.mark.parametrize("name", ["length", "MAX_TOKENS", "model_length"])
def test_names_of_a_cut(name):
    assert not ChatReply(text="x", finish_reason=name).finished


@pytest.mark.parametrize(
    "body",
    [
        {}, [], None, {"choices": None}, {"choices": []}, {"choices": [None]},
        {"choices": [{"text": "old"}]}, {"choices": [{"delta": {"content": "x"}}]},
        {"choices": [{"message": {"content": 3}}]}, {"choices": [{"message": {"content": [3]}}]},
        {"choices": [{"message": {"content": [{"type": "image_url"}]}}]},
        {"choices": [{"message": {"content": [{"type": "text", "text": None}]}}]},
    ],
)  # fmt: skip
def test_what_is_no_chat_completion(body):
    with pytest.raises(ValueError):
        read_reply(body)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), "-1", None, 0.5])
def test_log_probabilities_are_finite_and_not_positive(bad):
    with pytest.raises(ValueError, match="log-probabilities"):
        read_reply(chat("x", [-0.5, bad]))
    assert read_reply(chat("x", [-0.5, 0])).token_logprobs == (-0.5, 0.0)
    assert read_reply(chat("x")).token_logprobs is None


@pytest.mark.parametrize(
    ("body", "message", "status"),
    [
        ({"error": {"message": "slow down", "code": 429}}, "slow down", 429),
        ({"error": {"message": "m", "code": "502"}}, "m", 502),
        ({"error": {"message": "m", "code": "too_long"}}, "m (too_long)", None),
        ({"error": {"code": True}}, "{'code': True}", None),
        ({"error": "model not loaded"}, "model not loaded", None),
        ({"object": "error", "message": "m", "code": 400}, "m", 400),
        ({"choices": [{"error": {"message": "provider", "code": 503}}]}, "provider", 503),
    ],
)
def test_errors_in_good_answers(body, message, status):
    found = stated_error(body)
    assert (found.message, found.status) == (message, status)


@pytest.mark.parametrize("body", [{"error": None, "choices": []}, {"error": {}}, [], 5, {}])
def test_no_error(body):
    assert stated_error(body) is None
