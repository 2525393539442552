"""Command: draws pictures from any checkpoint of a job."""

import io
import sys

from absl import flags

from trainer import config as config_lib, files, places
from trainer.errors import ConfigError
from trainer.runtime.command import quiet_tensorflow, report_errors


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
                from trainer.pictures import album  # noqa: F401 - loaded quietly.
            _generate(flag_values)
    return outcome.exit_code


def _generate(flag_values):
    from trainer.job_dir.job_dir import publish_folder
    from trainer.model.trained import open_trained
    from trainer.pictures import album, grids, plots
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
        drawn = album.draw(trained, data, rows, seed, console)
        job = trained.job
        name = f"plots/{job.checkpoint(trained.step).name}"
        folder = output or job.root / name
        folder.mkdir(parents=True, exist_ok=True)
        for picture, pixels in drawn.pictures.items():
            path = folder / f"{picture}.{flag_values['format'].value}"
            if path.suffix == ".npy":
                cells = grids.cells(pixels, *data.image_shape[:2])
                _save_array(path, cells.squeeze(axis=-1))
            elif picture == album.CLASSES:
                names = drawn.row_names[picture]
                plots.save_named_rows(path, pixels, names, plots.ROW_SCALE)
            elif picture in ("generated", "manifold"):
                plots.save_picture(path, pixels)
            else:
                plots.save_picture(path, pixels, plots.ROW_SCALE)
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
