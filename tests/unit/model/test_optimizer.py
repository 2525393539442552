import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.model import optimizer as optimizer_lib
from trainer.schedule import Schedule

SCHEDULE = Schedule(steps_per_epoch=5, total_steps=10)
COSINE = TrainConfig(learning_rate=0.2, learning_rate_schedule="cosine")


RANDOM = np.random.default_rng(0)
START = RANDOM.normal(size=(40, 3))
GRADIENTS = RANDOM.normal(size=(30, 40, 3))


def after_all_gradients(optimizer, dtype):
    weight = keras.Variable(START, dtype=dtype, name="weight")
    optimizer.build([weight])
    for gradient in GRADIENTS:
        optimizer.apply([tf.constant(gradient, dtype)], [weight])
    return [weight, *optimizer.variables]


@pytest.mark.parametrize("epsilon", [1e-7, 0.03])
def test_it_is_the_formula_of_the_paper(epsilon):
    weight, m, v = START.copy(), 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS, start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        rate = 0.125 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight -= rate * m / (np.sqrt(v) + epsilon)
    adam = optimizer_lib.Adam(0.125, epsilon=epsilon)
    found, *_ = after_all_gradients(adam, "float64")
    np.testing.assert_allclose(found.numpy(), weight, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_it_is_keras_adam_up_to_rounding(schedule):
    # Keras rounds the decay rates to float32 at other places: 0.999 by 1e-5
    # of its distance to 1.
    rate = 0.1
    if schedule:
        rate = keras.optimizers.schedules.CosineDecay(0.1, 30)
    expected = after_all_gradients(keras.optimizers.Adam(rate), "float32")
    found = after_all_gradients(optimizer_lib.Adam(rate), "float32")
    for theirs, ours in zip(expected, found, strict=True):
        assert theirs.path.split("/")[1:] == ours.path.split("/")[1:]
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=3e-5)


def test_the_cosine_falls_from_the_learning_rate_to_zero():
    rates = [
        optimizer_lib.learning_rate_at(step, COSINE, SCHEDULE)
        for step in range(1, 12)
    ]
    expected = 0.1 * (1 + np.cos(np.pi * np.arange(11) / 10))
    np.testing.assert_allclose(rates, expected, atol=1e-7)


def test_a_constant_learning_rate_is_the_same_at_every_step():
    config = TrainConfig(learning_rate=0.25)
    for step in (1, 10):
        rate = optimizer_lib.learning_rate_at(step, config, SCHEDULE)
        assert rate == 0.25
