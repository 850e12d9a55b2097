"""Judges what lies in a model directory by its files alone: neither JAX nor weights are loaded.

A directory that is no model here is often something else that its owner knows well (an
adapter, a trainer's checkpoint, PyTorch's own format): it is called by its name, with the
command that makes a model of it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.text import printable, repair
from skillrl.models import intact

CONFIG = "config.json"
SINGLE = "model.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
INCOMPLETE = "download or copy the model again"

_LARGEST_JSON = 64 * 2**20
_HUB = re.compile(r"(https?://(?:www\.)?(?:huggingface\.co|hf\.co)/)?([\w-][\w.-]*/[\w.-]+)/?")


def check(directory: Path, *, named: str, setting: str = "model.policy_path") -> None:
    """Checks that `directory` looks like a whole Hugging Face model.

    Args:
      directory: where `named` leads.
      named: as the user wrote it.
      setting: where it was written.

    Raises:
      SkillRLError: it is not; the message says what it is instead, and the remedy.
    """
    said = f"{setting} '{shown(named)}'"
    if not os.path.isdir(directory):
        raise SkillRLError(f"{said} is not a directory: {missing_advice(named, setting)}")
    adapter = os.path.isfile(directory / ADAPTER_CONFIG)
    if not os.path.isfile(directory / CONFIG) and not adapter:
        raise SkillRLError(
            f"{said} holds no {CONFIG}: {instead(directory)}give a Hugging Face model directory, "
            "or leave it empty to use model.policy_model_id"
        )
    absent = missing(directory) if os.path.isfile(directory / CONFIG) else [SINGLE]
    if adapter and absent:
        raise SkillRLError(f"{said} {_IS_ADAPTER}")
    if adapter:
        raise SkillRLError(
            f"{said} holds a model ({CONFIG}) and an adapter ({ADAPTER_CONFIG}), and programs "
            f"differ in which of them they load: delete {ADAPTER_CONFIG} there to use the model, "
            "or move the adapter to a directory of its own"
        )
    if absent:
        raise SkillRLError(f"{said}: {absence(directory, absent[0])}")


_IS_ADAPTER = (
    "is a LoRA adapter, not a whole model: give it as model.adapter_path, and the model that it "
    "was made for as model.policy_path (or model.policy_model_id)"
)


def is_adapter(directory: Path) -> bool:
    """Tells whether `directory` holds an adapter in PEFT's format, and no whole model."""
    if not os.path.isfile(directory / ADAPTER_CONFIG):
        return False
    return not os.path.isfile(directory / CONFIG) or bool(missing(directory))


def is_run(directory: Path) -> bool:
    """Tells whether `directory` is one of our runs, whose ``config.json`` is no model's."""
    try:
        fields = read_object(directory / CONFIG)
    except SkillRLError:
        return False
    return "model_type" not in fields and {"env", "rl", "model"} <= fields.keys()


def weight_files(directory: Path, single: str = SINGLE) -> tuple[list[str], Mapping[str, str]]:
    """Lists the files with the weights, and each tensor's file where an index says so.

    As transformers reads it, the file `single` is all if it is there, index or not.

    Raises:
      Corrupt: the index has another hash than is known for it.
      SkillRLError: it is of another shape.
    """
    index = directory / f"{single}.index.json"
    if os.path.isfile(directory / single) or not os.path.isfile(index):
        return [single], {}
    intact.check(directory, [index.name])
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SkillRLError(f"cannot read {index}: it has no weight_map of tensors; {INCOMPLETE}")
    for name, file in weight_map.items():
        if not isinstance(file, str) or not file or file != os.path.basename(file):
            raise SkillRLError(
                f"cannot read {index}: it says that {shown(name)!r} is in {shown(repr(file))}, "
                f"which is no name of a file beside it; {INCOMPLETE}"
            )
    return sorted(set(weight_map.values())), weight_map


def missing(directory: Path, single: str = SINGLE) -> list[str]:
    """Lists weight files that the directory should hold and does not."""
    return [
        name for name in weight_files(directory, single)[0] if not os.path.isfile(directory / name)
    ]


def has_tokenizer(directory: Path) -> bool:
    """Tells whether the files of a tokenizer are there."""
    there = {name for name in TOKENIZER_FILES if os.path.isfile(directory / name)}
    return "tokenizer.json" in there or {"vocab.json", "merges.txt"} <= there


def absence(directory: Path, name: str, single: str = SINGLE) -> str:
    """Says that the weight file `name` is missing, and what is there in its place."""
    index = f"{single}.index.json"
    sharded = name != single
    why = f" (named by {index})" if sharded else f", nor is there a {index}"
    link = _dangling(directory / name)
    other = "" if sharded or link else instead(directory)
    remedy = "" if other else INCOMPLETE
    return f"weights file {directory / name} does not exist{why}: {link}{other}{remedy}".rstrip(
        ": ;"
    )


def instead(directory: Path) -> str:
    """Says what a directory without a model holds, and the way to one; ends in ``; `` or empty."""
    return "".join(f"{hint}; " for hint in list(_hints(directory))[:1])


