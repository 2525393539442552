"""The binary images that a model is evaluated on, drawn once from grey ones.

The split and the draws are those of the code of Tomczak & Welling 2018, "VAE
with a VampPrior" (github.com/jmtomczak/vae_vampprior, utils/load_data.py). The
training images are drawn anew at each step: `order.py`.
"""

import dataclasses
import math
import os
import tempfile

import numpy as np

from trainer import places
from trainer.data import images
from trainer.errors import ConfigError

# One image in six is for validation: 10,000 of the 60,000.
_VALIDATION_DIVISOR = 6
_SEED = 777
# Of grey images that are drawn at once; drawing takes 20 times as many.
_BATCH_BYTES = 1 << 20


def split_and_draw(data, stop):
    """Returns data with a validation set, and binary images to evaluate on.

    Where there is no validation set, the last sixth of the training images
    becomes one; the others stay grey. `np.random.RandomState(777)`, whose
    numbers are the same in all versions of NumPy, draws `binomial(1, value /
    255)`, with the quotient in float32, for the validation images, then for
    the test images.

    Args:
        data: a `Dataset`.
        stop: a `StopSignal`.

    Returns:
        A `Dataset` whose `validation_images` and `test_images` are uint8, 0
        or 255.

    Raises:
        ConfigError: there are too few training images to split.
        InterruptedJobError: the stop signal came.
    """
    generator = np.random.RandomState(_SEED)

    if data.validation_images is not None:
        return dataclasses.replace(
            data,
            validation_images=draw(data.validation_images, generator, stop),
            test_images=draw(data.test_images, generator, stop),
        )
    held_out = len(data.train_images) // _VALIDATION_DIVISOR
    if held_out == 0:
        raise ConfigError(
            "--binarize=dynamic keeps one training image in "
            f"{_VALIDATION_DIVISOR} for validation, but there are "
            f"{len(data.train_images)}; use at least {_VALIDATION_DIVISOR}."
        )
    labels = data.train_labels
    kept = len(data.train_images) - held_out
    return dataclasses.replace(
        data,
        train_images=images.first(data.train_images, kept),
        train_labels=None if labels is None else labels[:kept],
        validation_labels=None if labels is None else labels[kept:],
        validation_images=draw(
            images.after(data.train_images, kept), generator, stop
        ),
        test_images=draw(data.test_images, generator, stop),
    )


def draw(grey, generator, stop):
    """Returns binary images of grey ones, drawn one batch after the other.

    The generator gives each pixel its numbers in turn, so that the size of a
    batch changes no value. Those of images on a disk go to a file.

    Args:
        grey: uint8 array or `StoredImages`, of shape (N, height, width,
            channels).
        generator: an `np.random.RandomState`.
        stop: a `StopSignal`.

    Returns:
        The same, 0 or 255.
    """
    count = len(grey)
    size = max(1, _BATCH_BYTES // math.prod(grey.shape[1:]))
    batches = (
        _draw_batch(grey[start : start + size], generator, stop)
        for start in range(0, count, size)
    )
    if isinstance(grey, images.StoredImages):
        return images.StoredImages(_BitFile(grey.shape, batches))
    drawn = np.empty(grey.shape, np.uint8)
    for number, batch in enumerate(batches):
        drawn[number * size : number * size + len(batch)] = batch
    return drawn


def _draw_batch(grey, generator, stop):
    stop.check()
    probabilities = grey.astype(np.float32) / 255
    return (255 * generator.binomial(1, probabilities)).astype(np.uint8)


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _BitFile:
    """Binary images in a file of a bit a pixel, which ends with the process.

    It lies in the cache, since a folder for temporary files may be memory.
    Threads may share it.

    Args:
        shape: (count, height, width, channels).
        batches: iterable of uint8 arrays of images, 0 or 255.

    Attributes:
        count: int, how many images it has.
        image_shape: (height, width, channels).
    """

    _file = None

    def __init__(self, shape, batches):
        self.count, *self.image_shape = shape
        self._pixels = math.prod(self.image_shape)
        self._file = tempfile.TemporaryFile(dir=_made(places.cache_folder()))
        for batch in batches:
            rows = batch.reshape(len(batch), self._pixels)
            self._file.write(np.packbits(rows, axis=1).tobytes())
        self._file.flush()

    def read(self, indices):
        """Returns uint8 images, 0 or 255, of an array of indices."""
        rows = np.empty((len(indices), -(-self._pixels // 8)), np.uint8)
        for row, index in zip(rows, indices, strict=True):
            found = os.preadv(self._file.fileno(), [row], int(index) * len(row))
            if found != len(row):
                raise IndexError(f"there are {self.count} images")
        bits = np.unpackbits(rows, axis=1, count=self._pixels)
        return (255 * bits).reshape(len(rows), *self.image_shape)

    def __del__(self):
        if self._file is not None:
            self._file.close()
