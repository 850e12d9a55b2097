"""Initial weights that already compare and copy, for small policies made from nothing.

A transformer that is trained from random weights finds out late that a word of the
question and the same word of the text belong together; a small one on two cores may
not find out at all. Here the attention heads begin as the circuits that trained models
are known to end with:

- one head per layer looks at the token before (its biases turn the rotary angles by
  one position), and in the first layer writes down what it was;
- one head of every further layer looks for tokens that came after a token like this
  one: with the former it makes an induction head (Olsson et al. 2022,
  arXiv 2209.11895);
- all others look for tokens like this one: query and key are the same projection, value
  and output each other's transpose (mimetic initialisation, Trockman & Kolter 2023,
  arXiv 2305.09828; here with a positive sign for values too, so that what is found is
  copied).

Comparing uses the slow half of the rotary pairs, whose angles hardly change over a
prompt. Nothing is fixed: all of it is trained afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.models.transformer import Params, init

EMBEDDING = 0.1  # standard deviation; the output is tied to it, so logits begin near ±1
LIKENESS = 1.4  # singular values of the projections that compare
COPY = 0.1  # of what is written back, so that it is about as large as an embedding
BIAS = 5.0  # of the head that looks back by one: about 20 nats for the right position
FAST_PAIRS = 6
NOISE = 0.02  # of all other projections to queries and keys
LAST_PART = 0.7  # weight of the parts of a token after its first


def mimetic_init(
    config: TransformerConfig, *, seed: int = 0, parts: Mapping[int, Sequence[int]] | None = None
) -> Params:
    """Parameters as `transformer.init` gives, with comparing and copying attention.

    Args:
      config: sizes; biases on query and key, as many kv heads as heads and at least
        two of them, a head no wider than the model.
      seed: of everything random.
      parts: token -> the tokens it is made of, whose embeddings it begins as a mixture
        of (`` mug 2`` is like `` mug`` and a little like `` 2``).

    Raises:
      SkillRLError: the sizes do not allow it.
    """
    width, heads, q = config.hidden_size, config.num_heads, config.head_dim
    if not config.qkv_bias or config.num_kv_heads != heads or heads < 2 or q > width or q % 4:
        raise SkillRLError(
            f"mimetic initialisation needs qkv_bias, num_kv_heads = num_heads >= 2 and a head_dim "
            f"of at most hidden_size that 4 divides; got qkv_bias={config.qkv_bias}, "
            f"num_kv_heads={config.num_kv_heads}, num_heads={heads}, head_dim={q}, "
            f"hidden_size={width}"
        )
    rng = np.random.default_rng(seed)
    params = jax.tree.map(np.array, init(jax.random.key(seed), config))

    embedding = rng.normal(size=(config.vocab_size, width)) * EMBEDDING
    for token, (first, *rest) in (parts or {}).items():
        mixture = embedding[first] + LAST_PART * sum(embedding[part] for part in rest)
        embedding[token] = mixture / np.sqrt(1 + len(rest) / 2)  # about as long as the others
    params["embed"]["embedding"][:] = embedding

    attention = params["layers"]["attention"]
    query, key = attention["query"]["kernel"], attention["key"]["kernel"]  # [L, D, H, Q]
    half = q // 2
    slow = [*range(half // 2, half), *range(half + half // 2, q)]

    def directions(count: int) -> np.ndarray:
        """``[D, count]``, orthonormal."""
        return np.linalg.qr(rng.normal(size=(width, width)))[0][:, :count]

    before_read = before_written = np.empty(0)
    for layer in range(config.num_layers):
        for head in range(heads):
            alike, read = directions(len(slow)), directions(q)
            written = directions(q) if head == 0 else read  # what was before does not come next
            query[layer, :, head] = NOISE * rng.normal(size=(width, q))
            key[layer, :, head] = NOISE * rng.normal(size=(width, q))
            attention["value"]["kernel"][layer, :, head] = read
            attention["output"]["kernel"][layer, head] = COPY * written.T
            if head == 0:
                _look_back(attention, layer, config)
                if layer == 0:
                    before_read, before_written = read, written
                continue
            asked = sought = alike
            if head == 1 and layer > 0:
                asked, sought = before_read[:, : len(slow)], before_written[:, : len(slow)]
            query[layer, :, head, slow] = LIKENESS * asked.T
            key[layer, :, head, slow] = LIKENESS * sought.T
    return jax.tree.map(jnp.asarray, params)


def _look_back(attention: dict, layer: int, config: TransformerConfig) -> None:
    """Biases of head 0 for which the score is greatest at the position before."""
    half = config.head_dim // 2
    fast = min(FAST_PAIRS, half)
    angle = config.rope_theta ** (-np.arange(fast) / half)
    attention["key"]["bias"][layer, 0, :fast] = BIAS
    attention["query"]["bias"][layer, 0, :fast] = BIAS * np.cos(angle)
    attention["query"]["bias"][layer, 0, half : half + fast] = -BIAS * np.sin(angle)
