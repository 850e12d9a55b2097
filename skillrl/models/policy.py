"""Opens a policy: its architecture and tokenizer from a directory, and its parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax

from skillrl.errors import SkillRLError
from skillrl.models import hub, lora, weights
from skillrl.models.attention import check_attention
from skillrl.models.config import TransformerConfig
from skillrl.models.parameters import axes_tree
from skillrl.models.tokenizer import Tokenizer
from skillrl.models.transformer import Params, init
from skillrl.parallel.local import is_local, local_mesh
from skillrl.parallel.rules import tree_shardings


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """Holds what is known of a policy before its weights are read.

    Attributes:
      directory: Hugging Face directory of the base policy.
      config: sizes, and how they are computed on `mesh`.
      tokenizer: the one that the weights were made with.
      mesh: the devices that the parameters lie on.
      shardings: how they lie there, a tree like the parameters.
    """

    directory: Path
    config: TransformerConfig
    tokenizer: Tokenizer
    mesh: jax.sharding.Mesh
    shardings: Params

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end a response."""
        return tuple(dict.fromkeys((self.tokenizer.im_end_id, self.tokenizer.eos_id)))


def on_own_devices(model: Model) -> Model:
    """Returns `model` as it lies on this process's own devices, to be sampled there.

    That is `model` itself where there are no others.
    """
    if is_local(model.mesh):
        return model
    mesh = local_mesh(model.mesh)
    config = dataclasses.replace(model.config, mesh=mesh if mesh.size > 1 else None)
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), config))
    shardings = tree_shardings(mesh, axes_tree(config), shapes)
    return dataclasses.replace(model, config=config, mesh=mesh, shardings=shardings)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """Holds a model and the parameters that it acts with; neither is ever changed, only replaced.

    Attributes:
      model: what is known of it without its weights.
      params: the parameters, as in `skillrl.models.parameters`.
      version: how many optimiser updates lie behind them; trajectories name it.
    """

    model: Model
    params: Params
    version: int = 0

    @property
    def config(self) -> TransformerConfig:
        """Sizes of the model."""
        return self.model.config

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the weights were made with."""
        return self.model.tokenizer

    @property
    def shardings(self) -> Params:
        """How the parameters lie on the devices."""
        return self.model.shardings

    def replace(self, params: Params, *, version: int = 0) -> Policy:
        """Makes a policy of the same model with other parameters, `version` updates old."""
        return Policy(model=self.model, params=params, version=version)


def open_model(
    directory: str | Path | None,
    mesh: jax.sharding.Mesh,
    *,
    model_id: str = "",
    dtype: str = "float32",
    attention: str = "xla",
    scan_layers: bool = True,
) -> Model:
    """Reads the config and the tokenizer of a checkpoint, and plans where its parameters lie.

    Args:
      directory: a Hugging Face directory, or None for the one of `model_id`.
      mesh: the devices.
      model_id: name on the Hugging Face hub, fetched if it is not in the cache.
      dtype: of activations.
      attention: an implementation registered in `skillrl.models.attention`.
      scan_layers: whether deep models loop over their layers.

    Raises:
      SkillRLError: the directory is not a checkpoint that can be read, its tokenizer has more
        tokens than the model, or the devices cannot compute this attention.
    """
    path = hub.resolve(directory, model_id)
    tokenizer = Tokenizer.load(path)
    config = weights.read_config(path)
    if tokenizer.rows > config.vocab_size:
        raise SkillRLError(
            f"{path}: the tokenizer has {tokenizer.rows} tokens, but "
            f"vocab_size in config.json is {config.vocab_size}: some would have no embedding. "
            "Use the tokenizer and config.json that came with the weights"
        )
    config = dataclasses.replace(
        config,
        dtype=dtype,
        attention=attention,
        scan_layers=scan_layers,
        mesh=mesh if mesh.size > 1 else None,
    )
    check_attention(config, mesh)
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), config))
    shardings = tree_shardings(mesh, axes_tree(config), shapes)
    return Model(directory=path, config=config, tokenizer=tokenizer, mesh=mesh, shardings=shardings)


def load_params(
    model: Model,
    directory: Path | None = None,
    *,
    dtype: Any = "float32",
    adapter: str = "",
) -> Params:
    """Reads the parameters of a checkpoint of `model`'s architecture onto its mesh.

    Args:
      model: the architecture.
      directory: where the weights lie; the model's own directory by default.
      dtype: of the parameters.
      adapter: directory of a LoRA adapter in PEFT's format that is merged into them, or "".

    Raises:
      SkillRLError: weights or adapter are missing, of other shapes, corrupt or not finite.
    """
    params = weights.load(
        directory or model.directory, model.config, shardings=model.shardings, dtype=dtype
    )
    if adapter:
        low_rank, shape = lora.load(adapter, model.config)
        params = lora.merge(low_rank, params, shape)
    return params
