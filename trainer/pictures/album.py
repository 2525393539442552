"""All the pictures of a model, as `vae-generate` and the gallery show them."""

import dataclasses

import numpy as np

from trainer.errors import ConfigError
from trainer.pictures import grids, latent_space

# A picture that has a name for each of its rows, also as a file.
CLASSES = "classes"


@dataclasses.dataclass(frozen=True)
class Album:
    """All pictures of a model.

    Attributes:
        pictures: uint8 arrays of shape (height, width, channels), by name.
        row_names: of the pictures whose rows have names: a list by picture.
        left_out: a sentence for each picture that cannot be drawn.
    """

    pictures: dict
    row_names: dict
    left_out: list


def draw(trained, data, rows, seed, console, stop, temperature=1.0):
    """Draws all pictures of a model; returns them as an `Album`.

    Args:
        trained: a `trainer.model.trained.Trained`.
        data: the `Dataset` that it was trained on.
        rows: int, rows and columns of the grid and of the manifold.
        seed: int, of the draws.
        console: a `Console`.
        stop: a `StopSignal`, checked between two pictures.
        temperature: float, of the draws from the prior: see `priors`.

    Raises:
        ConfigError: a temperature of a grid that shows no draws.
        InterruptedJobError: the stop signal came.
    """
    vae = trained.vae
    if temperature != 1 and grids.is_plane(vae):
        raise ConfigError(
            f"--temperature={temperature:g} is of draws from the prior, but "
            "with two latent units the grid shows their plane; leave it out."
        )
    images, labels = data.test_images, data.test_labels
    draws = {
        "generated": lambda: grids.grid(vae, rows, seed, temperature),
        "reconstructions": lambda: grids.reconstruction_rows(vae, images),
        "interpolations": lambda: grids.interpolation_rows(vae, images),
        "traversals": lambda: latent_space.traversal_rows(vae, images),
    }
    several = len(vae.latents.groups) > 1
    row_names = {
        "traversals": [
            f"Group {group}, unit {unit}" if several else f"Unit {unit}"
            for group, unit in latent_space.traversal_units(vae, images)
        ]
    }
    left_out = []
    if not vae.prior.kl_is_exact:
        left_out.append(
            "No manifold: under a learned prior no plane has even shares of it."
        )
    elif vae.latent_dim > 1:
        draws["manifold"] = lambda: latent_space.manifold(vae, images, rows)
    else:
        left_out.append("No manifold: one latent unit spans no plane.")
    if labels is not None:
        draws[CLASSES] = lambda: latent_space.class_rows(
            vae, images, labels, seed
        )
        row_names[CLASSES] = [data.class_names[i] for i in np.unique(labels)]
    else:
        left_out.append(f"No classes: {data.called} has no test labels.")
    pictures = {}
    with console.image_bar("Drawing", len(draws)) as advance:
        for name, draw_one in draws.items():
            stop.check()
            pictures[name] = draw_one()
            advance(1)
    return Album(pictures, row_names, left_out)
