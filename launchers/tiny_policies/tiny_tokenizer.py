"""Builds the small lossless tokeniser that ships with the project.

A byte-level BPE of about a thousand tokens in the Hugging Face format: every
byte is a token, so any text can be written; every frequent word with its leading
space is one token, so the texts it was built for cost about one token per word;
every digit is its own token, so numbers are spelt, not memorised.

Ordinary BPE spends most of a small vocabulary on the intermediate pieces of its
words. Here the words are in the vocabulary themselves (``ignore_merges``: a word
found whole is taken whole, as in Llama 3), and only the rest, a quarter of the
room, goes to merges, for words never seen.
"""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.models import chat

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_MERGE_SHARE = 0.25
# In the vocabulary whatever the corpus says: what opens a turn, and how numbers
# are spelt ("Ġ" is the byte-level spelling of a space).
_ALWAYS = (*chat.ROLES, *(f"Ġ{digit}" for digit in range(10)))

# Like GPT-2, with two departures: digits stand alone, and 's, 't, ... are a
# contraction only at the end of a word ('take' in quotes must not become 't|ake).
_PATTERN = (
    r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build(
    corpus: Iterable[str],
    directory: str | Path,
    *,
    vocab_size: int = 1024,
    phrases: Sequence[str] = (),
    tags: Sequence[str] = ("action",),
) -> int:
    """Writes a tokeniser fitted to `corpus` into `directory`; same corpus, same bytes.

    Args:
      corpus: texts; only the counts of their words matter, not their order.
      directory: receives tokenizer.json, tokenizer_config.json (with the ChatML
        template) and special_tokens_map.json.
      vocab_size: number of tokens wanted, control tokens and tags included.
      phrases: frequent strings of several words, each one ordinary token.
      tags: names of what encloses an action; their opening and closing are a token each.

    Returns:
      The number of tokens: `vocab_size`, or fewer if the corpus has too few words.

    Raises:
      SkillRLError: `vocab_size` is too small for the bytes and the added tokens.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    marks = [f"<{slash}{tag}>" for tag in ("think", *tags) for slash in ("", "/")]
    whole_strings = (*marks, *phrases)  # ordinary tokens: visible in decoded text
    room = vocab_size - 256 - len(CONTROL_TOKENS) - len(whole_strings)
    if room < 0:
        raise SkillRLError(
            f"vocab_size={vocab_size} has no room for the 256 bytes and "
            f"{len(CONTROL_TOKENS) + len(whole_strings)} added tokens: use at least "
            f"{vocab_size - room}"
        )
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    added = [tokenizers.AddedToken(name, normalized=False, special=True) for name in CONTROL_TOKENS]
    ordinary = [
        tokenizers.AddedToken(name, normalized=False, special=False) for name in whole_strings
    ]

    words = _count_words(corpus, splitter, (*CONTROL_TOKENS, *whole_strings))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _learn_merges(words, int(room * _MERGE_SHARE))
    vocabulary = list(dict.fromkeys([*alphabet, *(a + b for a, b in merges), *_ALWAYS]))
    known = set(vocabulary)
    whole = [word for word in _by_saving(words, merges) if word not in known]
    vocabulary = (vocabulary + whole)[: 256 + room]

    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            vocab={token: id for id, token in enumerate(vocabulary)},
            merges=merges,
            ignore_merges=True,
        )
    )
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(added)
    tokenizer.add_tokens(ordinary)

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **names,
        "bos_token": None,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
        "chat_template": chat.TEMPLATE,
    }
    contents = (tokenizer.to_str(pretty=True), _pretty(config), _pretty(names))
    for name, content in zip(_FILES, contents, strict=True):
        (directory / name).write_text(content + "\n", encoding="utf-8")
    return tokenizer.get_vocab_size(with_added_tokens=True)


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _count_words(
    corpus: Iterable[str], splitter: Any, whole: Sequence[str]
) -> collections.Counter[str]:
    """Counts the pieces that `splitter` cuts the texts into, in byte-level spelling."""
    counts: collections.Counter[str] = collections.Counter()
    for text in corpus:
        for name in whole:
            text = text.replace(name, "\x00")
        for part in text.split("\x00"):
            counts.update(word for word, _ in splitter.pre_tokenize_str(part))
    return counts


def _learn_merges(words: dict[str, int], count: int) -> list[tuple[str, str]]:
    """Learns merges by byte-pair encoding (Sennrich et al. 2016); ties go to the smaller pair."""
    pieces = {word: tuple(word) for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for word, parts in pieces.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = {word: _merge(parts, best) for word, parts in pieces.items()}
    return merges


def _merge(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    if pair[0] not in parts:
        return parts
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def _by_saving(words: dict[str, int], merges: list[tuple[str, str]]) -> list[str]:
    """Sorts words by the number of tokens that knowing them whole would save."""

    def saving(word: str) -> int:
        parts = tuple(word)
        for pair in merges:
            parts = _merge(parts, pair)
        return words[word] * (len(parts) - 1)

    savings = {word: saving(word) for word in words}
    return [word for word in sorted(words, key=lambda w: (-savings[w], w)) if savings[word] > 0]
