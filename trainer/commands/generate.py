"""Command: draws pictures from any checkpoint of a job."""

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
# Their square is a count of TensorFlow's random numbers, an int32.
_MOST_ROWS = 46_340


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
        "rows",
        30,
        "rows and columns of the grid and the manifold",
        minimum=1,
        maximum=_MOST_ROWS,
    )
    flags.add(
        "temperature",
        1.0,
        "by what the standard deviations of the prior are multiplied for the "
        "grid; below 1 its images are more alike and more typical",
        minimum=0,
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
    from trainer.pictures import album  # noqa: F401 - loaded quietly.


def _generate(parsed, stop, console):
    from trainer.job_dir.open import publish_folder
    from trainer.model.trained import open_trained
    from trainer.pictures import album, grids, picture_files

    flags, output = parsed
    rows, seed = flags["rows"].value, flags["seed"].value
    with open_trained(flags, console, stop) as trained:
        stop.check()
        data = trained.data(console, stop)
        stop.check()
        drawn = album.draw(
            trained,
            data,
            rows,
            seed,
            console,
            stop,
            flags["temperature"].value,
        )
        stop.check()
        job = trained.job
        name = f"plots/{job.checkpoint(trained.step).name}"
        folder = output or job.root / name
        folder.mkdir(parents=True, exist_ok=True)
        for picture, pixels in drawn.pictures.items():
            path = folder / f"{picture}.{flags['format'].value}"
            if path.suffix == ".npy":
                cells = grids.cells(pixels, *data.image_shape[:2])
                _save_array(path, cells.squeeze(axis=-1))
            elif picture == album.CLASSES:
                names = drawn.row_names[picture]
                picture_files.save_named_rows(
                    path, pixels, names, picture_files.ROW_SCALE
                )
            elif picture in ("generated", "manifold"):
                picture_files.save_picture(path, pixels)
            else:
                picture_files.save_picture(
                    path, pixels, picture_files.ROW_SCALE
                )
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
