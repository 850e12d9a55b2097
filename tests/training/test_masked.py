import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.training.masked import masked_mean, masked_std, masked_sum

X = jnp.array([[1.0, 2.0, jnp.nan], [5.0, jnp.inf, 9.0]])
MASK = jnp.array([[1, 1, 0], [1, 0, 1]])


def test_values_by_hand():
    assert masked_sum(X, MASK) == 17.0
    np.testing.assert_array_equal(masked_sum(X, MASK, axis=1), [3.0, 14.0])
    np.testing.assert_array_equal(masked_mean(X, MASK, axis=1), [1.5, 7.0])
    np.testing.assert_array_equal(masked_std(X, MASK, axis=1), [0.5, 2.0])
    np.testing.assert_allclose(masked_std(X, MASK, axis=1, ddof=1), [0.5**0.5, 8**0.5])
    np.testing.assert_allclose(masked_std(X, MASK), np.std([1, 2, 5, 9]), rtol=1e-6)


def test_the_mask_broadcasts():
    np.testing.assert_array_equal(
        masked_mean(jnp.ones((2, 3)), jnp.array([True, False, True]), axis=1), [1.0, 1.0]
    )


@pytest.mark.parametrize("reduce", [masked_sum, masked_mean, masked_std])
def test_an_empty_mask_gives_zero_and_a_zero_gradient(reduce):
    value, gradient = jax.value_and_grad(reduce)(X, jnp.zeros_like(MASK))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


@pytest.mark.parametrize("reduce", [masked_sum, masked_mean, masked_std])
def test_garbage_outside_the_mask_reaches_no_gradient(reduce):
    gradient = jax.grad(reduce)(X, MASK)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.asarray(gradient)[np.asarray(MASK) == 0], 0.0)
    assert (np.asarray(gradient)[np.asarray(MASK) == 1] != 0).all()


def test_equal_values_have_no_spread_and_a_finite_gradient():
    value, gradient = jax.value_and_grad(masked_std)(jnp.full(4, 3.0), jnp.ones(4))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(4))


def test_one_element_has_no_unbiased_spread():
    assert masked_std(jnp.array([4.0, 7.0]), jnp.array([1, 0]), ddof=1) == 0.0


def test_low_precision_is_summed_in_float32():
    total = masked_sum(jnp.ones(1000, jnp.bfloat16), jnp.ones(1000))
    assert total.dtype == jnp.float32
    assert total == 1000.0
