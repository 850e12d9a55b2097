"""Lists what may be tried: meshes, tokens of a micro-batch and what a backward pass keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig

REMATS = ("none", "dots", "full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """Holds the settings that a plan may choose.

    Attributes:
      data: ``mesh.data``.
      fsdp: ``mesh.fsdp``.
      tensor: ``mesh.tensor``.
      tokens: ``train_batch.tokens``, over all devices.
      remat: ``model.remat``.
    """

    data: int
    fsdp: int
    tensor: int
    tokens: int
    remat: str

    @property
    def devices(self) -> int:
        """How many devices it uses."""
        return self.data * self.fsdp * self.tensor

    @property
    def flags(self) -> str:
        """The flags that set it."""
        return (
            f"--set mesh.data={self.data} --set mesh.fsdp={self.fsdp} --set mesh.tensor="
            f"{self.tensor} --set train_batch.tokens={self.tokens} --set model.remat={self.remat}"
        )

    def __str__(self) -> str:
        return (
            f"data {self.data} x fsdp {self.fsdp} x tensor {self.tensor}, "
            f"train_batch.tokens={self.tokens}, model.remat={self.remat}"
        )

    def applied(self, config: Config) -> Config:
        """Returns `config` with these settings."""
        changed: dict[str, Any] = {
            "mesh": {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor},
            "train_batch": {"tokens": self.tokens},
            "model": {"remat": self.remat},
        }
        return Config.from_dict(changed, base=config)


def mesh_is_open(config: Config) -> bool:
    """Tells whether no axis of the mesh is set, so that a plan may choose it."""
    return (config.mesh.data, config.mesh.fsdp, config.mesh.tensor) == (1, 1, 1)


def configured(config: Config, devices: int) -> Candidate:
    """Reads what a config asks for.

    Args:
      config: one axis of its mesh may be -1: as many as the others leave.
      devices: how many there are.

    Raises:
      SkillRLError: the mesh needs more devices, or does not divide them.
    """
    mesh = config.mesh
    sizes = {"data": mesh.data, "fsdp": mesh.fsdp, "tensor": mesh.tensor}
    known = 1
    for size in sizes.values():
        known *= max(1, size)
    said = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
    if known > devices:
        raise SkillRLError(
            f"{said} needs {known} devices, but --devices={devices}: lower an axis of the mesh, "
            f"or plan for {known}."
        )
    if -1 in sizes.values():
        if devices % known:
            raise SkillRLError(
                f"{said}: --devices={devices} cannot be divided by {known}; choose sizes whose "
                f"product divides {devices}."
            )
        sizes = {axis: devices // known if n == -1 else n for axis, n in sizes.items()}
    return Candidate(**sizes, tokens=config.train_batch.tokens, remat=config.model.remat)


def meshes(devices: int, sizes: TransformerConfig) -> list[tuple[int, int, int]]:
    """Lists the meshes (data, fsdp, tensor) over all devices that divide a policy evenly.

    Tensor parallelism stays below nine, within the fast links of a host, and divides the kv
    heads, which would be copied otherwise. Fsdp divides the width.

    Args:
      devices: how many.
      sizes: of the policy.
    """
    found = []
    for tensor in (1, 2, 4, 8):
        if devices % tensor or sizes.num_kv_heads % tensor:
            continue
        rest = devices // tensor
        for fsdp in range(1, rest + 1):
            if rest % fsdp == 0 and sizes.hidden_size % fsdp == 0:
                found.append((rest // fsdp, fsdp, tensor))
    return found


def budgets(asked: Candidate, row: int) -> list[int]:
    """Lists token budgets of a micro-batch around the one that is asked for.

    Args:
      asked: what the config asks for.
      row: tokens of the longest sample; a budget below one per device changes nothing.
    """
    least = row * asked.data * asked.fsdp
    tried = {asked.tokens, asked.tokens // 2, asked.tokens * 2, asked.tokens * 4, least}
    return sorted(tokens for tokens in tried if tokens >= min(least, asked.tokens) and tokens)


def around(asked: Candidate, *, over: Sequence[tuple[int, int, int]], row: int) -> list[Candidate]:
    """Lists all combinations of the meshes `over` with token budgets and remat.

    Args:
      asked: what the config asks for.
      over: meshes (data, fsdp, tensor).
      row: tokens of the longest sample.
    """
    return [
        Candidate(data=data, fsdp=fsdp, tensor=tensor, tokens=tokens, remat=remat)
        for data, fsdp, tensor in over
        for tokens in budgets(dataclasses.replace(asked, data=data, fsdp=fsdp), row)
        for remat in REMATS
    ]
