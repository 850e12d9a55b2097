"""What `induction_init` can do before any training, and plain weights cannot."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launchers.tiny_policies.induction_init import induction_init
from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.models.transformer import init, logits

CONFIG = TransformerConfig(
    vocab_size=300,
    hidden_size=96,
    intermediate_size=128,
    num_layers=2,
    num_heads=4,
    num_kv_heads=4,
    head_dim=32,
    rope_theta=100_000.0,
    max_positions=256,
)


def _pull_of_what_followed(params) -> float:
    """Rows [... A B ... A]: how far the logit of B is above the mean of all, in standard errors."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(CONFIG.vocab_size)[:48] for _ in range(2048)])
    every, at = np.arange(2048), rng.integers(5, 40, size=2048)
    rows[:, -1] = rows[every, at]
    scores = np.array(logits(params, jnp.asarray(rows), config=CONFIG)[:, -1])
    above = scores[every, rows[every, at + 1]] - scores.mean(-1)
    return float(above.mean() / (above.std() / np.sqrt(2048)))


@pytest.mark.slow
def test_what_followed_a_word_before_is_likelier_again():
    assert _pull_of_what_followed(induction_init(CONFIG)) > 4
    assert abs(_pull_of_what_followed(init(jax.random.key(0), CONFIG))) < 3


def test_same_seed_same_weights_and_same_shapes_as_init():
    one, two = induction_init(CONFIG, seed=3), induction_init(CONFIG, seed=3)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    plain = jax.eval_shape(lambda: init(jax.random.key(0), CONFIG))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), one) == jax.tree.map(
        lambda x: (x.shape, x.dtype), plain
    )


def test_a_token_made_of_parts_is_like_them():
    table = np.array(induction_init(CONFIG, parts={10: (3, 4)})["embed"]["embedding"])
    np.testing.assert_allclose(table[10], (table[3] + 0.7 * table[4]) / np.sqrt(1.5), atol=1e-6)


def test_sizes_that_do_not_allow_it_are_named():
    with pytest.raises(SkillRLError, match="num_kv_heads=2"):
        induction_init(dataclasses.replace(CONFIG, num_kv_heads=2))
