import numpy as np
import pytest
import tensorflow as tf

from trainer.model import objective


def test_kl_agrees_with_a_monte_carlo_estimate():
    mean, log_var = np.array([[0.7]]), np.array([[-0.4]])
    z = mean + np.exp(log_var / 2) * np.random.default_rng(0).normal(
        size=(400_000, 1)
    )
    log_q = -0.5 * (log_var + (z - mean) ** 2 / np.exp(log_var))
    log_p = -0.5 * z**2
    exact = objective.kl_per_unit(tf.constant(mean), tf.constant(log_var))
    assert exact.numpy()[0, 0] == pytest.approx(
        (log_q - log_p).mean(), abs=5e-3
    )


def test_kl_of_the_prior_is_zero():
    zeros = tf.zeros([3, 5])
    np.testing.assert_array_equal(objective.kl_per_unit(zeros, zeros), 0)


@pytest.mark.parametrize(
    ("step", "warmup_steps", "beta", "weight"),
    [
        (1, 936.0, 1.0, 0.0),
        (469, 936.0, 1.0, 0.5),
        (937, 936.0, 1.0, 1.0),
        (5000, 936.0, 1.0, 1.0),
        (469, 936.0, 4.0, 2.0),
        (1, 0.0, 0.5, 0.5),
        (2, 0.5, 1.0, 1.0),
    ],
)
def test_kl_weight_rises_in_a_line(step, warmup_steps, beta, weight):
    found = objective.kl_weight(tf.constant(step), warmup_steps, beta)
    assert float(found) == pytest.approx(weight, abs=1e-15)


def test_free_bits_are_the_maximum_with_the_mean_kl_of_each_unit():
    rng = np.random.default_rng(0)
    mean = tf.Variable(rng.normal(size=(6, 4)) * [0.1, 0.5, 1, 2])
    log_var = tf.zeros([6, 4], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        kl = objective.kl_per_unit(mean, log_var)
        kl_of_units = tf.reduce_mean(kl, axis=0)
        penalty = tf.reduce_mean(
            objective.free_bits_kl(kl, tf.stop_gradient(kl_of_units), 0.3)
        )
        expected = tf.reduce_sum(tf.maximum(kl_of_units, 0.3))
    assert float(penalty) == pytest.approx(float(expected), rel=1e-12)
    gradient = tape.gradient(penalty, mean)
    np.testing.assert_allclose(gradient, tape.gradient(expected, mean))
    assert not gradient.numpy()[:, 0].any(), "the first unit is below"
