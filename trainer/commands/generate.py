"""Command: draws pictures from any checkpoint of a job."""

import dataclasses
import io
import sys

from absl import flags

from trainer import config as config_lib, files, places
from trainer.errors import ConfigError
from trainer.runtime.command import quiet_tensorflow, report_errors

# Of classes.png, whose rows have names.
CLASSES = "classes"


def main():
    """Draws grids from a checkpoint; the console script `vae-generate`.

    Returns:
        The exit code, as `trainer.task.main`.
    """
    flag_values = config_lib.new_job_flags()
    flags.DEFINE_integer(
        "seed", 0, "of the draws from the prior", flag_values=flag_values
    )
    flags.DEFINE_integer(
        "rows",
        30,
        "rows and columns of the grid and of the manifold",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "format",
        "png",
        ["png", "npy"],
        "npy: NumPy arrays, uint8 of shape (rows, columns, height, width)",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "output",
        "",
        "folder for the pictures; default JOB_DIR/plots/step-N",
        flag_values=flag_values,
    )
    with report_errors() as outcome:
        if config_lib.parse_command(flag_values, sys.argv[1:], "vae-generate"):
            with quiet_tensorflow():
                from trainer.pictures import drawing  # noqa: F401 - loaded quietly.
            _generate(flag_values)
    return outcome.exit_code


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


def _generate(flag_values):
    from trainer.job_dir.open import publish_folder
    from trainer.model.trained import open_trained
    from trainer.pictures import drawing
    from trainer.runtime.console import Console
    from trainer.runtime.stop_signal import StopSignal

    rows, seed = flag_values["rows"].value, flag_values["seed"].value
    if rows < 1:
        raise ConfigError(f"--rows={rows} is too small; the least is 1.")
    if seed < 0:
        raise ConfigError(f"--seed={seed} is too small; the least is 0.")
    output = flag_values["output"].value
    output = output and places.parse_local(output, "--output")
    console = Console()
    with open_trained(flag_values, console) as trained:
        data = trained.data(console, StopSignal())
        drawn = draw(trained, data, rows, seed, console)
        job = trained.job
        name = f"plots/{job.checkpoint(trained.step).name}"
        folder = output or job.root / name
        folder.mkdir(parents=True, exist_ok=True)
        for picture, pixels in drawn.pictures.items():
            path = folder / f"{picture}.{flag_values['format'].value}"
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
