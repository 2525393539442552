"""Pictures of the latent space: traversals, the plane of two units, classes."""

import statistics

import numpy as np

from trainer import randomness
from trainer.model import inference
from trainer.pictures import grids

_TRAVERSAL_LIMIT = 3.0
_STATISTICS_IMAGES = 1000
# Page 0 of the pictures' noise is the grid's.
_CLASS_PAGE = 1


def most_active_units(vae, images, labels=None):
    """Returns the latent units, most active first.

    A unit is the more active, the more its posterior mean varies over the
    images (Burda et al. 2016, section 5.2).

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels); the first
            thousand are looked at.
        labels: integers of shape (N,), of a model that takes them.

    Returns:
        Integer array of shape (latent_dim,).
    """
    looked_at = slice(_STATISTICS_IMAGES)
    means = inference.encode(
        vae, images[looked_at], inference.some(labels, looked_at)
    )
    return np.argsort(-means.var(axis=0), kind="stable")


def traversal_units(vae, images, labels=None):
    """Returns the latent units that traversals move, of each group as many.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: as of `most_active_units`.
        labels: as of `most_active_units`.

    Returns:
        List of (group, unit), the most active ones of the top group first.
        Groups count from 1, units from 0 over all groups.
    """
    active = most_active_units(vae, images, labels)
    groups = vae.latents.groups
    found, start = [], 0
    for number, size in enumerate(groups, 1):
        of_group = active[(active >= start) & (active < start + size)]
        most = grids.COLUMNS // len(groups)
        found += [(number, int(unit)) for unit in of_group[:most]]
        start += size
    return found


def traversal_rows(vae, images, labels=None):
    """Draws what single latent units do: those of `traversal_units`.

    Each row moves one unit from -3 to 3 standard deviations of the prior
    around its mean; the others stay at the posterior mean of the first image,
    whose class it is of a model that takes labels.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).
        labels: as of `most_active_units`.

    Returns:
        uint8 array of shape (rows x height, 10 x width, channels).
    """
    units = [unit for _, unit in traversal_units(vae, images, labels)]
    label = inference.some(labels, 0)
    means = inference.encode(vae, images[:1], label)
    centres, deviations = vae.prior.moments()
    way = np.linspace(-_TRAVERSAL_LIMIT, _TRAVERSAL_LIMIT, grids.COLUMNS)
    codes = np.tile(means[0], (len(units), grids.COLUMNS, 1))
    for row, unit in enumerate(units):
        codes[row, :, unit] = centres[unit] + deviations[unit] * way
    return grids.tile(
        inference.decode(vae, codes.reshape(-1, means.shape[1]), label),
        grids.COLUMNS,
    )


def plane_codes(latent_dim, units, rows):
    """Returns the latent vectors of a plane through the prior, row by row.

    The coordinates are quantiles of the prior at evenly spaced
    probabilities, so that each cell stands for an equal share of it (Kingma &
    Welling 2014, figure 4). All other units are 0.

    Args:
        latent_dim: int.
        units: two ints: the unit that grows from left to right, and the one
            that grows from the bottom to the top.
        rows: int, rows and columns of the plane.

    Returns:
        float32 array of shape (rows x rows, latent_dim).
    """
    prior = statistics.NormalDist()
    quantiles = [prior.inv_cdf((row + 0.5) / rows) for row in range(rows)]
    across, up = np.meshgrid(quantiles, quantiles[::-1])
    codes = np.zeros((rows * rows, latent_dim), np.float32)
    codes[:, units[0]] = across.ravel()
    codes[:, units[1]] = up.ravel()
    return codes


def manifold(vae, images, rows=grids.GRID_ROWS, labels=None):
    """Draws the plane of the two most active units, of a standard prior.

    Of a model that takes labels it is of the class of the first image.

    Args:
        vae: a `trainer.model.vae.VAE` of two latent units or more.
        images: uint8 array of shape (N, height, width, channels), which say
            how active a unit is.
        rows: int, rows and columns of the plane.
        labels: as of `most_active_units`.

    Returns:
        uint8 array of shape (rows x height, rows x width, channels).
    """
    active = most_active_units(vae, images, labels)
    codes = plane_codes(len(active), sorted(active[:2]), rows)
    label = inference.some(labels, 0)
    return grids.tile(inference.decode(vae, codes, label), rows)


def class_rows(vae, images, labels, seed=0):
    """Draws a row for each class of which there is an image, in order.

    The first of a row is decoded from the mean of the posterior means of the
    class. The others are decoded from draws around it, in which each unit has
    the standard deviation that it has over those posterior means.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).
        labels: integer array of shape (N,); given to a model that takes them.
        seed: int, of the draws.

    Returns:
        uint8 array of shape (rows x height, 10 x width, channels).
    """
    means = inference.encode(vae, images, labels if vae.classes else None)
    codes = []
    for label in np.unique(labels):
        of_class = means[labels == label]
        noise = randomness.normal(
            seed,
            randomness.Tag.PICTURES,
            row=_CLASS_PAGE,
            position=int(label) * grids.COLUMNS,
            count=grids.COLUMNS,
            width=means.shape[1],
        ).numpy()
        noise[0] = 0
        codes.append(of_class.mean(axis=0) + noise * of_class.std(axis=0))
    of_rows = None
    if vae.classes:
        of_rows = np.unique(labels).repeat(grids.COLUMNS)
    drawn = inference.decode(vae, np.concatenate(codes), of_rows)
    return grids.tile(drawn, grids.COLUMNS)
