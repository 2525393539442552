"""A validation set of training images, chosen by what they are."""

import dataclasses

import numpy as np

from trainer.data import images
from trainer.errors import ConfigError

# An odd number near 2^64 over the golden ratio spreads the checksums evenly
# (Knuth 1998, "The Art of Computer Programming", volume 3, section 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def hold_out(data, share):
    """Returns data with a validation set of a share of its training images.

    An image is held out or not by the checksum of its pixels: whatever else
    there is, in whichever order, and copies of an image stay together.

    Args:
        data: a `Dataset`.
        share: float from 0 to below 1; with 0 the data is returned as it is.

    Raises:
        ConfigError: there is a validation set, or none or all of the images
            would be held out.
    """
    if not share:
        return data
    if data.validation_images is not None:
        raise ConfigError(
            f"--validation_share={share:g} holds training images out, but "
            f"{data.called} has a validation set of "
            f"{len(data.validation_images)} images; leave the flag out."
        )
    spread = images.crc32c(data.train_images).astype(np.uint64) * _SPREAD
    is_held_out = spread < np.uint64(share * 2.0**64)
    held_out, kept = np.flatnonzero(is_held_out), np.flatnonzero(~is_held_out)
    if not (len(held_out) and len(kept)):
        raise ConfigError(
            f"--validation_share={share:g} holds {len(held_out)} of "
            f"{len(data.train_images)} training images out; give a share that "
            "leaves some on either side."
        )
    labels = data.train_labels
    return dataclasses.replace(
        data,
        train_images=images.some(data.train_images, kept),
        train_labels=None if labels is None else labels[kept],
        validation_images=images.some(data.train_images, held_out),
        validation_labels=None if labels is None else labels[held_out],
    )
