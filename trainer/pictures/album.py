"""All the pictures of a model, as `vae-generate` and the gallery show them."""

import dataclasses

from trainer.data import classes
from trainer.errors import ConfigError
from trainer.pictures import catalogue, grids, latent_map as map_lib

GENERATED, CLASSES, LATENT_MAP = "generated", "classes", "latent_map"


@dataclasses.dataclass(frozen=True)
class Album:
    """All pictures of a model.

    Attributes:
        sheets: a `Sheet` by name.
        left_out: a sentence for each picture that cannot be drawn.
        latent_map: a `LatentMap`; None where there is none.
    """

    sheets: dict
    left_out: list
    latent_map: map_lib.LatentMap | None = None


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
        sheet = catalogue.generated(
            trained.vae, rows, seed, temperature, label, trained.class_names
        )
        advance(1)
    return Album({f"{GENERATED}_label_{label}": sheet}, [])


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
    check_temperature(vae, temperature)
    images, labels = data.test_images, data.test_labels
    both = images, classes.given(trained.config, labels)
    draws = {
        GENERATED: lambda: catalogue.generated(
            vae, rows, seed, temperature, class_names=trained.class_names
        ),
        "reconstructions": lambda: catalogue.reconstructions(vae, *both),
        "interpolations": lambda: catalogue.interpolations(vae, *both),
        "traversals": lambda: catalogue.traversals(vae, *both),
    }
    left_out = []
    if not vae.prior.kl_is_exact:
        left_out.append(
            "No manifold: under a learned prior no plane has even shares of it."
        )
    elif vae.latent_dim > 1:
        draws["manifold"] = lambda: catalogue.manifold(
            vae, images, rows, both[1]
        )
    else:
        left_out.append("No manifold: one latent unit spans no plane.")
    if labels is not None:
        draws[CLASSES] = lambda: catalogue.of_classes(
            vae, images, labels, data.class_names, seed
        )
    else:
        left_out.append(f"No classes: {data.called} has no test labels.")
    if vae.latent_dim > 1:
        draws[LATENT_MAP] = lambda: map_lib.find(vae, data)
    else:
        left_out.append("No latent map: one latent unit spans no plane.")
    drawn = {}
    with console.image_bar("Drawing", len(draws)) as advance:
        for name, draw_one in draws.items():
            stop.check()
            drawn[name] = draw_one()
            advance(1)
    found = drawn.pop(LATENT_MAP, None)
    return Album(drawn, left_out, found)


def check_temperature(vae, temperature):
    """Refuses a temperature of a grid that shows no draws.

    Args:
        vae: a `trainer.model.vae.VAE`.
        temperature: float.

    Raises:
        ConfigError: it is not 1, and the grid shows a plane.
    """
    if temperature != 1 and grids.is_plane(vae):
        raise ConfigError(
            f"--temperature={temperature:g} is of draws from the prior, but "
            "with two latent units the grid shows their plane; leave it out."
        )
