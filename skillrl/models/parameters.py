"""Lists all parameters in one table: where each lies, how it is split, what others call it.

A `ParameterSpec` says, for one leaf of the nested dict of parameters, the logical name of each
axis (the sharding rules map these to mesh axes), the name of the tensor in a Hugging
Face checkpoint, and how the two layouts correspond. Initial shapes, sharding,
checkpoint restore, import and export all read this table; `check_total` proves that
it covers the model.

Layers are stacked here on a leading ``layers`` axis and are tensors of their own
there. A kernel here keeps heads and head width apart, ``[D, H, Q]``; there it is
flat and transposed, ``[H*Q, D]``. `ParameterSpec.hf_axes` states this by naming the
axes that each axis of the Hugging Face tensor is made of.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig

Path = tuple[str, ...]

LAYERS = "layers"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """Describes one parameter in both layouts.

    Attributes:
      axes: logical name of each axis here; ``layers`` first if stacked.
      shape: length of each axis here.
      hf_name: tensor name in a Hugging Face checkpoint, with ``{layer}`` if stacked.
      hf_axes: for each axis of that tensor, the logical axes it flattens, in order.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    hf_name: str
    hf_axes: tuple[tuple[str, ...], ...]

    @property
    def stacked(self) -> bool:
        """Tells whether the leading axis counts layers."""
        return self.axes[0] == LAYERS

    @property
    def sizes(self) -> dict[str, int]:
        """Returns the length of each logical axis."""
        return dict(zip(self.axes, self.shape, strict=True))

    @property
    def hf_shape(self) -> tuple[int, ...]:
        """Returns the shape of one Hugging Face tensor (of one layer, if stacked)."""
        return tuple(math.prod(self.sizes[name] for name in group) for group in self.hf_axes)

    @property
    def hf_names(self) -> tuple[str, ...]:
        """Returns tensor names in order of the layers; one name if not stacked."""
        if not self.stacked:
            return (self.hf_name,)
        return tuple(self.hf_name.format(layer=layer) for layer in range(self.shape[0]))

    def to_hf(self, value: np.ndarray) -> np.ndarray:
        """Turns one layer's value here into the Hugging Face tensor."""
        names = self._layer_axes
        order = [names.index(name) for group in self.hf_axes for name in group]
        return np.ascontiguousarray(value.transpose(order).reshape(self.hf_shape))

    def hf_slices(self, index: tuple[slice, ...]) -> tuple[slice, ...]:
        """Finds the least box of the Hugging Face tensor that holds a layer's ``value[index]``."""
        wanted = self._ranges(index)
        box = []
        for first, *rest in self.hf_axes:
            start, stop = wanted[first]
            width = math.prod(self.sizes[name] for name in rest)
            box.append(slice(start * width, stop * width))
        return tuple(box)

    def from_hf(self, box: np.ndarray, index: tuple[slice, ...]) -> np.ndarray:
        """Turns what `hf_slices` cut out into ``value[index]`` of one layer here."""
        wanted = self._ranges(index)
        lengths, cuts, order = [], [], []
        for first, *rest in self.hf_axes:
            start, stop = wanted[first]
            lengths += [stop - start, *(self.sizes[name] for name in rest)]
            cuts += [slice(None), *(slice(*wanted[name]) for name in rest)]
            order += [first, *rest]
        split = box.reshape(lengths)[tuple(cuts)]
        return split.transpose([order.index(name) for name in self._layer_axes])

    @property
    def _layer_axes(self) -> tuple[str, ...]:
        return self.axes[1:] if self.stacked else self.axes

    def _ranges(self, index: tuple[slice, ...]) -> dict[str, tuple[int, int]]:
        names = self._layer_axes
        return {
            name: part.indices(self.sizes[name])[:2]
            for name, part in zip(names, index, strict=True)
        }


