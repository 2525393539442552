"""The contender that sets the roofline: a large float32 matrix product."""

import contextlib
import json
import sys
import time

from benchmarks.turns import BenchmarkOver, Turn
from trainer.runtime.command import quiet_tensorflow


def multiplier(size, dtype="float32"):
    """Returns a function that starts a product of two matrices of noise.

    Args:
        size: int, their rows and columns.
        dtype: str.
    """
    import tensorflow as tf

    left, right = (
        tf.cast(tf.random.stateless_normal([size, size], (0, seed)), dtype)
        for seed in (1, 2)
    )
    multiply = tf.function(tf.linalg.matmul)
    return lambda: multiply(left, right)


def flops_per_second(size, dtype, seconds):
    """Returns how many operations a second such products take.

    Args:
        size: int, as of `multiplier`.
        dtype: str, of both factors.
        seconds: float, for how long to measure.
    """
    import tensorflow as tf

    multiply, finish = (
        multiplier(size, dtype),
        tf.test.experimental.sync_devices,
    )
    count, took = 0, 0.0
    at_once = 1
    multiply()
    finish()
    while took < seconds:
        started = time.perf_counter()
        for _ in range(at_once):
            multiply()
        finish()
        took += time.perf_counter() - started
        count += at_once
        # Waiting after each of them would count as work.
        at_once *= 2
    return 2 * size**3 * count / took


def main():
    """Multiplies square matrices of `size` rows; a step is one product."""
    settings = json.loads(sys.argv[1])
    turn = Turn()
    with quiet_tensorflow():
        import tensorflow as tf
    turn.finish = tf.test.experimental.sync_devices
    size = settings["size"]
    multiply = multiplier(size)
    with contextlib.suppress(BenchmarkOver):
        turn.ready(flops=2 * size**3)
        while True:
            multiply()
            turn.did(1)


if __name__ == "__main__":
    main()
