"""Renders ChatML piece by piece, as token ids.

    <|im_start|>system\nS<|im_end|>\n
    <|im_start|>user\nU<|im_end|>\n
    <|im_start|>assistant\nR<|im_end|>\n

A hand-written renderer rather than the checkpoint's own template, for three
reasons: what was rendered once never changes when turns are added (the template
of Qwen3 drops earlier ``<think>`` blocks), no system prompt is slipped in
(Qwen2.5's does), and text cannot forge a control token. On conversations that
use none of these the ids equal those of transformers' ``apply_chat_template``.

Only what the policy itself says is trained on: the response and its end-of-turn
token, not the line break after it.
"""

from __future__ import annotations

from collections.abc import Iterable

from skillrl.errors import SkillRLError
from skillrl.models.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The same format as a Jinja template, for the tokenisers that we write."""


def turn(tokenizer: Tokenizer, role: str, text: str) -> list[int]:
    """Renders a complete turn: ``<|im_start|>role\\ntext<|im_end|>\\n``."""
    return _opened(tokenizer, role, text) + _closing(tokenizer)


def open_turn(tokenizer: Tokenizer, role: str) -> list[int]:
    """Renders what precedes the text of a turn: ``<|im_start|>role\\n``."""
    return _opened(tokenizer, role, "")


def response(tokenizer: Tokenizer, text: str) -> list[int]:
    """Renders what the policy would have sampled to say `text`: its tokens and ``<|im_end|>``.

    Tokenised on its own, as in sampling, so that no token straddles the border
    with the prompt. All of these ids belong in the loss mask.
    """
    return [*tokenizer.encode(text), tokenizer.im_end_id]


def prompt_prefix(tokenizer: Tokenizer, system: str, user_start: str) -> list[int]:
    """Renders the shared part of a prompt: system turn (if any) and the start of the user turn.

    The user turn stays open; `prompt_suffix` continues and ends it. The two are
    tokenised separately and joined as ids.
    """
    head = turn(tokenizer, "system", system) if system else []
    return head + _opened(tokenizer, "user", user_start)


def prompt_suffix(tokenizer: Tokenizer, user_rest: str) -> list[int]:
    """Renders a step's own part of a prompt: rest of the user turn, then the opened answer."""
    return tokenizer.encode(user_rest) + _closing(tokenizer) + open_turn(tokenizer, "assistant")


def render(
    tokenizer: Tokenizer, messages: Iterable[tuple[str, str]]
) -> tuple[list[int], list[bool]]:
    """Renders a whole conversation of (role, text) as (ids, loss mask), both of length T.

    The rendering of a conversation is a prefix of the rendering of every
    conversation that continues it.
    """
    ids: list[int] = []
    mask: list[bool] = []

    def add(piece: list[int], *, trained: bool) -> None:
        ids.extend(piece)
        mask.extend([trained] * len(piece))

    for role, text in messages:
        if role == "assistant":
            add(open_turn(tokenizer, role), trained=False)
            add(response(tokenizer, text), trained=True)
            add(tokenizer.encode("\n"), trained=False)
        else:
            add(turn(tokenizer, role, text), trained=False)
    return ids, mask


def _opened(tokenizer: Tokenizer, role: str, text: str) -> list[int]:
    if role not in ROLES:
        raise SkillRLError(f"unknown chat role {role!r}: use one of {', '.join(ROLES)}")
    return [tokenizer.im_start_id, *tokenizer.encode(f"{role}\n{text}")]


def _closing(tokenizer: Tokenizer) -> list[int]:
    return [tokenizer.im_end_id, *tokenizer.encode("\n")]
