"""Initial weights of a small policy whose attention already compares and copies.

A transformer that is trained from random weights finds out late that a word of the question
and the same word of the text belong together; a small one on two cores may not find out at
all. Here the attention heads begin as the circuits that trained models are known to end with:

- Head 0 of each layer is a previous-token head: its biases turn the rotary angles by one
  position. In the first layer it writes down which token it saw.
- Head 1 of every further layer is an induction head (Olsson et al. 2022, arXiv 2209.11895): it
  looks for tokens that came after a token like this one, by what the former wrote down.
- All others look for tokens like this one: query and key are the same projection, value and
  output each other's transpose (Trockman & Kolter 2023, arXiv 2305.09828;
  here with a positive sign for values too, so that what is found is copied).

Comparing uses the slow half of the rotary pairs, whose angles hardly change over a prompt.
Nothing is fixed: all of it is trained afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.models.transformer import Params, init

EMBEDDING_STD = 0.1  # the output is tied to the embedding, so logits begin near ±1
SIMILARITY_GAIN = 1.4  # singular values of the projections that compare
COPY_GAIN = 0.1  # what is written back is then about as large as an embedding
PREVIOUS_TOKEN_BIAS = 5.0  # gives the previous position about 20 nats more than any other
FAST_PAIRS = 6  # rotary pairs that tell one position from the next
NOISE_STD = 0.02  # of all other projections to queries and keys
LATER_PART_WEIGHT = 0.7  # of each part of a token after its first


def induction_init(
    config: TransformerConfig, *, seed: int = 0, parts: Mapping[int, Sequence[int]] | None = None
) -> Params:
    """Makes parameters as `transformer.init` does, with heads that compare and copy.

    Args:
      config: sizes of the policy. Queries and keys must have a bias, and there must be as many
        kv heads as heads, at least two of them, each no wider than the model.
      seed: seeds all random numbers.
      parts: token -> the tokens that it is made of. Its embedding begins as a mixture of
        theirs (`` mug 2`` is like `` mug`` and a little like `` 2``).

    Returns:
      The parameters, float32.

    Raises:
      SkillRLError: the sizes do not allow it.
    """
    width, heads, q = config.hidden_size, config.num_heads, config.head_dim
    if not config.qkv_bias or config.num_kv_heads != heads or heads < 2 or q > width or q % 4:
        raise SkillRLError(
            "induction_init needs qkv_bias, num_kv_heads = num_heads >= 2 and a head_dim "
            f"of at most hidden_size that 4 divides; got qkv_bias={config.qkv_bias}, "
            f"num_kv_heads={config.num_kv_heads}, num_heads={heads}, head_dim={q}, "
            f"hidden_size={width}"
        )
    rng = np.random.default_rng(seed)
    params = jax.tree.map(np.array, init(jax.random.key(seed), config))

    embedding = rng.normal(size=(config.vocab_size, width)) * EMBEDDING_STD
    for token, (first, *rest) in (parts or {}).items():
        mixture = embedding[first] + LATER_PART_WEIGHT * sum(embedding[part] for part in rest)
        embedding[token] = mixture / np.sqrt(1 + len(rest) / 2)  # about as long as the others
    params["embed"]["embedding"][:] = embedding

    attention = params["layers"]["attention"]
    query, key = attention["query"]["kernel"], attention["key"]["kernel"]  # [L, D, H, Q]
    half = q // 2
    slow = [*range(half // 2, half), *range(half + half // 2, q)]

    def directions(count: int) -> np.ndarray:
        """Draws `count` orthonormal columns, ``[D, count]``."""
        return np.linalg.qr(rng.normal(size=(width, width)))[0][:, :count]

    previous_read = previous_written = np.empty(0)
    for layer in range(config.num_layers):
        for head in range(heads):
            similar, read = directions(len(slow)), directions(q)
            # A token that came before does not come next: it must not be written as itself.
            written = directions(q) if head == 0 else read
            query[layer, :, head] = NOISE_STD * rng.normal(size=(width, q))
            key[layer, :, head] = NOISE_STD * rng.normal(size=(width, q))
            attention["value"]["kernel"][layer, :, head] = read
            attention["output"]["kernel"][layer, head] = COPY_GAIN * written.T
            if head == 0:
                _previous_token_head(attention, layer, config)
                if layer == 0:
                    previous_read, previous_written = read, written
                continue
            asked = sought = similar
            if head == 1 and layer > 0:
                asked = previous_read[:, : len(slow)]
                sought = previous_written[:, : len(slow)]
            query[layer, :, head, slow] = SIMILARITY_GAIN * asked.T
            key[layer, :, head, slow] = SIMILARITY_GAIN * sought.T
    return jax.tree.map(jnp.asarray, params)


def _previous_token_head(attention: dict, layer: int, config: TransformerConfig) -> None:
    """Sets the biases of head 0 so that the score is greatest at the position before."""
    half = config.head_dim // 2
    fast = min(FAST_PAIRS, half)
    angle = config.rope_theta ** (-np.arange(fast) / half)
    attention["key"]["bias"][layer, 0, :fast] = PREVIOUS_TOKEN_BIAS
    attention["query"]["bias"][layer, 0, :fast] = PREVIOUS_TOKEN_BIAS * np.cos(angle)
    attention["query"]["bias"][layer, 0, half : half + fast] = -PREVIOUS_TOKEN_BIAS * np.sin(angle)
