"""Reads tensors in safetensors files: found by name, checked against a table, slice by slice.

Everything that is read is looked at once, as bits: a number that is not finite, or larger
than a trained weight can be, is damage and is refused with its tensor and file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401  registers bfloat16 with numpy; safetensors cannot read it otherwise
import numpy as np
import safetensors

from skillrl.errors import Corrupt, SkillRLError
from skillrl.models import directory as model_directory
from skillrl.models import intact, parameters
from skillrl.models.directory import INCOMPLETE, SINGLE, shown

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"

LARGEST = 65504.0
"""Larger magnitudes are refused: float16 holds none, and every checkpoint is served in it by
somebody. Trained weights are below 2 but for a few biases and norms; a flipped bit in the
exponent's highest place (the only one that is 0 in them) makes them larger than 1e19."""

_READABLE = ("F64", "F32", "F16", "BF16")
_WRAPPERS = {
    "_orig_mod",  # torch.compile
    "module",  # DistributedDataParallel
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",  # Lightning
}
_PIECE = 1 << 22  # numbers that are looked at in one go


class Tensor:
    """Stands for a tensor of an open file; nothing is read until a slice is asked for.

    Attributes:
      file: where it lies.
      name: what it is called there.
      shape: lengths of its axes.
      dtype: as safetensors spells it, such as ``BF16``.
    """

    def __init__(self, file: Path, handle: Any, name: str):
        self.file = file
        self.name = name
        try:
            self._slice = handle.get_slice(name)
            self.shape = tuple(self._slice.get_shape())
            self.dtype = str(self._slice.get_dtype())
        except Exception as error:  # of Rust, for a dtype that its release does not know
            raise SkillRLError(f"tensor {name!r} in {file} cannot be read: {error}") from None

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Reads a part of the tensor.

        Raises:
          Corrupt: a number in it is not finite or beyond `LARGEST`.
        """
        part = np.asarray(self._slice[box])
        check_numbers(part, f"tensor {self.name!r} in {self.file}")
        return part


def open_tensors(
    directory: Path,
    stack: contextlib.ExitStack,
    single: str = SINGLE,
    *,
    verify: bool = True,
) -> dict[str, Tensor]:
    """Opens every tensor of a checkpoint, without reading its numbers.

    Args:
      directory: the folder with the file `single`, or with shards and their index.
      stack: closes the files when it is closed itself.
      single: name of the file with all tensors.
      verify: whether the files are compared with the hashes that are known for them.

    Returns:
      The tensors by their canonical names (see `canonical`).

    Raises:
      Corrupt: a file has another hash than is known for it.
      SkillRLError: a file is missing or cut short, or two tensors have one meaning.
    """
    files, weight_map = model_directory.weight_files(directory, single)
    absent = model_directory.missing(directory, single)
    if absent:
        raise SkillRLError(model_directory.absence(directory, absent[0], single))
    if verify:
        intact.check(directory, files)
    found: dict[str, Tensor] = {}
    for name in files:
        for tensor in _open(directory / name, stack):
            if weight_map.get(tensor.name, name) == name:
                found[tensor.name] = tensor
    for name, file in weight_map.items():
        if name not in found:
            raise SkillRLError(
                f"{single}.index.json says that {name!r} is in {directory / file}, but it is "
                f"not: {INCOMPLETE}"
            )
    tensors: dict[str, Tensor] = {}
    for name, tensor in found.items():
        other = tensors.setdefault(canonical(name), tensor)
        if other is not tensor:
            raise SkillRLError(
                f"the weights in {directory} hold {other.name!r} and {name!r}, which both mean "
                f"{canonical(name)!r}: export the model again with save_pretrained, from its "
                "innermost module"
            )
    return tensors


def canonical(name: str) -> str:
    """Strips from a tensor's name what trainers wrap around a model, as transformers spells it.

    ``_orig_mod.model.norm.weight`` (torch.compile), ``module.model.norm.weight`` (DDP),
    ``base_model.model.model.norm.weight`` (PEFT) and ``norm.weight`` (the model without its
    head) all mean ``model.norm.weight``.
    """
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while parts[:2] == ["base_model", "model"]:
        parts = parts[2:]
    while parts[:2] in (["model", "model"], ["model", "lm_head"]):  # a trainer's self.model
        parts = parts[1:]
    if parts[:1] in (["layers"], ["embed_tokens"], ["norm"]):
        parts = ["model", *parts]
    return ".".join(parts)


def check_tensors(
    directory: Path,
    tensors: Mapping[str, Tensor],
    table: Mapping[parameters.Path, parameters.ParameterSpec],
    *,
    spare: tuple[str, ...] = (),
) -> None:
    """Refuses tensors that are missing, unknown, of another shape than the table's or quantised.

    Args:
      directory: for messages.
      tensors: as from `open_tensors`.
      table: what is wanted.
      spare: names that may be there as well.
    """
    expected = {canonical(n): spec.hf_shape for spec in table.values() for n in spec.hf_names}
    unknown = sorted(
        name
        for name in tensors
        if name not in expected and name not in spare and "rotary_emb" not in name
    )
    for name in unknown:
        if ".lora_" in name or ".base_layer." in name:
            raise SkillRLError(
                f"the weights in {directory} hold {tensors[name].name!r}, of an adapter that is "
                "not merged as model and settings say: merge it into its model with PEFT's "
                "merge_and_unload() and save_pretrained, and give that directory"
            )
    for name, shape in expected.items():
        if name not in tensors:
            raise SkillRLError(
                f"tensor {name!r} {shape} is missing from the weights in {directory}: its "
                "config.json belongs to another model, or the download is incomplete"
                + (f" (there is {unknown[0]!r}, of no use here)" if unknown else "")
            )
        found = tensors[name]
        if found.dtype not in _READABLE:
            raise SkillRLError(
                f"tensor {name!r} in {found.file} is stored as {found.dtype}: quantised weights "
                "are not read; use the checkpoint in bfloat16, float16 or float32 that it was "
                "made from"
            )
        if found.shape != shape:
            raise SkillRLError(
                f"tensor {name!r} in {found.file} has shape {found.shape}, but config.json "
                f"says {shape}: use the config.json that came with the weights (the first axis "
                "of the embedding is vocab_size)"
            )
    if unknown:
        raise SkillRLError(
            f"the weights in {directory} hold {len(unknown)} tensors that the model of its "
            f"config.json does not use, such as {shown(unknown[0])!r}: they would be ignored "
            "silently; use a plain Qwen2, Qwen2.5 or Qwen3 checkpoint (merge adapters first)"
        )


def read(
    tensors: Mapping[str, Tensor],
    spec: parameters.ParameterSpec,
    *,
    sharding: jax.sharding.Sharding,
    dtype: Any,
) -> jax.Array:
    """Reads one parameter; each device's shard is read from its own slices of the files.

    Args:
      tensors: the tensors of a checkpoint, as from `open_tensors`.
      spec: the shape of the parameter, and which tensors it is made of.
      sharding: how it is split over devices.
      dtype: the dtype to convert to; None keeps that of the files.

    Returns:
      An array of shape ``spec.shape``.

    Raises:
      Corrupt: a number in the files is not finite or beyond `LARGEST`.
    """
    names = [canonical(name) for name in spec.hf_names]

    def one(name: str, index: tuple[slice, ...]) -> np.ndarray:
        box = tensors[name].read(spec.hf_slices(index))
        return spec.from_hf(box if dtype is None else box.astype(dtype), index)

    def shard(index: Any) -> np.ndarray:
        if spec.stacked:
            return np.stack([one(name, index[1:]) for name in names[index[0]]])
        return np.ascontiguousarray(one(names[0], index))

    return jax.make_array_from_callback(spec.shape, sharding, shard)


def check_numbers(values: np.ndarray, what: str) -> None:
    """Checks that all numbers are finite and none beyond `LARGEST`; `what` begins the message.

    Raises:
      Corrupt: one is not.
    """
    if values.dtype.itemsize not in _BITS:
        raise SkillRLError(f"{what} is of {values.dtype}, not of floating-point numbers")
    unsigned = _BITS[values.dtype.itemsize]
    sign = unsigned(1 << (8 * values.dtype.itemsize - 1))
    # Without the sign, bits of a larger magnitude are a larger integer; NaN's are the largest.
    limit = np.asarray(LARGEST, values.dtype).view(unsigned)
    bits = np.ascontiguousarray(values).reshape(-1).view(unsigned)
    for start in range(0, bits.size, _PIECE):
        piece = bits[start : start + _PIECE] & ~sign
        if piece.max() > limit:
            at = start + int(piece.argmax())
            raise Corrupt(_says(float(values.reshape(-1)[at]), what))


_BITS: dict[int, Any] = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def _says(value: float, what: str) -> str:
    """Says what is wrong with a number that `check_numbers` refuses, and what to do."""
    if np.isfinite(value):
        why = f"holds {value:.3g}, and no trained weight is beyond {LARGEST:.0f}"
    else:
        why = f"holds a number that is not finite ({value})"
    return (
        f"{what} {why}: it is corrupt, or its training had diverged. Download or copy it again, "
        "or use an earlier checkpoint."
    )


def has_own_head(tensors: Mapping[str, Tensor]) -> bool:
    """Tells whether embedding and head are both there and differ, whatever the config says."""
    if HEAD not in tensors or EMBEDDING not in tensors:
        return False
    head, embedding = tensors[HEAD], tensors[EMBEDDING]
    if head.shape != embedding.shape or not {head.dtype, embedding.dtype} <= set(_READABLE):
        return True
    if len(head.shape) != 2:
        return True
    rows = max(1, _PIECE // max(1, head.shape[1]))
    return not all(
        np.array_equal(head.read((part,)), embedding.read((part,)))
        for part in _parts(head.shape[0], rows)
    )


def _parts(length: int, rows: int) -> Iterator[slice]:
    for start in range(0, length, rows):
        yield slice(start, min(length, start + rows))


def _is_pointer(file: Path) -> bool:
    try:
        with open(file, "rb") as start:
            return model_directory.pointer(start.read(64))
    except OSError as error:
        raise SkillRLError(f"weights file {file} cannot be read ({error.strerror})") from None


def _open(file: Path, stack: contextlib.ExitStack) -> list[Tensor]:
    try:
        handle = stack.enter_context(safetensors.safe_open(file, framework="np"))
    except (safetensors.SafetensorError, OSError) as error:
        intact.check(file.parent, [file.name])  # says more, where it knows
        why = f"{model_directory.POINTER}; {error}" if _is_pointer(file) else error
        raise SkillRLError(
            f"weights file {file} is damaged or cut short ({file.stat().st_size} bytes: "
            f"{why}): {INCOMPLETE}"
        ) from error
    return [Tensor(file, handle, name) for name in handle.keys()]  # noqa: SIM118
