import itertools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from trainer import arithmetic, randomness
from trainer.randomness import Tag


@pytest.mark.parametrize("draw", [randomness.normal, randomness.uniform])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 10, 200, 784])
def test_slice_of_noise_equals_slice_of_one_draw(draw, width):
    whole = draw(5, Tag.TRAIN_NOISE, 9, 0, 96, width).numpy()
    for start, count in [(0, 32), (32, 32), (64, 32), (95, 1)]:
        part = draw(5, Tag.TRAIN_NOISE, 9, start, count, width)
        np.testing.assert_array_equal(part, whole[start : start + count])


def test_noise_of_other_step_tag_or_seed_is_unrelated():
    draws = [
        randomness.normal(seed, tag, step, 0, 500, 8).numpy().ravel()
        for seed, tag, step in [
            (0, Tag.TRAIN_NOISE, 1),
            (0, Tag.TRAIN_NOISE, 2),
            (0, Tag.TEST_NOISE, 1),
            (1, Tag.TRAIN_NOISE, 1),
        ]
    ]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    # Of 4000 independent pairs it has a standard deviation of 0.016.
    assert np.abs(correlation).max() < 0.08


def test_noise_is_standard_normal():
    noise = randomness.normal(0, Tag.TRAIN_NOISE, 1, 0, 5000, 200).numpy()
    assert noise.mean() == pytest.approx(0, abs=5e-3)
    assert noise.std() == pytest.approx(1, abs=5e-3)
    # Excess kurtosis of a normal is 0, with a standard error of 0.005 here.
    assert (noise**4).mean() == pytest.approx(3, abs=0.05)


def test_uniform_numbers_are_uniform():
    draw = randomness.uniform(0, Tag.BINARIZE, 1, 0, 5000, 200).numpy()
    assert draw.min() >= 0
    assert draw.max() < 1
    counts = np.bincount((draw * 256).astype(int).ravel(), minlength=256)
    # 255 degrees of freedom: the standard deviation is 22.6.
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi_square < 255 + 5 * 22.6


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(
    size=st.integers(1, 3000),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 99),
)
def test_order_of_an_epoch_is_a_permutation(size, seed, epoch):
    order = randomness.shuffled(
        tf.range(size, dtype=tf.int64), seed, tf.constant(epoch), size
    )
    assert sorted(order.numpy()) == list(range(size))


def beginnings(seeds, epochs, size, version=arithmetic.NEWEST):
    """Where each order begins: its first 16 entries, as a set of tuples."""
    places = tf.range(16, dtype=tf.int64)
    begins = tf.function(
        lambda epoch, seed: randomness.shuffled(
            places, seed, epoch, size, version
        )
    )
    if len(epochs) == 1:
        # A seed is a constant of the graph: one for all would be traced anew.
        begins = begins.python_function
    return {
        tuple(begins(tf.constant(epoch, tf.int64), seed).numpy())
        for seed in seeds
        for epoch in epochs
    }


SIZES = (1_000, 60_000, 10**6)
ONE_QUICKLY = [
    size if size == 60_000 else pytest.param(size, marks=pytest.mark.slow)
    for size in SIZES
]


@pytest.mark.parametrize("size", ONE_QUICKLY)
def test_4096_epochs_have_4096_orders(size):
    assert len(beginnings([0], range(4096), size)) == 4096


@pytest.mark.parametrize("size", ONE_QUICKLY)
def test_4096_seeds_have_4096_orders(size):
    assert len(beginnings(range(4096), [0], size)) == 4096


@pytest.mark.parametrize("size", SIZES)
def test_the_first_256_seeds_and_epochs_keep_the_orders_that_they_had(size):
    places = tf.range(size if size == 1_000 else 64, dtype=tf.int64)
    for seed, epoch in [(0, 0), (0, 255), (255, 0), (255, 255), (17, 99)]:
        # What version 0.1.0 computed.
        before = tf.raw_ops.RandomIndexShuffle(
            index=places,
            seed=tf.constant([seed, epoch, 1], tf.int64),
            max_index=tf.constant(size - 1, tf.int64),
            rounds=16,
        )
        for version in (arithmetic.FIRST, arithmetic.NEWEST):
            order = randomness.shuffled(
                places, seed, tf.constant(epoch), size, version
            )
            np.testing.assert_array_equal(order, before)


def test_a_job_of_the_first_arithmetic_keeps_its_orders():
    places = tf.range(1_000, dtype=tf.int64)
    for seed, epoch in [(300, 0), (0, 300), (70_000, 5_000)]:
        before = tf.raw_ops.RandomIndexShuffle(
            index=places,
            seed=tf.constant([seed, epoch, 1], tf.int64),
            max_index=tf.constant(999, tf.int64),
            rounds=16,
        )
        first, newest = (
            randomness.shuffled(
                places, seed, tf.constant(epoch), 1_000, version
            )
            for version in (
                arithmetic.FIRST,
                arithmetic.NEWEST,
            )
        )
        np.testing.assert_array_equal(first, before)
        assert not np.array_equal(newest, before)
    # They came again after 256; that is what the version is for.
    assert len(beginnings([0], range(300), 1_000, arithmetic.FIRST)) == 256


def test_orders_of_adjacent_epochs_are_unrelated():
    places = tf.range(60_000, dtype=tf.int64)
    orders = [
        randomness.shuffled(places, 0, tf.constant(epoch), 60_000).numpy()
        for epoch in range(6)
    ]
    for one, next_one in itertools.pairwise(orders):
        # The public index_shuffle gives 0.91 here.
        assert abs(np.corrcoef(one, next_one)[0, 1]) < 0.03
        assert abs(np.corrcoef(one[:-1], next_one[1:])[0, 1]) < 0.03
    # Nor is an order close to the one of the file.
    assert abs(np.corrcoef(orders[0], np.arange(60_000))[0, 1]) < 0.03


def test_every_example_is_equally_likely_in_the_first_batch():
    size, batch, epochs = 64, 16, 400
    counts = np.zeros(size)
    for epoch in range(epochs):
        order = randomness.shuffled(
            tf.range(batch, dtype=tf.int64), 3, tf.constant(epoch), size
        )
        counts[order.numpy()] += 1
    expected = epochs * batch / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # 63 degrees of freedom: the mean is 63, the standard deviation 11.
    assert chi_square < 63 + 5 * 11.3
