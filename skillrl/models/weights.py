"""Reads and writes weights as Hugging Face safetensors.

Import reads slices of the files straight into the shards of the arrays, so that no
process ever holds more than its own part. Export writes a directory that
transformers, vLLM and SGLang load as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from skillrl.errors import SkillRLError
from skillrl.io import checksums
from skillrl.io.atomic import replace_directory
from skillrl.models import directory as model_directory
from skillrl.models import hf_config, intact, parameters, tensors
from skillrl.models.config import TransformerConfig
from skillrl.models.directory import SINGLE, TOKENIZER_FILES
from skillrl.models.tokenizer import Tokenizer
from skillrl.parallel import processes

_LOG = logging.getLogger(__name__)

INDEX = f"{SINGLE}.index.json"


def read_config(directory: str | Path) -> TransformerConfig:
    """Reads ``config.json``; a head of its own in the weights counts more than what it says.

    Where the config ties the head to the embedding and the file has both, with other numbers,
    they are not tied: transformers 5 reads it so, too.

    Raises:
      SkillRLError: as `hf_config.read_config`; or the weights cannot be opened.
    """
    directory = Path(directory)
    if os.path.isfile(directory / model_directory.CONFIG):
        intact.check(directory, [model_directory.CONFIG])
    config = hf_config.read_config(directory)
    if not config.tie_embeddings or model_directory.missing(directory):
        return config
    with contextlib.ExitStack() as stack:
        if not tensors.has_own_head(tensors.open_tensors(directory, stack, verify=False)):
            return config
    _LOG.warning(
        "%s has tie_word_embeddings, but its weights have an lm_head.weight that differs from "
        "the embedding: the head of the file is used. Set tie_word_embeddings to false there",
        directory / model_directory.CONFIG,
    )
    return dataclasses.replace(config, tie_embeddings=False)


def load(
    directory: str | Path,
    config: TransformerConfig,
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
      Corrupt: a file has another hash than is known for it, or holds a number that is not
        finite or beyond `tensors.LARGEST`.
      SkillRLError: if a shard is missing or cut short, or a tensor is missing, unknown,
        quantised, or of another shape than the config says.
    """
    directory = Path(directory)
    if shardings is None:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        where = dict.fromkeys(parameters.specs(config), device)
    else:
        where = parameters.flatten(shardings)
    with contextlib.ExitStack() as stack:
        found, table = _open(directory, config, stack), parameters.specs(config)
        flat = {
            path: tensors.read(found, spec, sharding=where[path], dtype=dtype)
            for path, spec in table.items()
        }
        jax.block_until_ready(flat)
    return parameters.unflatten(flat)


def check(directory: str | Path, config: TransformerConfig) -> None:
    """Checks that `load` would find files, hashes, names and shapes in order; reads no number.

    Raises:
      Corrupt, SkillRLError: see `load`.
    """
    with contextlib.ExitStack() as stack:
        _open(Path(directory), config, stack)


def _open(
    directory: Path, config: TransformerConfig, stack: contextlib.ExitStack
) -> Mapping[str, tensors.Tensor]:
    there = tensors.open_tensors(directory, stack)
    found = _tied(directory, there) if config.tie_embeddings else there
    tensors.check_tensors(directory, found, parameters.specs(config), spare=(tensors.HEAD,))
    return found


def _tied(directory: Path, found: Mapping[str, tensors.Tensor]) -> Mapping[str, tensors.Tensor]:
    """Finds the tensors of a model whose head is its embedding, under either of its names."""
    if tensors.has_own_head(found):
        raise SkillRLError(
            f"the weights in {directory} have an lm_head.weight that differs from the embedding, "
            "but the config ties the two: set tie_word_embeddings to false in config.json to use "
            "it, or delete it from the weights"
        )
    if tensors.EMBEDDING not in found and tensors.HEAD in found:  # safetensors keeps one name
        return {**found, tensors.EMBEDDING: found[tensors.HEAD]}
    return found


def save(
    directory: str | Path,
    params: Mapping[str, Any],
    config: TransformerConfig,
    *,
    tokenizer_dir: str | Path | None = None,
    max_shard_bytes: float = 5e9,
    dtype: str | None = None,
) -> None:
    """Writes a Hugging Face model directory with ``SHA256SUMS``, whole or not at all.

    Every process of a multi-host run must call it; the first one writes.

    Args:
      directory: is created, or replaced if it is a model directory.
      params: parameters, in any dtype and sharding.
      config: sizes of the model.
      tokenizer_dir: directory whose tokeniser files are copied along.
      max_shard_bytes: weights beyond this go to further files, with an index.
      dtype: of the written weights; None means ``config.dtype``.

    Raises:
      SkillRLError: if the parameters do not fit the config or are not finite, the tokeniser
        is missing, or the directory holds something that is not a model.
    """
    parameters.check_total(params, config)
    tokenizer = None if tokenizer_dir is None else Tokenizer.load(tokenizer_dir)
    stored = np.dtype(dtype or config.dtype)
    with replacing(Path(directory), marker="config.json") as temporary:
        if temporary is not None:
            _write_descriptions(temporary, config, tokenizer)
        _write_weights(
            temporary, params, config=config, dtype=stored, max_shard_bytes=max_shard_bytes
        )