def specs(config: TransformerConfig) -> dict[Path, ParameterSpec]:
    """Describes every parameter of the model, by its path."""
    sizes = {
        LAYERS: config.num_layers,
        "vocab": config.vocab_size,
        "embed": config.hidden_size,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "ffn": config.intermediate_size,
    }
    table: dict[Path, ParameterSpec] = {}

    def row(path: str, axes: str, *, hf_name: str, hf_axes: str) -> None:
        """Adds a parameter to the table.

        Args:
          path: where it lies in the tree of parameters, with slashes.
          axes: its logical axes, separated by spaces.
          hf_name: its name in a Hugging Face checkpoint.
          hf_axes: its axes there; ``heads*head_dim`` is one flattened axis.
        """
        names = tuple(axes.split())
        table[tuple(path.split("/"))] = ParameterSpec(
            axes=names,
            shape=tuple(sizes[name] for name in names),
            hf_name=hf_name,
            hf_axes=tuple(tuple(group.split("*")) for group in hf_axes.split()),
        )

    def layer(path: str, axes: str, *, hf_name: str, hf_axes: str) -> None:
        """Adds a parameter that every layer has.

        Args:
          path: where it lies in a layer.
          axes: its axes without that of the layers.
          hf_name: its name without ``model.layers.{layer}.``.
          hf_axes: as in `row`.
        """
        row(
            f"layers/{path}",
            f"{LAYERS} {axes}",
            hf_name=f"model.layers.{{layer}}.{hf_name}",
            hf_axes=hf_axes,
        )

    row(
        "embed/embedding", "vocab embed", hf_name="model.embed_tokens.weight", hf_axes="vocab embed"
    )
    layer("input_norm/scale", "embed", hf_name="input_layernorm.weight", hf_axes="embed")
    for name, hf, heads in (
        ("query", "q_proj", "heads"),
        ("key", "k_proj", "kv_heads"),
        ("value", "v_proj", "kv_heads"),
    ):
        flat = f"{heads}*head_dim"
        at, there = f"attention/{name}", f"self_attn.{hf}"
        layer(
            f"{at}/kernel",
            f"embed {heads} head_dim",
            hf_name=f"{there}.weight",
            hf_axes=f"{flat} embed",
        )
        if config.qkv_bias:
            layer(f"{at}/bias", f"{heads} head_dim", hf_name=f"{there}.bias", hf_axes=flat)
    layer(
        "attention/output/kernel",
        "heads head_dim embed",
        hf_name="self_attn.o_proj.weight",
        hf_axes="embed heads*head_dim",
    )
    if config.qk_norm:
        layer(
            "attention/query_norm/scale",
            "head_dim",
            hf_name="self_attn.q_norm.weight",
            hf_axes="head_dim",
        )
        layer(
            "attention/key_norm/scale",
            "head_dim",
            hf_name="self_attn.k_norm.weight",
            hf_axes="head_dim",
        )
    layer("post_norm/scale", "embed", hf_name="post_attention_layernorm.weight", hf_axes="embed")
    layer("mlp/gate/kernel", "embed ffn", hf_name="mlp.gate_proj.weight", hf_axes="ffn embed")
    layer("mlp/up/kernel", "embed ffn", hf_name="mlp.up_proj.weight", hf_axes="ffn embed")
    layer("mlp/down/kernel", "ffn embed", hf_name="mlp.down_proj.weight", hf_axes="embed ffn")
    row("final_norm/scale", "embed", hf_name="model.norm.weight", hf_axes="embed")
    if not config.tie_embeddings:
        row("head/kernel", "embed vocab", hf_name="lm_head.weight", hf_axes="vocab embed")
    return table


def axes_tree(config: TransformerConfig) -> dict[str, Any]:
    """Returns the logical axes of every parameter, as a tree shaped like the parameters."""
    return unflatten({path: spec.axes for path, spec in specs(config).items()})


def flatten(tree: Mapping[str, Any]) -> dict[Path, Any]:
    """Turns a nested dict into {path: leaf}; whatever is not a mapping is a leaf."""
    flat: dict[Path, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {(key, *path): leaf for path, leaf in flatten(value).items()}
        else:
            flat[(key,)] = value
    return flat


def unflatten(flat: Mapping[Path, Any]) -> dict[str, Any]:
    """Turns {path: leaf} into a nested dict; the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    return tree


def check_total(params: Mapping[str, Any], config: TransformerConfig) -> None:
    """Checks that parameters (or their `jax.eval_shape`) are exactly those of the table.

    Raises:
      SkillRLError: naming the first parameters that are missing, unknown or of
        another shape.
    """
    table = specs(config)
    given: dict[Path, jax.ShapeDtypeStruct] = flatten(params)
    problems = [f"{'/'.join(path)} is missing" for path in table if path not in given]
    problems += [f"{'/'.join(path)} is unknown" for path in given if path not in table]
    problems += [
        f"{'/'.join(path)} is {tuple(given[path].shape)}, not {spec.shape}"
        for path, spec in table.items()
        if path in given and tuple(given[path].shape) != spec.shape
    ]
    if problems:
        more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
        raise SkillRLError(
            f"the parameters do not fit the {config.model_type} model of the config: "
            f"{'; '.join(problems[:4])}{more}. Use the config.json that came with the weights"
        )
