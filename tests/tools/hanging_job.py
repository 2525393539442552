"""Trains as `vae-train` does, but the data of a step never comes.

    HANG_AT=12 python -m tests.tools.hanging_job FLAGS

The number is that of the batch that a thread of this process waits for, from
0; without it the job trains as ever.
"""

import os
import threading

import tensorflow as tf

from trainer import task
from trainer.data import order


def never_returns(index):
    """Returns a number, unless it is that of a batch that never comes."""
    if index >= int(os.environ["HANG_AT"]):
        threading.Event().wait()
    return index


def main():
    """Runs it; ends the process."""
    distribute = order._distribute

    def with_a_hang(dataset_of_worker, strategy):
        def hanging(context):
            def pass_on(index, batch):
                come = tf.numpy_function(never_returns, [index], tf.int64)
                with tf.control_dependencies([come]):
                    return tf.nest.map_structure(tf.identity, batch)

            return dataset_of_worker(context).enumerate().map(pass_on)

        return distribute(hanging, strategy)

    if "HANG_AT" in os.environ:
        order._distribute = with_a_hang
    task.main()


if __name__ == "__main__":
    main()
