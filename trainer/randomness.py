"""Every random number of a job, as a function of (seed, tag, position).

Nothing here keeps state. A number depends on the job's seed, on what it is
for (its tag) and on where in the job it is used, so a resumed job and a job
on other replicas draw the same ones.
"""

import enum

import numpy as np
import tensorflow as tf

from trainer import arithmetic

_PHILOX = 1  # tf.random.Algorithm.PHILOX, for the raw operations.
_FLOATS_PER_COUNTER = 4  # A Philox counter gives 128 bits.
# The public tf.random.experimental.index_shuffle runs 4 rounds, and the
# orders of two epochs then correlate at 0.91.
_SHUFFLE_ROUNDS = 16


class Tag(enum.IntEnum):
    """What random numbers are for; each use has its own stream."""

    ORDER = 1
    TRAIN_NOISE = 2
    TEST_NOISE = 3
    PICTURES = 4
    WEIGHTS = 5
    BINARIZE = 6
    IMPORTANCE_NOISE = 7
    PSEUDO_INPUTS = 8
    PRIOR_COMPONENT = 9


def normal(seed, tag, row, position, count, width):
    """Draws rows of a table of standard normals without drawing the rest.

    The table has a page for each `row` (a training step, say); a page has
    `width` columns and as many lines as one likes. A line starts at a Philox
    counter of its own, so a slice costs what the slice costs:
    `normal(..., position=a, count=n)` equals lines a to a+n of any longer
    draw, bit for bit (Salmon et al. 2011, "Parallel random numbers: as easy
    as 1, 2, 3").

    Args:
        seed: int or int64 tensor of shape (), the job's seed.
        tag: a `Tag`.
        row: int or integer tensor of shape (), the page.
        position: int or integer tensor of shape (), the first line.
        count: int or integer tensor of shape (), number of lines.
        width: int, number of columns.

    Returns:
        float32 tensor of shape (count, width), whatever the precision of the
        model, so that float32 and float64 runs see the same noise.
    """
    return _table(
        tf.raw_ops.StatelessRandomNormalV2,
        seed, tag, row, position, count, width,
    )  # fmt: skip


def uniform(seed, tag, row, position, count, width):
    """Draws rows of a table of uniform numbers: see `normal`.

    Returns:
        float32 tensor of shape (count, width), multiples of 2^-23 from 0 to
        below 1.
    """
    return _table(
        tf.raw_ops.StatelessRandomUniformV2,
        seed, tag, row, position, count, width,
    )  # fmt: skip


def _table(operation, seed, tag, row, position, count, width):
    counters_per_line = -(-width // _FLOATS_PER_COUNTER)
    key = tf.raw_ops.StatelessRandomGetKeyCounter(
        seed=tf.convert_to_tensor([seed, int(tag)], tf.int64)
    ).key
    first = tf.cast(position, tf.int64) * counters_per_line
    counter = tf.stack([first, tf.cast(row, tf.int64)])
    lines = operation(
        shape=tf.stack(
            [
                tf.cast(count, tf.int32),
                counters_per_line * _FLOATS_PER_COUNTER,
            ]
        ),
        key=key,
        counter=tf.cast(counter, tf.uint64),
        alg=_PHILOX,
        dtype=tf.float32,
    )
    return lines[:, :width]


def shuffled(positions, seed, epoch, size, version=arithmetic.NEWEST):
    """Returns the examples that stand at `positions` of an epoch's order.

    The shuffle uses only the low bits of its three key words: 8 of each where
    there are up to 65,537 examples. So the higher bits of the epoch and of the
    seed go into the third word. Seeds from 65,536 on may still share an order
    with another one.

    Args:
        positions: int64 tensor of shape (n,), each from 0 to size - 1.
        seed: int, the job's seed.
        epoch: int64 tensor of shape (), from 0.
        size: int, the number of examples.
        version: int, of the job's arithmetic; in the first one, the orders of
            seeds and of epochs came again after 256.

    Returns:
        int64 tensor of shape (n,): entries of a permutation of range(size)
        that depends on (seed, epoch) alone.
    """
    return tf.raw_ops.RandomIndexShuffle(
        index=positions,
        seed=tf.stack(_order_words(seed, tf.cast(epoch, tf.int64), version)),
        max_index=tf.constant(size - 1, tf.int64),
        rounds=_SHUFFLE_ROUNDS,
    )


def chosen(seed, tag, count, size):
    """Returns `count` of the integers below `size`, none twice.

    Args:
        seed: int, the job's seed.
        tag: a `Tag`.
        count: int, at most `size`.
        size: int.

    Returns:
        int64 tensor of shape (count,).
    """
    with tf.device("CPU:0"):
        return tf.raw_ops.RandomIndexShuffle(
            index=tf.range(count, dtype=tf.int64),
            # The shuffle counts the low bits of a word only: see `shuffled`.
            seed=tf.constant([seed, seed // 256, int(tag)], tf.int64),
            max_index=tf.constant(size - 1, tf.int64),
            rounds=_SHUFFLE_ROUNDS,
        )


def _order_words(seed, epoch, version):
    """Returns the three key words of an order, int64 tensors of shape ()."""
    seed, tag = (tf.constant(int(word), tf.int64) for word in (seed, Tag.ORDER))
    if version == arithmetic.FIRST:
        return seed, epoch, tag
    high = seed // 256
    return seed, epoch, tag + epoch // 256 + high % 16 * 16 + high // 16 % 16


def initializer_seeds(seed, count):
    """Returns `count` integer seeds for the layers of a model."""
    state = np.random.SeedSequence([seed, int(Tag.WEIGHTS)])
    return [int(value) for value in state.generate_state(count)]


def layer_seed(seed, name):
    """Returns the integer seed of a layer's first weights.

    Args:
        seed: int, of the model.
        name: str, of the layer.
    """
    state = np.random.SeedSequence(
        [seed, int(Tag.WEIGHTS), *name.encode("utf-8")]
    )
    return int(state.generate_state(1)[0])
