"""What `Checkpoints.restore` wants to know of a state."""

import jax


def abstract(state, shardings=None):
    """Shapes, dtypes and shardings of a state; `shardings` are those of its arrays by default."""
    if shardings is None:
        shardings = jax.tree.map(lambda x: x.sharding, state)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings
    )
