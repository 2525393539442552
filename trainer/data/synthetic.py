"""Clothes-like images drawn from a seed, for machines without the real ones."""

import numpy as np

from trainer.named_datasets import NAMED

TRAIN_EXAMPLES, TEST_EXAMPLES = 60_000, 10_000
CLASS_NAMES = NAMED["fashion_mnist"].classes
_SIDE = 28
_EDGE_PIXELS = 1.0
# Images are drawn in chunks with a generator each, so that the first N images
# are the same whatever N is.
_CHUNK = 1000
_SPLIT_SEEDS = {"train": 1, "test": 2}


def draw(split, count):
    """Draws the first `count` images of a split.

    Args:
        split: `"train"` or `"test"`.
        count: how many, at most `TRAIN_EXAMPLES` or `TEST_EXAMPLES`.

    Returns:
        (images, labels): uint8 of shape (count, 28, 28) and of shape (count,).
    """
    count = min(count, TRAIN_EXAMPLES if split == "train" else TEST_EXAMPLES)
    images = np.empty((count, _SIDE, _SIDE), np.uint8)
    labels = np.empty(count, np.uint8)
    for start in range(0, count, _CHUNK):
        chunk_images, chunk_labels = _draw_chunk(split, start // _CHUNK)
        stop = min(start + _CHUNK, count)
        images[start:stop] = chunk_images[: stop - start]
        labels[start:stop] = chunk_labels[: stop - start]
    return images, labels


def _draw_chunk(split, chunk):
    rng = np.random.default_rng([_SPLIT_SEEDS[split], chunk])
    labels = rng.integers(len(CLASS_NAMES), size=_CHUNK, dtype=np.uint8)
    images = np.empty((_CHUNK, _SIDE, _SIDE), np.uint8)
    for label in range(len(CLASS_NAMES)):
        chosen = labels == label
        images[chosen] = _draw_class(label, int(chosen.sum()), rng)
    return images, labels


def _draw_class(label, count, rng):
    """Draws `count` images of one class, uint8 of shape (count, 28, 28).

    In float64, so that machines whose `sin` differs in its last bit still
    round to the same pixels: a job knows its data by the MD5.
    """

    def vary(low, high):
        return rng.uniform(low, high, (count, 1, 1))

    y, x = np.mgrid[0:_SIDE, 0:_SIDE] + 0.5
    x = x - vary(13.2, 14.8)
    y = y - vary(-0.8, 0.8)
    left = np.abs(x)
    width, length = vary(4.5, 6.5), vary(20, 25)
    body = _inside(left - width, 3 - y, y - length)
    if label in (0, 2, 4, 6):
        # A short sleeve ends at a third of the body, a long one at its end.
        reach = vary(9, 11) if label == 0 else vary(18, 23)
        lean = vary(0.05, 0.3)
        centre = width + 1.5 + lean * (y - 3)
        sleeve = _inside(
            np.abs(left - centre) - vary(1.6, 2.4), 3 - y, y - reach
        )
        neck = _inside(left - vary(1.5, 2.8), y - vary(4, 6))
        shape = np.maximum(body, sleeve) * (1 - neck)
        if label == 4:
            shape *= 1 - 0.7 * _inside(left - 0.5, 6 - y)
        if label == 6:
            buttons = (np.mod(y, 4) < 1.5) & (left < 1.2)
            shape *= 1 - 0.5 * buttons
    elif label == 1:
        gap = vary(0.3, 1.0) + vary(0.0, 0.08) * (y - 8)
        shape = body * (1 - _inside(left - gap, 8 - y))
    elif label == 3:
        waist = vary(2.2, 3.2) + vary(0.1, 0.22) * np.abs(y - 10)
        shape = _inside(left - waist, 2 - y, y - 26)
    elif label == 8:
        half, top = vary(8, 11.5), vary(9, 13)
        ring = np.abs(np.hypot(x, y - top) - vary(4, 6)) - 0.9
        bag = _inside(left - half, top - y, y - vary(21, 25))
        shape = np.maximum(bag, _inside(ring, y - top))
    else:
        floor, height = vary(20, 23), vary(5, 8)
        slope = floor - height * (0.5 - x / 26)
        upper = _inside(left - 12, slope - y, y - floor)
        sole = _inside(left - 12.5, floor - y, y - floor - vary(1, 2.5))
        if label == 5:
            straps = np.sin(x * vary(0.7, 1.1) + vary(0, 6)) > 0.2
            upper = upper * straps
        if label == 9:
            shaft = _inside(np.abs(x + 6.5) - vary(3.5, 5.5), 3 - y, y - floor)
            upper = np.maximum(upper, shaft)
        shape = np.maximum(upper, sole * vary(0.5, 1.0))
    stripes = 1 + vary(0, 0.25) * np.sin(y * vary(0.5, 2.5) + vary(0, 6))
    pixels = shape * vary(0.45, 0.85) * stripes
    return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def _inside(*distances):
    """1 where all distances (in pixels) are negative, with soft edges."""
    return np.clip(
        0.5 - np.maximum.reduce(np.broadcast_arrays(*distances)) / _EDGE_PIXELS,
        0,
        1,
    )
