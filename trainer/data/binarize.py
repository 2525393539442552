"""The binary images that a model is evaluated on, drawn once from grey ones.

The split and the draws are those of the code of Tomczak & Welling 2018, "VAE
with a VampPrior" (github.com/jmtomczak/vae_vampprior, utils/load_data.py). The
training images are drawn anew at each step: `order.py`.
"""

import dataclasses

import numpy as np

from trainer.data import images
from trainer.errors import ConfigError

# One image in six is for validation: 10,000 of the 60,000.
_VALIDATION_DIVISOR = 6
_SEED = 777


def split_and_draw(data):
    """Returns data with a validation set, and binary images to evaluate on.

    Where there is no validation set, the last sixth of the training images
    becomes one; the others stay grey. `np.random.RandomState(777)`, whose
    numbers are the same in all versions of NumPy, draws `binomial(1, value /
    255)`, with the quotient in float32, for the validation images, then for
    the test images.

    Args:
        data: a `Dataset`.

    Returns:
        A `Dataset` whose `validation_images` and `test_images` are uint8, 0
        or 255.

    Raises:
        ConfigError: there are too few training images to split.
    """
    generator = np.random.RandomState(_SEED)

    def draw(grey):
        probabilities = grey.astype(np.float32) / 255
        return (255 * generator.binomial(1, probabilities)).astype(np.uint8)

    if data.validation_images is not None:
        return dataclasses.replace(
            data,
            validation_images=draw(data.validation_images[:]),
            test_images=draw(data.test_images[:]),
        )
    held_out = len(data.train_images) // _VALIDATION_DIVISOR
    if held_out == 0:
        raise ConfigError(
            "--binarize=dynamic keeps one training image in "
            f"{_VALIDATION_DIVISOR} for validation, but there are "
            f"{len(data.train_images)}; use at least {_VALIDATION_DIVISOR}."
        )
    labels = data.train_labels
    return dataclasses.replace(
        data,
        train_images=images.first(
            data.train_images, len(data.train_images) - held_out
        ),
        train_labels=None if labels is None else labels[:-held_out],
        validation_images=draw(data.train_images[-held_out:]),
        test_images=draw(data.test_images[:]),
    )
