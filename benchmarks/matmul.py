"""The contender that sets the roofline: a large float32 matrix product."""

import contextlib
import json
import sys

from benchmarks.turns import BenchmarkOver, Turn
from trainer.runtime.command import quiet_tensorflow


def main():
    """Multiplies square matrices of `size` rows; a step is one product."""
    settings = json.loads(sys.argv[1])
    turn = Turn()
    with quiet_tensorflow():
        import tensorflow as tf
    size = settings["size"]
    left = tf.random.normal([size, size])
    right = tf.random.normal([size, size])
    multiply = tf.function(tf.linalg.matmul)
    with contextlib.suppress(BenchmarkOver):
        turn.ready(flops=2 * size**3)
        while True:
            multiply(left, right)
            turn.did(1)


if __name__ == "__main__":
    main()