# ---------------------------------------------------------------- export


def _write_weights(
    directory: Path | None,
    params: Mapping[str, Any],
    *,
    config: TransformerConfig,
    dtype: np.dtype,
    max_shard_bytes: float,
) -> None:
    plan = _plan(config, dtype.itemsize, max_shard_bytes)
    flat = parameters.flatten(params)
    total = 0
    weight_map: dict[str, str] = {}
    for number, planned in enumerate(plan, start=1):
        file = SINGLE if len(plan) == 1 else f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        # Every process takes part in fetching: a shard may live on another host.
        values = {
            name: spec.to_hf(fetch(flat[path], layer).astype(dtype))
            for name, path, spec, layer in planned
        }
        for name, value in values.items():
            tensors.check_numbers(value, f"nothing is exported: tensor {name!r}")
        if directory is not None:
            safetensors.numpy.save_file(values, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(values, file)
        total += sum(value.nbytes for value in values.values())
    if directory is not None and len(plan) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        _write_json(directory / INDEX, index)


_Planned = tuple[str, parameters.Path, parameters.ParameterSpec, int | None]


def _plan(config: TransformerConfig, itemsize: int, max_shard_bytes: float) -> list[list[_Planned]]:
    """Plans which tensors go to which file; a tensor is never cut."""
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


def _in_order(config: TransformerConfig) -> Iterator[_Planned]:
    """Yields tensors in order of the file: embedding, then layer by layer, then the rest."""
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
    """Takes ``value[layer]``, compiled once per shape rather than once per layer."""
    return jax.lax.dynamic_index_in_dim(value, layer, keepdims=False)


def fetch(value: jax.Array, layer: int | None) -> np.ndarray:
    """Gathers an array, or a layer of a stacked one, whole on every host; all must take part."""
    part = value if layer is None else _at_layer(value, np.int32(layer))
    if not (part.is_fully_addressable or part.is_fully_replicated):
        from jax.experimental import multihost_utils

        part = multihost_utils.process_allgather(part, tiled=True)
    return np.asarray(part)


def _write_descriptions(
    directory: Path, config: TransformerConfig, tokenizer: Tokenizer | None
) -> None:
    """Writes config.json, generation_config.json and the tokeniser's files."""
    token_ids: dict[str, Any] = {}
    if tokenizer is not None:
        ends = list(dict.fromkeys([tokenizer.im_end_id, tokenizer.eos_id]))
        token_ids = {
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": tokenizer.pad_id,
        }
        copy_tokenizer(tokenizer, directory)
    _write_json(directory / "config.json", hf_config.to_json(config, token_ids=token_ids))
    generation = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, **token_ids}
    _write_json(directory / "generation_config.json", generation)


def copy_tokenizer(tokenizer: Tokenizer, directory: Path) -> None:
    """Copies the files of a tokenizer into `directory`."""
    for name in TOKENIZER_FILES:
        if os.path.isfile(tokenizer.directory / name):
            shutil.copyfile(tokenizer.directory / name, directory / name)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing(directory: Path, *, marker: str) -> Iterator[Path | None]:
    """Yields a directory to write into, which is then sealed with ``SHA256SUMS`` and put in place.

    Others see it whole or not at all.

    Args:
      directory: is created, or replaced if it holds a file called `marker`.
      marker: a file that the written directory will have.

    Yields:
      Where to write; None in all processes of a multi-host run but the first.

    Raises:
      SkillRLError: the directory exists, is not empty and has no `marker`.
    """
    if not processes.is_first():
        yield None
        return
    directory = directory.absolute()
    _check_replaceable(directory, marker)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        checksums.seal_directory(temporary)
        _publish(temporary, directory, marker)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_replaceable(directory: Path, marker: str) -> None:
    if not directory.exists():
        return
    ours = directory.is_dir() and os.path.isfile(directory / marker)
    ours = ours and not model_directory.is_run(directory)  # whose config.json is another one
    if not ours and not (directory.is_dir() and not any(directory.iterdir())):
        raise SkillRLError(
            f"will not replace {directory}: it exists and has no {marker} of an export; export to "
            "another path or remove it first"
        )


def _publish(temporary: Path, directory: Path, marker: str) -> None:
    """Lets everybody read the files, then puts the directory in place, durably."""
    readable = (temporary / marker).stat().st_mode
    for path in temporary.iterdir():
        path.chmod(readable)  # safetensors writes files that only their owner may read
    replace_directory(temporary, directory)
