"""Each picture of images that a model has, with its title and caption.

TensorBoard, the files of a job, `vae-generate` and the gallery show these.
"""

import numpy as np

from trainer.pictures import grids, latent_space
from trainer.pictures.sheet import MOST_NAMED, Sheet

_ERRORS = {"mse": "its squared error, summed over pixels"}
_ERROR_IN_NATS = "its reconstruction loss in nats; lower is better"


def generated(vae, rows, seed, temperature=1.0, label=None, class_names=()):
    """Returns a `Sheet` of images that a model makes of its prior.

    A square of them; of a model that takes labels, a row for each class.

    Args:
        vae: a `trainer.model.vae.VAE`.
        rows: int, rows and columns of the square, or columns of the rows.
        seed: int, of the draws.
        temperature: float, of the draws: see `priors`.
        label: int, the class of all images; None for a row of each class.
        class_names: sequence of str, by label, of a model that takes labels.
    """
    times = f" with {temperature:g} times its deviations"
    of_prior = f"the prior{times if temperature != 1 else ''}, seed {seed}"
    title, names, plane = "Generated images", (), grids.is_plane(vae)
    pixels = grids.grid(vae, rows, seed, temperature, label)
    if label is None and vae.classes:
        names = class_names[:MOST_NAMED]
        caption = (
            f"A row for each class, all of the same draws from {of_prior}: a "
            "column shows what the class alone changes."
        )
        if len(class_names) > len(names):
            caption += (
                f" The first {len(names)} of {len(class_names):,} classes."
            )
    else:
        caption = f"Each is what the decoder makes of a draw from {of_prior}."
        if plane:
            caption = (
                "Each is what the decoder makes of a point of the plane of the "
                "two latent units: unit 0 from -2 to 2 to the right, unit 1 "
                "from -2 to 2 upwards."
            )
    if label is not None:
        title = f"Generated images: {class_names[label]}"
    return Sheet(pixels, vae.image_shape, title, caption, names, is_plane=plane)


def reconstructions(vae, images, labels=None, split="test"):
    """Returns a `Sheet` of images above their reconstructions.

    Below these stands the loss of each, in the unit of the reconstruction
    loss.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels); the first
            ten are drawn.
        labels: integers of shape (N,), of a model that takes them.
        split: str, which images these are.
    """
    loss = vae.likelihood.name
    return Sheet(
        grids.reconstruction_rows(vae, images, labels),
        vae.image_shape,
        "Reconstructions",
        f"Above: {split} images. Below: what the decoder makes of the mean of "
        f"their posterior. Under each: {_ERRORS.get(loss, _ERROR_IN_NATS)}.",
        notes=[
            _number(error)
            for error in grids.reconstruction_errors(vae, images, labels)
        ],
    )


def interpolations(vae, images, labels=None, split="test"):
    """Returns a `Sheet` of ways from one image to the next.

    Args:
        vae: as of `reconstructions`.
        images: as of `reconstructions`.
        labels: as of `reconstructions`.
        split: as of `reconstructions`.
    """
    return Sheet(
        grids.interpolation_rows(vae, images, labels),
        vae.image_shape,
        "Interpolations",
        f"Each row goes from one {split} image to the next, on the line "
        "between their posterior means."
        + _given(vae, " The class is that of the first in each row."),
    )


def traversals(vae, images, labels=None, split="test"):
    """Returns a `Sheet` of what single latent units do, a row for each.

    Args:
        vae: as of `reconstructions`.
        images: as of `reconstructions`.
        labels: as of `reconstructions`.
        split: as of `reconstructions`.
    """
    several = len(vae.latents.groups) > 1
    names = [
        f"Group {group}, unit {unit}" if several else f"Unit {unit}"
        for group, unit in latent_space.traversal_units(vae, images, labels)
    ]
    return Sheet(
        latent_space.traversal_rows(vae, images, labels),
        vae.image_shape,
        "Latent traversals",
        "Each row moves one latent unit from -3 to 3 standard deviations of "
        "the prior, the most active first; the others stay at the posterior "
        f"mean of the first {split} image."
        + _given(vae, " The class is that of this image."),
        names,
    )


def manifold(vae, images, rows, labels=None):
    """Returns a `Sheet` of the plane of the two most active latent units.

    Args:
        vae: a `trainer.model.vae.VAE` of two latent units or more.
        images: as of `reconstructions`.
        rows: int, rows and columns of the plane.
        labels: as of `reconstructions`.
    """
    units = sorted(latent_space.most_active_units(vae, images, labels)[:2])
    return Sheet(
        latent_space.manifold(vae, images, rows, labels),
        vae.image_shape,
        "Manifold",
        f"The plane of the two most active latent units: unit {units[0]} to "
        f"the right, unit {units[1]} upwards, both from the quantile "
        f"{0.5 / rows:.3f} of the prior to {1 - 0.5 / rows:.3f}; all other "
        "units are 0."
        + _given(vae, " The class is that of the first test image."),
    )


def of_classes(vae, images, labels, class_names, seed):
    """Returns a `Sheet` with a row for each class of images.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: as of `reconstructions`.
        labels: integers of shape (N,).
        class_names: sequence of str, by label.
        seed: int, of the draws.
    """
    told = "The model was never told the classes."
    if vae.classes:
        told = "Encoder and decoder are given the class."
    return Sheet(
        latent_space.class_rows(vae, images, labels, seed),
        vae.image_shape,
        "Classes",
        "First in each row: the decoded mean of the class's posterior means. "
        "Then draws around it, with the standard deviation that each unit has "
        f"in the class. {told}",
        [class_names[label] for label in np.unique(labels)],
    )


def _number(loss):
    """Returns a loss of one image in few digits."""
    digits = 2 if abs(loss) < 100 else 1 if abs(loss) < 1000 else 0
    return f"{loss:,.{digits}f}"


def _given(vae, sentence):
    return sentence if vae.classes else ""
