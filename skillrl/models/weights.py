"""Weights <-> Hugging Face safetensors, in both directions.

Import reads slices of the files straight into the shards of the arrays, so that no
process ever holds more than its own part. Export writes a directory that
transformers, vLLM and SGLang load as it is.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401  registers bfloat16 with numpy; safetensors cannot read it otherwise
import numpy as np
import safetensors
import safetensors.numpy

from skillrl.errors import SkillRLError
from skillrl.models import hf_config, parameters
from skillrl.models.config import ModelConfig
from skillrl.models.hf_config import read_config
from skillrl.models.tokenizer import Tokenizer

__all__ = ["load", "read_config", "save"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
_INCOMPLETE = "download or copy the model again"


def load(
    directory: str | Path,
    config: ModelConfig,
    *,
    shardings: Mapping[str, Any] | None = None,
    dtype: Any = None,
) -> dict[str, Any]:
    """Reads the parameters of a Hugging Face checkpoint.

    Args:
      directory: holds ``model.safetensors``, or shards and their index.
      config: sizes of the model, as from `read_config`.
      shardings: tree of `jax.sharding.Sharding` shaped like the parameters; None puts
        everything on the first local device.
      dtype: of the parameters; None keeps what the file has.

    Returns:
      Parameters as a nested dict (see `skillrl.models.parameters`).

    Raises:
      SkillRLError: if a shard is missing or cut short, or a tensor is missing, unknown
        or of another shape than the config says.
    """
    directory = Path(directory)
    if shardings is None:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        where = dict.fromkeys(parameters.specs(config), device)
    else:
        where = parameters.flatten(shardings)
    with contextlib.ExitStack() as stack:
        tensors = open_tensors(directory, stack)
        table = parameters.specs(config)
        check_tensors(directory, tensors, table)
        flat = {path: read(tensors, spec, where[path], dtype) for path, spec in table.items()}
        jax.block_until_ready(flat)
    return parameters.unflatten(flat)


def save(
    directory: str | Path,
    params: Mapping[str, Any],
    config: ModelConfig,
    *,
    tokenizer_dir: str | Path | None = None,
    max_shard_bytes: float = 5e9,
    dtype: str | None = None,
) -> None:
    """Writes a Hugging Face model directory, whole or not at all.

    Every process of a multi-host run must call it; the first one writes.

    Args:
      directory: is created, or replaced if it is a model directory.
      params: parameters, in any dtype and sharding.
      config: sizes of the model.
      tokenizer_dir: directory whose tokeniser files are copied along.
      max_shard_bytes: weights beyond this go to further files, with an index.
      dtype: of the written weights; None means ``config.dtype``.

    Raises:
      SkillRLError: if the parameters do not fit the config, the tokeniser is missing,
        or the directory holds something that is not a model.
    """
    parameters.check_total(params, config)
    tokenizer = None if tokenizer_dir is None else Tokenizer.load(tokenizer_dir)
    stored = np.dtype(dtype or config.dtype)
    with replacing(Path(directory), marker="config.json") as temporary:
        if temporary is not None:
            _write_descriptions(temporary, config, tokenizer)
        _write_weights(temporary, params, config, stored, max_shard_bytes)


# ---------------------------------------------------------------- import


class Tensor:
    """A tensor of an open file; nothing is read until a slice is asked for."""

    def __init__(self, file: Path, handle: Any, name: str):
        self.file = file
        self.slice = handle.get_slice(name)
        self.shape = tuple(self.slice.get_shape())


def open_tensors(
    directory: Path, stack: contextlib.ExitStack, single: str = SINGLE
) -> dict[str, Tensor]:
    """Every tensor of the checkpoint by name; without an index all are in the file `single`."""
    index = directory / INDEX
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise SkillRLError(f"cannot read {index}: {error!r}; {_INCOMPLETE}") from error
        files = sorted(set(weight_map.values()))
    else:
        weight_map, files = None, [single]
    tensors: dict[str, Tensor] = {}
    for name in files:
        file = directory / name
        if not file.is_file():
            named = f" (named by {INDEX})" if weight_map else f", nor is there a {INDEX}"
            raise SkillRLError(f"weights file {file} does not exist{named}: {_INCOMPLETE}")
        try:
            handle = stack.enter_context(safetensors.safe_open(file, framework="np"))
        except (safetensors.SafetensorError, OSError) as error:
            raise SkillRLError(
                f"weights file {file} is damaged or cut short ({file.stat().st_size} bytes: "
                f"{error}): {_INCOMPLETE}"
            ) from error
        tensors |= {key: Tensor(file, handle, key) for key in handle.keys()}  # noqa: SIM118
    for name, file_name in (weight_map or {}).items():
        if name not in tensors:
            raise SkillRLError(
                f"{INDEX} says that {name!r} is in {directory / file_name}, but it is not: "
                f"{_INCOMPLETE}"
            )
    return tensors


def check_tensors(
    directory: Path,
    tensors: Mapping[str, Tensor],
    table: Mapping[parameters.Path, parameters.ParameterSpec],
) -> None:
    """Refuses tensors that are missing, unknown or of another shape than the table's."""
    expected = {name: spec.hf_shape for spec in table.values() for name in spec.hf_names}
    for name, shape in expected.items():
        if name not in tensors:
            raise SkillRLError(
                f"tensor {name!r} {shape} is missing from the weights in {directory}: its "
                "config.json belongs to another model, or the download is incomplete"
            )
        found = tensors[name]
        if found.shape != shape:
            raise SkillRLError(
                f"tensor {name!r} in {found.file} has shape {found.shape}, but config.json "
                f"says {shape}: use the config.json that came with the weights (the first axis "
                "of the embedding is vocab_size)"
            )
    # A tied checkpoint may hold its head again, and old ones hold rotary constants.
    unknown = sorted(
        name
        for name in tensors
        if name not in expected and name != "lm_head.weight" and "rotary_emb" not in name
    )
    if unknown:
        raise SkillRLError(
            f"the weights in {directory} hold {len(unknown)} tensors that the model of its "
            f"config.json does not use, such as {unknown[0]!r}: they would be ignored silently; "
            "use a plain Qwen2, Qwen2.5 or Qwen3 checkpoint (merge adapters first)"
        )