def _hints(directory: Path) -> Iterator[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        yield f"it cannot be read ({error.strerror})"
        return
    where = shlex.quote(str(directory))
    if not names:
        yield "it is empty"
    if link := _dangling(directory / CONFIG):
        yield link.removesuffix("; ")
    if any(re.fullmatch(r"model_world_size_\d+_rank_\d+\.pt", name) for name in names):
        yield (
            "it holds the shards of verl's FSDP; join them with: python -m verl.model_merger merge "
            f"--backend fsdp --local_dir {where} --target_dir NEW"
        )
    if "zero_to_fp32.py" in names:
        yield (
            "it holds the shards of DeepSpeed ZeRO; join them with: python "
            f"{where}/zero_to_fp32.py {where} NEW --safe_serialization, and copy the config and "
            "tokenizer files of the base model into NEW"
        )
    if any(name.endswith(".distcp") for name in names):
        yield (
            "it holds a distributed checkpoint of PyTorch; join it with: accelerate merge-weights "
            f"{where} NEW, and copy the config and tokenizer files of the base model into NEW"
        )
    pickles = [n for n in names if n.endswith((".bin", ".pt", ".pth")) and "training_args" not in n]
    if pickles and "adapter_model.bin" not in pickles:
        yield (
            f"its weights ({pickles[0]}) are in PyTorch's own format, which may run code when it "
            'is read; if you trust them, convert them with: python -c "import transformers as t; '
            f"d = '{directory}'; t.AutoModelForCausalLM.from_pretrained(d, dtype='auto')"
            ".save_pretrained('NEW'); t.AutoTokenizer.from_pretrained(d).save_pretrained('NEW')\""
        )
    for ending, what in _OTHERS.items():
        if any(name.endswith(ending) for name in names):
            yield f"it holds {what}, which is not read; get the checkpoint in safetensors"
    inside = [
        name
        for name in names
        if any(os.path.isfile(directory / name / file) for file in (CONFIG, ADAPTER_CONFIG))
    ]
    if inside:
        more = f" (or {', '.join(inside[1:4])})" if inside[1:] else ""
        yield f"there is one in it: {directory / inside[0]}{more}"


_OTHERS = {
    ".gguf": "a GGUF file",
    ".h5": "weights for TensorFlow",
    ".msgpack": "weights of Flax",
    ".onnx": "an ONNX file",
}


def missing_advice(named: str, setting: str = "model.policy_path") -> str:
    """Says what to write in place of a path that is no directory."""
    path = expanded(named)
    if os.path.isfile(path):
        if path.suffix == ".gguf":
            return "GGUF files are not read; give the directory of the checkpoint in safetensors"
        return f"it is a file; give the directory that it lies in, {path.parent}"
    if link := _dangling(path):
        return link.removesuffix("; ")
    hub = hub_name(named)
    if hub and setting == "model.adapter_path":
        return (
            "check the path; or if it is a name on the Hugging Face hub, download it and give the "
            f"directory: hf download {hub} --local-dir DIR"
        )
    if hub:
        return (
            "check the path; or if it is a name on the Hugging Face hub, it goes into another "
            f"setting: --set model.policy_path= --set model.policy_model_id={hub}"
        )
    if setting == "model.adapter_path":
        return "give the directory that PEFT's save_pretrained has written"
    return (
        "give a Hugging Face model directory, asset:NAME for one that ships with the package, or "
        "leave it empty to use model.policy_model_id"
    )


def hub_name(text: str) -> str | None:
    """Finds the name on the hub, ``owner/model``, that `text` could mean; None if none."""
    found = _HUB.fullmatch(text)
    return found[2] if found else None


def expanded(named: str | Path) -> Path:
    """Expands ``~`` to the home directory; what can be no path stays as it is."""
    try:
        return Path(paths.expand(named))
    except ValueError:  # a NUL in the name of whose home it is
        return Path(named)


def read_object(path: Path) -> dict[str, Any]:
    """Reads the JSON object in a file of a model directory.

    Raises:
      Corrupt: it cannot be read, and has another hash than is known for it.
      SkillRLError: missing, unreadable, or of another shape.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST_JSON + 1)
        if len(content) > _LARGEST_JSON:
            raise ValueError(f"it is larger than {_LARGEST_JSON >> 20} MiB")
        if pointer(content):
            raise ValueError(POINTER)
        fields = json.loads(content.decode("utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        intact.check(path.parent, [path.name])  # says more, where it knows
        raise SkillRLError(f"cannot read {path}: {error}; {INCOMPLETE}") from None
    if not isinstance(fields, dict):
        raise SkillRLError(f"{path} does not hold a JSON object: {INCOMPLETE}")
    return repair(fields)


POINTER = "it is only a pointer of Git LFS; run git lfs pull in its repository"


def pointer(content: bytes) -> bool:
    """Tells from a file's beginning whether Git left the file itself on its server."""
    return content.startswith(b"version https://git-lfs")


def shown(text: str, limit: int = 200) -> str:
    """Makes `text` fit for a message: no control characters, and its middle cut out if long."""
    text = printable(text)
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}... ({len(text)} characters)"


def _dangling(path: Path) -> str:
    if os.path.islink(path) and not os.path.exists(path):
        return f"{path} is a link to {os.readlink(path)}, which is not there; "
    return ""
