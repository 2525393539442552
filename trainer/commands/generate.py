"""Command: draws pictures from any checkpoint of a job."""

import dataclasses
import io
import sys

from trainer import files, places
from trainer.runtime.command import run_command
from trainer.runtime.flags import Usage, new_job_flags

_USAGE = Usage(
    program="vae-generate",
    about="Draws pictures from a checkpoint: images from the prior, the "
    "manifold, classes, reconstructions, interpolations and traversals.",
    example="vae-generate --job_dir=runs/vae --checkpoint=best --rows=10",
)
# Of classes.png, whose rows have names.
CLASSES = "classes"


def main():
    """Draws grids from a checkpoint; the console script `vae-generate`.

    Returns:
        The exit code, as `run_command`.
    """
    return run_command(_parse, _generate, load=_load)


def _parse(arguments):
    flags = new_job_flags(_USAGE)
    flags.add("seed", 0, "seed of the draws from the prior", minimum=0)
    flags.add(
        "rows", 30, "rows and columns of the grid and the manifold", minimum=1
    )
    flags.add(
        "format",
        "png",
        "npy: NumPy arrays, uint8 of shape (rows, columns, height, width)",
        choices=("png", "npy"),
    )
    flags.add(
        "output",
        "",
        "where the pictures go; JOB_DIR/plots/step-N if not given",
        unit="folder",
    )
    if not flags.parse(arguments):
        return None
    output = flags["output"].value
    return flags, output and places.parse_local(output, "--output")


def _load():
    from trainer.pictures import drawing  # noqa: F401 - loaded quietly.


@dataclasses.dataclass(frozen=True)
class Drawn:
    """All pictures of a model.

    Attributes:
        pictures: uint8 arrays of shape (height, width), by name.
        row_names: of the pictures whose rows have names: a list by picture.
        left_out: a sentence for each picture that cannot be drawn.
    """

    pictures: dict
    row_names: dict
    left_out: list


def draw(trained, data, rows, seed, console):
    """Draws all pictures of a model; returns them as `Drawn`.

    Args:
        trained: a `trained.Trained`.
        data: the `Dataset` that it was trained on.
        rows: int, rows and columns of the grid and of the manifold.
        seed: int, of the draws.
        console: a `progress.Console`.
    """
    import numpy as np

    from trainer.pictures import drawing, latent_space

    vae, latent_dim = trained.vae, trained.config.latent_dim
    images, labels = data.test_images, data.test_labels
    draws = {
        "generated": lambda: drawing.grid(vae, latent_dim, rows, seed),
        "reconstructions": lambda: drawing.reconstruction_rows(vae, images),
        "interpolations": lambda: drawing.interpolation_rows(vae, images),
        "traversals": lambda: drawing.traversal_rows(vae, images),
    }
    active = drawing.most_active_units(vae, images)[: drawing.COLUMNS]
    row_names = {"traversals": [f"Unit {unit}" for unit in active]}
    left_out = []
    if latent_dim > 1:
        draws["manifold"] = lambda: latent_space.manifold(vae, images, rows)
    else:
        left_out.append("No manifold: one latent unit spans no plane.")
    if labels is not None:
        draws[CLASSES] = lambda: latent_space.class_rows(
            vae, images, labels, seed
        )
        row_names[CLASSES] = [data.class_names[i] for i in np.unique(labels)]
    else:
        left_out.append(f"No classes: {data.name} has no test labels.")
    drawn = {}
    with console.image_bar("Drawing", len(draws)) as advance:
        for name, draw_one in draws.items():
            drawn[name] = draw_one()
            advance(1)
    return Drawn(drawn, row_names, left_out)


def _generate(parsed, stop, console):
    from trainer.job_dir.job_dir import publish_folder
    from trainer.model.trained import open_trained
    from trainer.pictures import drawing

    flags, output = parsed
    rows, seed = flags["rows"].value, flags["seed"].value
    with open_trained(flags, console) as trained:
        stop.check()
        data = trained.data(console, stop)
        stop.check()
        drawn = draw(trained, data, rows, seed, console)
        stop.check()
        job = trained.job
        name = f"plots/{job.checkpoint(trained.step).name}"
        folder = output or job.root / name
        folder.mkdir(parents=True, exist_ok=True)
        for picture, pixels in drawn.pictures.items():
            path = folder / f"{picture}.{flags['format'].value}"
            if path.suffix == ".npy":
                _save_array(path, drawing.cells(pixels, *data.image_shape[:2]))
            elif picture == CLASSES:
                drawing.save_named_rows(
                    path, pixels, drawn.row_names[CLASSES], drawing.ROW_SCALE
                )
            elif picture in ("generated", "manifold"):
                drawing.save_picture(path, pixels)
            else:
                drawing.save_picture(path, pixels, drawing.ROW_SCALE)
            stop.check()
        if not output:
            publish_folder(job, folder)
        for sentence in drawn.left_out:
            console.line(sentence)
        console.line(
            f"Pictures of step {trained.step}: "
            f"{output or f'{job.location}/{name}'}"
        )


def _save_array(path, array):
    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    files.write_atomically(path, content.getvalue())


if __name__ == "__main__":
    sys.exit(main())
