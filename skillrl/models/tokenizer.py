"""Turns text into token ids and back, where text can never turn into control tokens.

A `Tokenizer` wraps the Rust tokeniser of a Hugging Face directory. Loading
``tokenizer.json`` directly is about ten times lighter than going through
transformers, which is used only for directories that lack that file.

The one rule that differs from the Hugging Face default: control tokens
(``<|im_start|>``, ``<|im_end|>``, ...) written inside a text are encoded as
ordinary characters. What an environment or a web page says can therefore not
forge a turn of the conversation; control tokens enter a prompt only as ids
(see `skillrl.models.chat`).
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrl.errors import SkillRLError
from skillrl.models import directory as model_directory
from skillrl.models import intact

if TYPE_CHECKING:
    import tokenizers

_LOG = logging.getLogger(__name__)

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"


class Tokenizer:
    """Tokenises, with ChatML control tokens; immutable after loading.

    Attributes:
      directory: where it was loaded from (exports copy the files from there).
    """

    def __init__(self, directory: Path, backend: tokenizers.Tokenizer, names: dict[str, str]):
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # control tokens in a text stay text
        self.directory = directory
        self._backend = backend
        self._names = names
        controls = {self.im_start_id, self.im_end_id, self.eos_id, self.pad_id}
        forged = controls & set(self.encode("".join(map(self.token, sorted(controls)))))
        if forged:
            raise SkillRLError(
                f"the tokenizer in {directory} turns the text {self.token(min(forged))!r} into a "
                "control token, so observations could forge turns of the conversation: mark that "
                'token "special": true in its tokenizer.json'
            )

    @classmethod
    def load(cls, directory: str | Path) -> Tokenizer:
        """Loads the tokeniser of a Hugging Face model directory.

        Raises:
          Corrupt: a file has another hash than is known for it.
          SkillRLError: if the directory holds no tokeniser, it cannot be read, or
            it has no ChatML control tokens.
        """
        directory = Path(directory)
        intact.check(directory, model_directory.TOKENIZER_FILES)
        _warn_of_other_chats(directory)
        return cls(directory, _load_backend(directory), _read_names(directory))

    def encode(self, text: str) -> list[int]:
        """Encodes `text` without control tokens, and adds nothing at either end.

        ``decode(encode(text)) == text``, except that a tokeniser with a Unicode
        normaliser (Qwen: NFC) gives the normal form back.

        Raises:
          SkillRLError: if the text holds lone surrogates, which are not Unicode text.
        """
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except TypeError as error:  # also what the Rust binding says of a lone surrogate
            lone = re.search("[\ud800-\udfff]", text)
            if lone is None:
                raise
            raise SkillRLError(
                f"cannot tokenise a text with a lone surrogate at character {lone.start()}: "
                'decode the bytes that it came from with errors="replace"'
            ) from error

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Decodes `ids`; control tokens are left out unless `keep_special`.

        Bytes that are not valid UTF-8 (a character cut in two) become U+FFFD.
        """
        return self._backend.decode(list(ids), skip_special_tokens=not keep_special)

    def token(self, id: int) -> str:
        """Returns the vocabulary entry of one id, as the tokeniser spells it."""
        token = self._backend.id_to_token(id)
        if token is None:
            raise SkillRLError(f"token id {id} is outside the vocabulary of {self.vocab_size}")
        return token

    def special(self, name: str) -> int:
        """Returns the id of an added token such as ``<|im_end|>`` or ``<think>``."""
        id = self._backend.token_to_id(name)
        if id is None:
            raise SkillRLError(
                f"the tokenizer in {self.directory} has no token {name!r}: use a checkpoint with "
                "the ChatML format, such as Qwen2.5-Instruct or Qwen3"
            )
        return id

    @functools.cached_property
    def vocab_size(self) -> int:
        """Counts ids, added tokens included (a model may have more rows)."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    @functools.cached_property
    def rows(self) -> int:
        """Counts rows that an embedding needs: one more than the largest id, as ids have gaps."""
        return 1 + max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)

    @functools.cached_property
    def im_start_id(self) -> int:
        """Returns the id of ``<|im_start|>``, which opens a turn."""
        return self.special(IM_START)

    @functools.cached_property
    def im_end_id(self) -> int:
        """Returns the id of ``<|im_end|>``, which ends a turn; sampling stops at it."""
        return self.special(IM_END)

    @functools.cached_property
    def eos_id(self) -> int:
        """Returns the id of the tokeniser's own end-of-sequence token, else of the end of turn."""
        return self.special(self._names.get("eos_token", IM_END))

    @functools.cached_property
    def pad_id(self) -> int:
        """Returns the id that fills rows on the right; it is masked everywhere, so any would do."""
        return self.special(self._names["pad_token"]) if "pad_token" in self._names else self.eos_id


def _load_backend(directory: Path) -> tokenizers.Tokenizer:
    import tokenizers  # here, because importing a room should not load Rust

    path = directory / "tokenizer.json"
    if os.path.isfile(path):
        try:
            with open(path, "rb") as file:
                if model_directory.pointer(file.read(64)):
                    raise ValueError(model_directory.POINTER)
            return tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust binding raises plain Exception
            raise SkillRLError(
                f"cannot read {path}: {error}; download the model again or point "
                "model.policy_path at a complete directory"
            ) from error
    if not model_directory.has_tokenizer(directory):
        raise SkillRLError(
            f"{directory} holds no tokenizer (neither tokenizer.json nor vocab.json with "
            "merges.txt): copy the tokenizer files of the base model into it"
        )
    import transformers

    try:
        loaded = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        return tokenizers.Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except Exception as error:  # whatever a file of another shape makes of it
        raise SkillRLError(
            f"cannot read the tokenizer in {directory} ({type(error).__name__}: "
            f"{model_directory.shown(str(error))}); download the model again"
        ) from error


def _read_names(directory: Path) -> dict[str, str]:
    """Reads ``eos_token`` and ``pad_token`` of tokenizer_config.json, where they are given."""
    path = directory / _SETTINGS
    if not os.path.isfile(path):
        return {}
    config = model_directory.read_object(path)
    names = {}
    for key in ("eos_token", "pad_token"):
        value = config.get(key)
        if isinstance(value, dict):
            value = value.get("content")
        if value is not None and not isinstance(value, str):
            raise SkillRLError(
                f"{path}: {key} is {model_directory.shown(repr(config[key]))}, not a token; "
                "use the file that came with the model"
            )
        if value:
            names[key] = value
    return names


_SETTINGS = "tokenizer_config.json"


@functools.cache  # said once for each model
def _warn_of_other_chats(directory: Path) -> None:
    """Warns of a model whose chat template is not ChatML, the format that prompts are in."""
    own = directory / "chat_template.jinja"
    if os.path.isfile(own):
        try:
            templates: list[Any] = [own.read_bytes().decode("utf-8", "replace")]
        except OSError as error:
            raise SkillRLError(f"{own}: cannot be read ({error.strerror}).") from None
    elif os.path.isfile(directory / _SETTINGS):
        found = model_directory.read_object(directory / _SETTINGS).get("chat_template")
        named = found if isinstance(found, list) else [{"template": found}]
        templates = [item.get("template") for item in named if isinstance(item, dict)]
    else:
        templates = []
    said = [text for text in templates if isinstance(text, str) and text.strip()]
    if said and not any(IM_START in text for text in said):
        _LOG.warning(
            "%s has a chat template without %s: it has learned another format than ChatML, in "
            "which it is asked here, so it may understand its prompts badly",
            directory,
            IM_START,
        )
