"""Images that are stored as bare pixels, in arrays of files."""

import math
import os
import pathlib

import numpy as np

from trainer.data.names import shown
from trainer.data.preparing import listing
from trainer.data.preparing.listing import (
    ANY_SPLIT,
    Listing,
    Pixels,
    RangeReader,
)
from trainer.errors import DataError


class ArrayFile:
    """An array in a file, of which only the header has been read.

    Args:
        path: `pathlib.Path`.
        offset: int, where its values begin.
        shape: tuple of int.
        dtype: `np.dtype`.
        name: str, what to call it in errors.

    Raises:
        DataError: the file has another size than the array.
    """

    def __init__(self, path, offset, shape, dtype, name):
        self.path, self.offset, self.name = path, offset, name
        self.shape, self.dtype = shape, dtype
        found = path.stat().st_size - offset
        if found != math.prod(shape) * dtype.itemsize:
            raise DataError(
                f"{name} holds {max(found, 0):,} bytes of values, but its "
                f"header promises {shape} of {dtype}; fetch it again."
            )

    def read(self):
        """Returns the whole array."""
        values = np.fromfile(self.path, self.dtype, offset=self.offset)
        return values.reshape(self.shape)


def list_arrays(kind, name, parts, *sources, class_names=()):
    """Returns the `Listing` of arrays of images, in their order.

    Args:
        kind: str, as `Listing.kind`.
        name: str, as `Listing.name`.
        parts: list of (split, images, labels): a name in `SPLITS` or "", and
            `ArrayFile`s, labels None where there are none.
        *sources: paths of the files that they come from.
        class_names: list of str; empty: the numbers of the labels.

    Raises:
        DataError: they are no images, or do not fit together.
    """
    pixels = {_pixels(images) for _, images, _ in parts}
    if len(pixels) > 1:
        raise DataError(
            f"{shown(name)} holds images of different shapes "
            f"({', '.join(str(each.shape) for each in pixels)}); they must be "
            "alike."
        )
    labels = _labels(name, parts)
    if labels is not None:
        names = list(map(shown, class_names))
        names += map(str, range(len(names), int(labels.max()) + 1))
        class_names = tuple(names)
    locators, splits = _Records(), []
    for number, (split, images, _) in enumerate(parts):
        size = math.prod(images.shape[1:])
        locators.add(number, images.offset, size, size, images.shape[0])
        index = listing.splits_of([split])[0] if split else ANY_SPLIT
        splits.append(np.full(images.shape[0], index, np.int8))
    return Listing(
        kind=kind,
        name=name,
        class_names=() if labels is None else class_names,
        labels=labels,
        splits=np.concatenate(splits),
        locators=locators,
        reader=RangeReader(
            [str(images.path) for _, images, _ in parts], *pixels
        ),
        name_of=locators.name_of([images.name for _, images, _ in parts]),
        digest=listing.digest_of(
            (pathlib.Path(path).name, os.stat(path).st_size) for path in sources
        ),
        stamp=listing.stamp_of(*sources),
    )


class _Records:
    """Locators of records that lie one behind the other in some files."""

    def __init__(self):
        self._runs = []
        self._count = 0

    def add(self, number, offset, size, stride, count):
        self._runs.append((self._count, number, offset, size, stride))
        self._count += count

    def __getitem__(self, wanted):
        if isinstance(wanted, slice):
            return [self[at] for at in range(*wanted.indices(self._count))]
        first, number, offset, size, stride = self._run(wanted)
        return number, offset + (wanted - first) * stride, size

    def name_of(self, names):
        def name_of(index):
            first, number, *_ = self._run(index)
            return f"{names[number]} image {index - first}"

        return name_of

    def _run(self, index):
        return next(run for run in reversed(self._runs) if run[0] <= index)


def _pixels(images):
    """Returns the `Pixels` of an array of images."""
    shape = images.shape
    if images.dtype != np.uint8:
        raise DataError(
            f"{images.name} holds {images.dtype}, not uint8; save whole "
            "numbers from 0 to 255 as uint8."
        )
    if len(shape) in (3, 4) and shape[0] and min(shape[1:]) > 0:
        if len(shape) == 3 or shape[3] in (1, 3, 4):
            return Pixels(shape[1:])
        if shape[1] in (1, 3, 4):
            return Pixels(shape[1:], channels_first=True)
    raise DataError(
        f"{images.name} has the shape {shape}; images are (images, height, "
        "width), (images, height, width, channels) or (images, channels, "
        "height, width), with 1, 3 or 4 channels."
    )


def _labels(name, parts):
    """Returns the labels of all parts, int32; None if one has none."""
    if any(labels is None for _, _, labels in parts):
        return None
    found = []
    for _, images, labels in parts:
        values = labels.shape[:1] + tuple(n for n in labels.shape[1:] if n != 1)
        if values != images.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(
                f"{labels.name} holds {labels.dtype} of the shape "
                f"{labels.shape}, but a whole number is needed for each of the "
                f"{images.shape[0]:,} images."
            )
        numbers = labels.read().reshape(-1)
        if numbers.min() < 0 or numbers.max() >= listing.MAX_CLASSES:
            raise DataError(
                f"{labels.name} holds labels from {numbers.min()} to "
                f"{numbers.max()}; a class is a number from 0 to "
                f"{listing.MAX_CLASSES - 1:,}."
            )
        found.append(numbers.astype(np.int32))
    return np.concatenate(found)
