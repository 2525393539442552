"""Grids and rows of images: what a model learned, as arrays of pixels."""

import dataclasses

import numpy as np
import tensorflow as tf

from trainer import randomness
from trainer.model import inference
from trainer.pictures import sheet

GRID_ROWS = 30
# Up to which side grey images are thumbnails of 30 in a row: the notebook's.
_THUMBNAIL = 28
# Of other images, enlarged by a whole factor, the least side; and what their
# grid has, so that with its gaps it fits on a page of 912 pixels.
_LEAST_SIDE, _GRID_PIXELS = 64, 870
COLUMNS = 10
_MANIFOLD_LIMIT = 2.0


def rows_of_grid(image_shape):
    """Returns how many rows and columns of images make a grid to look at.

    30 of grey images as small as the notebook's, fewer of others: none is
    shown smaller than it is.

    Args:
        image_shape: (height, width, channels).
    """
    *sides, channels = image_shape
    side = max(sides)
    if channels == 1 and side <= _THUMBNAIL:
        return GRID_ROWS
    enlarged = side * -(-_LEAST_SIDE // side)
    return max(1, _GRID_PIXELS // enlarged)


def is_plane(vae):
    """Whether the grid of a model shows the plane of its two latent units.

    A prior that is learned has no such place, and each class its own plane.
    """
    return vae.latent_dim == 2 and vae.prior.kl_is_exact and not vae.classes


def grid_codes(vae, rows, seed, temperature=1.0):
    """Returns the latent vectors of a grid, row by row.

    Draws from the prior; or, of two latent units, each cell's own
    coordinates: from -2 to 2 across, and from 2 down to -2.

    Args:
        vae: a `trainer.model.vae.VAE`.
        rows: int, rows and columns of the grid.
        seed: int, of the draws.
        temperature: float, of the draws: see `priors`.

    Returns:
        float32 array of shape (rows x rows, latent_dim).
    """
    if is_plane(vae):
        across = np.linspace(-_MANIFOLD_LIMIT, _MANIFOLD_LIMIT, rows)
        x, y = np.meshgrid(across, across[::-1])
        return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
    return prior_codes(vae, rows * rows, seed, temperature)


def prior_codes(vae, count, seed, temperature=1.0):
    """Returns latent vectors drawn from the prior, for pictures.

    Args:
        vae: as of `grid_codes`.
        count: int.
        seed: as of `grid_codes`.
        temperature: as of `grid_codes`.

    Returns:
        float32 array of shape (count, latent_dim).
    """
    return vae.prior.draw(
        seed,
        randomness.Tag.PICTURES,
        row=0,
        position=0,
        count=count,
        temperature=temperature,
    ).numpy()


@dataclasses.dataclass(frozen=True)
class Draws:
    """Latent vectors of a picture, and what is decoded with them.

    Attributes:
        z: float32 array of shape (N, latent_dim), row by row.
        columns: int.
        labels: integers of shape (N,), of a model that takes them; or None.
        is_plane: whether they are of the plane of two latent units.
    """

    z: np.ndarray
    columns: int
    labels: np.ndarray | None = None
    is_plane: bool = False

    def row_names(self, class_names):
        """Returns the class of each row, where they differ; else nothing."""
        if self.labels is None or len(set(self.labels)) == 1:
            return ()
        return [class_names[label] for label in self.labels[:: self.columns]]


def draws(vae, rows, seed, temperature=1.0, label=None, *, as_plane=True):
    """Returns the `Draws` of a grid of generated images.

    Of a model that takes labels there is a row for each class, the first 30
    at most. All rows are of the same draws from the prior then, so that a
    column shows what the class alone changes.

    Args:
        vae: a `trainer.model.vae.VAE`.
        rows: int, rows and columns of the grid, or columns alone where each
            row is of a class.
        seed: int, of the draws.
        temperature: float, of the draws: see `priors`.
        label: int, the class of all of them, of a model that takes labels;
            None for a row of each.
        as_plane: whether a model with a plane shows that: see `is_plane`.
    """
    if as_plane and is_plane(vae):
        return Draws(grid_codes(vae, rows, seed), rows, is_plane=True)
    if not vae.classes or label is not None:
        z = prior_codes(vae, rows * rows, seed, temperature)
        return Draws(z, rows, None if label is None else np.full(len(z), label))
    of_classes = min(vae.classes, sheet.MOST_NAMED)
    z = prior_codes(vae, rows, seed, temperature)
    return Draws(
        np.tile(z, (of_classes, 1)), rows, np.arange(of_classes).repeat(rows)
    )


def grid(vae, rows=GRID_ROWS, seed=0, temperature=1.0, label=None):
    """Draws a grid of generated images: see `draws`.

    Args:
        vae: as of `draws`.
        rows: as of `draws`.
        seed: as of `draws`.
        temperature: as of `draws`.
        label: as of `draws`.

    Returns:
        uint8 array of shape (rows x height, columns x width, channels).
    """
    found = draws(vae, rows, seed, temperature, label)
    return tile(inference.decode(vae, found.z, found.labels), found.columns)


def reconstruction_rows(vae, images, labels=None):
    """Draws images above their reconstructions.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels); the first
            ones are drawn.
        labels: integers of shape (N,), of a model that takes them.

    Returns:
        uint8 array of shape (2 x height, columns x width, channels).
    """
    originals = images[:COLUMNS]
    of_originals = inference.some(labels, slice(COLUMNS))
    both = [originals, inference.reconstruct(vae, originals, of_originals)]
    return tile(np.concatenate(both), len(originals))


def reconstruction_errors(vae, images, labels=None):
    """Returns the reconstruction loss of the images of `reconstruction_rows`.

    Rows of metrics have it of a draw from the posterior. This is that of the
    posterior's mean, from which the picture is.

    Args:
        vae: as of `reconstruction_rows`.
        images: as of `reconstruction_rows`.
        labels: as of `reconstruction_rows`.

    Returns:
        float array of shape (columns,).
    """
    images = images[:COLUMNS]
    labels = inference.some(labels, slice(COLUMNS))
    z = tf.cast(
        inference.encode(vae, images, labels), vae.decoder.compute_dtype
    )
    pixels = tf.cast(images, vae.encoder.variable_dtype) / 255
    return vae.reconstruction_loss(pixels, z, labels).numpy()


def interpolation_rows(vae, images, labels=None):
    """Draws the way from one image to another, a pair in each row.

    The latent vectors lie on the line between the two posterior means. Of a
    model that takes labels, a row is of the class of its first image.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels); the first
            ones are used, the next in turn for each row.
        labels: as of `reconstruction_rows`.

    Returns:
        uint8 array of shape (rows x height, 10 x width, channels).
    """
    count = min(COLUMNS + 1, len(images))
    labels = inference.some(labels, slice(count))
    means = inference.encode(vae, images[:count], labels)
    way = np.linspace(0, 1, COLUMNS)[np.newaxis, :, np.newaxis]
    starts, ends = means[:-1, np.newaxis], means[1:, np.newaxis]
    codes = starts + way * (ends - starts)
    if labels is not None:
        labels = np.repeat(labels[:-1], COLUMNS)
    return tile(
        inference.decode(vae, codes.reshape(-1, means.shape[1]), labels),
        COLUMNS,
    )


def tile(images, columns):
    """Lays images out in rows.

    Args:
        images: array of shape (rows x columns, height, width, channels).
        columns: int.

    Returns:
        Array of shape (rows x height, columns x width, channels).
    """
    _, height, width, channels = images.shape
    rows = images.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    return rows.reshape(-1, columns * width, channels)


def cells(pixels, height, width):
    """Cuts a picture into the images that `tile` laid out.

    Args:
        pixels: array of shape (rows x height, columns x width, channels).
        height: int, of an image.
        width: int, of an image.

    Returns:
        Array of shape (rows, columns, height, width, channels).
    """
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    shape = (rows, height, columns, width, pixels.shape[2])
    return pixels.reshape(shape).swapaxes(1, 2)
