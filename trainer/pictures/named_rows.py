"""Rows of images with a name to the left of each."""

import numpy as np
from matplotlib.figure import Figure

from trainer.pictures import charts, png

# Where the rows are ten inches wide, the names beside them have 1.5 inches.
_ROWS_INCHES, _NAMES_INCHES = 10.0, 1.5
_NAME_POINTS = 14
# Narrower rows leave names too small to read.
_LEAST_WIDTH = 400
# Of a picture with a row for each class, the first ones.
MOST_CLASSES = 30


def scale_of(pixels):
    """Returns by how much to scale a picture, so that names can be read.

    Args:
        pixels: as of `with_names`.
    """
    return -(-_LEAST_WIDTH // pixels.shape[1])


def with_names(pixels, names, scale=1):
    """Returns pixels with a name to the left of each row.

    Args:
        pixels: uint8 array of shape (rows x row height, width, channels).
        names: list of str, one a row.
        scale: pixels of the result per pixel.

    Returns:
        uint8 array of shape (height, wider, 3).
    """
    pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width, _ = pixels.shape
    column = _names(names, height, width)
    pixels = np.broadcast_to(pixels, (height, width, 3))
    return np.concatenate([column, pixels], axis=1)


def without_names(pixels, image_width, scale=1):
    """Returns what `with_names` was given, of images of that width.

    Args:
        pixels: uint8 array of shape (height, width, 3).
        image_width: int, pixels.
        scale: as of `with_names`.
    """
    share = 1 + _NAMES_INCHES / _ROWS_INCHES
    columns = round(pixels.shape[1] / share / (image_width * scale))
    width = columns * image_width * scale
    return pixels[::scale, pixels.shape[1] - width :: scale]


def save(path, pixels, names, scale=1):
    """Saves pixels as a PNG, with a name to the left of each row.

    Args:
        path: where to.
        pixels: as of `with_names`.
        names: as of `with_names`.
        scale: as of `with_names`.
    """
    png.save(path, with_names(pixels, names, scale))


def _names(names, height, width):
    """Returns a column of names that stands before rows of that size."""
    dpi = width / _ROWS_INCHES
    # Half a pixel more, since the last one is cut off unless it is whole.
    size = (_NAMES_INCHES, (height + 0.5) / dpi)
    figure = Figure(figsize=size, dpi=dpi, facecolor="white")
    for row, name in enumerate(names):
        figure.text(
            0.95,
            1 - (row + 0.5) / len(names),
            name,
            ha="right",
            va="center",
            fontsize=_NAME_POINTS,
            parse_math=False,
        )
    return charts.to_pixels(figure)