def read(
    tensors: Mapping[str, Tensor],
    spec: parameters.ParameterSpec,
    sharding: jax.sharding.Sharding,
    dtype: Any,
) -> jax.Array:
    """One parameter, each shard from its own slices of the files."""
    names = spec.hf_names

    def one(name: str, index: tuple[slice, ...]) -> np.ndarray:
        box = tensors[name].slice[spec.hf_slices(index)]
        return spec.from_hf(box if dtype is None else box.astype(dtype), index)

    def shard(index: Any) -> np.ndarray:
        if spec.stacked:
            return np.stack([one(name, index[1:]) for name in names[index[0]]])
        return np.ascontiguousarray(one(names[0], index))

    return jax.make_array_from_callback(spec.shape, sharding, shard)


# ---------------------------------------------------------------- export


def _write_weights(
    directory: Path | None,
    params: Mapping[str, Any],
    config: ModelConfig,
    dtype: np.dtype,
    max_shard_bytes: float,
) -> None:
    plan = _plan(config, dtype.itemsize, max_shard_bytes)
    flat = parameters.flatten(params)
    total = 0
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(plan, start=1):
        file = SINGLE if len(plan) == 1 else f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        # Every process takes part in fetching: a shard may live on another host.
        values = {
            name: spec.to_hf(fetch(flat[path], layer).astype(dtype))
            for name, path, spec, layer in tensors
        }
        if directory is not None:
            safetensors.numpy.save_file(values, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(values, file)
        total += sum(value.nbytes for value in values.values())
    if directory is not None and len(plan) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        _write_json(directory / INDEX, index)


_Planned = tuple[str, parameters.Path, parameters.ParameterSpec, int | None]


def _plan(config: ModelConfig, itemsize: int, max_shard_bytes: float) -> list[list[_Planned]]:
    """Which tensors go to which file; a tensor is never cut."""
    files: list[list[_Planned]] = [[]]
    size = 0
    for planned in _in_order(config):
        bytes_ = math.prod(planned[2].hf_shape) * itemsize
        if files[-1] and size + bytes_ > max_shard_bytes:
            files.append([])
            size = 0
        files[-1].append(planned)
        size += bytes_
    return files


def _in_order(config: ModelConfig) -> Iterator[_Planned]:
    """Embedding, then layer by layer, then the rest."""
    table = parameters.specs(config)
    stacked = {path: spec for path, spec in table.items() if spec.stacked}
    for path, spec in table.items():
        if path[0] == "embed":
            yield spec.hf_name, path, spec, None
    for layer in range(config.num_layers):
        for path, spec in stacked.items():
            yield spec.hf_names[layer], path, spec, layer
    for path, spec in table.items():
        if path[0] != "embed" and not spec.stacked:
            yield spec.hf_name, path, spec, None


@jax.jit
def _at_layer(value: jax.Array, layer: jax.Array) -> jax.Array:
    """``value[layer]``, compiled once per shape rather than once per layer."""
    return jax.lax.dynamic_index_in_dim(value, layer, keepdims=False)


def fetch(value: jax.Array, layer: int | None) -> np.ndarray:
    """An array, or one layer of a stacked one, whole on every host; all must take part."""
    part = value if layer is None else _at_layer(value, np.int32(layer))
    if not part.is_fully_addressable:
        from jax.experimental import multihost_utils

        part = multihost_utils.process_allgather(part, tiled=True)
    return np.asarray(part)


def _write_descriptions(directory: Path, config: ModelConfig, tokenizer: Tokenizer | None) -> None:
    """config.json, generation_config.json and the tokeniser's files."""
    token_ids: dict[str, Any] = {}
    if tokenizer is not None:
        ends = list(dict.fromkeys([tokenizer.im_end_id, tokenizer.eos_id]))
        token_ids = {
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": tokenizer.pad_id,
        }
        for name in TOKENIZER_FILES:
            if (tokenizer.directory / name).is_file():
                shutil.copyfile(tokenizer.directory / name, directory / name)
    _write_json(directory / "config.json", hf_config.to_json(config, token_ids=token_ids))
    generation = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, **token_ids}
    _write_json(directory / "generation_config.json", generation)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing(directory: Path, *, marker: str) -> Iterator[Path | None]:
    """A directory to write into, put in place of `directory` at the end, whole or not at all.

    Args:
      directory: is created, or replaced if it holds a file called `marker`.
      marker: a file that the written directory will have.

    Yields:
      Where to write; None in all processes of a multi-host run but the first.

    Raises:
      SkillRLError: the directory exists, is not empty and has no `marker`.
    """
    if jax.process_index() != 0:
        yield None
        return
    directory = directory.absolute()
    _check_replaceable(directory, marker)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        _publish(temporary, directory, marker)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_replaceable(directory: Path, marker: str) -> None:
    if not directory.exists():
        return
    ours = directory.is_dir() and (directory / marker).is_file()
    if not ours and not (directory.is_dir() and not any(directory.iterdir())):
        raise SkillRLError(
            f"will not replace {directory}: it exists and has no {marker}; export to another "
            "path or remove it first"
        )


def _publish(temporary: Path, directory: Path, marker: str) -> None:
    """Makes the files durable, then puts the directory in place."""
    readable = (temporary / marker).stat().st_mode
    for path in temporary.iterdir():
        path.chmod(readable)  # safetensors writes files that only their owner may read
        _sync(path)
    _sync(temporary)
    old = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    if directory.exists():
        os.rename(directory, old)
    os.rename(temporary, directory)
    _sync(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
