"""The files of a finished job's `plots`, and of `vae-generate`."""

import numpy as np
from matplotlib.figure import Figure

from trainer.pictures import charts, grids, png

# Pixels of a file per pixel of the few images in a row.
ROW_SCALE = 3
_LOSSES_INCHES = (12, 3.6)
# Where the rows are ten inches wide, the names beside them have 1.5 inches.
_ROWS_INCHES, _NAMES_INCHES = 10.0, 1.5
_NAME_POINTS = 14


def save_picture(path, pixels, scale=1):
    """Saves pixels as a PNG.

    Args:
        path: where to.
        pixels: uint8 array of shape (height, width, channels).
        scale: pixels of the file per pixel.
    """
    png.save(path, _enlarge(pixels, scale))


def save_named_rows(path, pixels, names, scale=1):
    """Saves pixels as a PNG, with a name to the left of each row.

    Args:
        path: where to.
        pixels: uint8 array of shape (rows x row height, width, channels).
        names: list of str, one a row.
        scale: pixels of the file per pixel.
    """
    pixels = _enlarge(pixels, scale)
    height, width, _ = pixels.shape
    column = _names(names, height, width)
    pixels = np.broadcast_to(pixels, (height, width, 3))
    png.save(path, np.concatenate([column, pixels], axis=1))


def save_plots(job, vae, config, test_images, rows, stop):
    """Draws the pictures of a finished run into its `plots` folder.

    Raises:
        InterruptedJobError: the stop signal came between two pictures.
    """
    stop.check()
    job.plots.mkdir(exist_ok=True)
    save_picture(
        job.plots / "generated.png",
        grids.grid(vae, grids.rows_of_grid(test_images.shape[1:]), config.seed),
    )
    stop.check()
    save_picture(
        job.plots / "reconstructions.png",
        grids.reconstruction_rows(vae, test_images),
        ROW_SCALE,
    )
    stop.check()
    figure = charts.losses(rows, charts.LOSSES, charts.PAPER, _LOSSES_INCHES)
    png.save(job.plots / "losses.png", charts.to_pixels(figure))


def _enlarge(pixels, scale):
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


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
