"""All the pictures of a model, as `vae-generate` and the gallery show them."""

import dataclasses

import numpy as np

from trainer.data import classes
from trainer.errors import ConfigError
from trainer.pictures import grids, latent_space, named_rows

GENERATED, CLASSES = "generated", "classes"
# Where their rows have names, these have them as files, too.
NAMED_FILES = (GENERATED, CLASSES)


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


def draw_class(trained, label, rows, seed, console, stop, temperature=1.0):
    """Draws a grid of one class from the prior, for which no data is needed.

    Args:
        trained: a `trainer.model.trained.Trained`, of a model that takes
            labels.
        label: int.
        rows: as of `draw`.
        seed: as of `draw`.
        console: as of `draw`.
        stop: as of `draw`.
        temperature: as of `draw`.

    Returns:
        An `Album` of one picture.
    """
    stop.check()
    with console.image_bar("Drawing", 1) as advance:
        pixels = grids.grid(trained.vae, rows, seed, temperature, label)
        advance(1)
    return Album({f"{GENERATED}_label_{label}": pixels}, {}, [])


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
    both = images, classes.given(trained.config, labels)
    generate = grids.class_grid if vae.classes else grids.grid
    draws = {
        GENERATED: lambda: generate(vae, rows, seed, temperature),
        "reconstructions": lambda: grids.reconstruction_rows(vae, *both),
        "interpolations": lambda: grids.interpolation_rows(vae, *both),
        "traversals": lambda: latent_space.traversal_rows(vae, *both),
    }
    several = len(vae.latents.groups) > 1
    row_names = {
        "traversals": [
            f"Group {group}, unit {unit}" if several else f"Unit {unit}"
            for group, unit in latent_space.traversal_units(vae, *both)
        ]
    }
    if vae.classes:
        row_names[GENERATED] = trained.class_names[: named_rows.MOST_CLASSES]
    left_out = []
    if not vae.prior.kl_is_exact:
        left_out.append(
            "No manifold: under a learned prior no plane has even shares of it."
        )
    elif vae.latent_dim > 1:
        draws["manifold"] = lambda: latent_space.manifold(
            vae, images, rows, both[1]
        )
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
