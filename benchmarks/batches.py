"""The contender: batches of training images alone, without a step.

It reads them in the job's own order, or it makes the pipeline anew for each
and takes the first batch.
"""

import contextlib
import json
import sys

import numpy as np

from benchmarks.turns import BenchmarkOver, Turn
from trainer.runtime.command import quiet_tensorflow
from trainer.runtime.training_flags import parse_flags


class BlankSplit:
    """Stands in for a `trainer.data.records.StoredSplit` of any size.

    Args:
        count: int, how many images it pretends to have.
        image_shape: (height, width, channels).
    """

    def __init__(self, count, image_shape):
        self.count, self.image_shape = count, tuple(image_shape)

    def read(self, indices):
        """Returns black images of shape (n, height, width, channels)."""
        return np.zeros((len(indices), *self.image_shape), np.uint8)


def main():
    """Gives batches by the settings.

    They are `flags` of the trainer, and for first batches `first_step`,
    `count` and `image_shape` of images that nobody has.
    """
    settings = json.loads(sys.argv[1])
    turn = Turn()
    config = parse_flags(settings["flags"])
    with quiet_tensorflow():
        from trainer.data import images, order, records
        from trainer.distributed import devices
        from trainer.schedule import Schedule
    strategy = devices.connect(config).strategy
    is_first = "first_step" in settings
    if is_first:
        split = BlankSplit(settings["count"], settings["image_shape"])
    else:
        split = records.open_dataset(config.data_dir).splits["train"]
    stored = images.StoredImages(split)
    schedule = Schedule.of(config, len(stored))

    def batches(first_step):
        return iter(
            order.train_batches(stored, config, schedule, strategy, first_step)
        )

    with contextlib.suppress(BenchmarkOver):
        turn.ready()
        if is_first:
            while True:
                next(batches(settings["first_step"]))
                turn.did(1)
        for _ in batches(1):
            turn.did(1)


if __name__ == "__main__":
    main()
