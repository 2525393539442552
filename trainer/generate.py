"""Command: draws pictures from any checkpoint of a job."""

import pathlib
import sys

from absl import flags

from trainer import config as config_lib
from trainer.command import quiet_tensorflow, report_errors
from trainer.errors import ConfigError


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
        "rows", 30, "rows and columns of the grid", flag_values=flag_values
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
                from trainer import pictures  # noqa: F401 - loaded quietly.
            _generate(flag_values)
    return outcome.exit_code


def _generate(flag_values):
    from trainer import checkpoint, datasets, pictures
    from trainer.job_dir import open_to_read, publish_folder
    from trainer.progress import Console
    from trainer.stop_signal import StopSignal

    rows, seed = flag_values["rows"].value, flag_values["seed"].value
    if rows < 1:
        raise ConfigError(f"--rows={rows} is too small; the least is 1.")
    if seed < 0:
        raise ConfigError(f"--seed={seed} is too small; the least is 0.")
    console = Console()
    with open_to_read(flag_values["job_dir"].value, console) as job:
        record, config = job.record(), job.config()
        saved = checkpoint.select(job, flag_values["checkpoint"].value)
        vae = checkpoint.model_of(job, saved)
        data = datasets.load(
            config, console, StopSignal(), recorded_name=record["data"]["name"]
        )
        output = flag_values["output"].value
        name = f"plots/{job.checkpoint(saved.step).name}"
        folder = pathlib.Path(output or job.root / name)
        folder.mkdir(parents=True, exist_ok=True)
        pictures.save_picture(
            folder / "generated.png",
            pictures.grid(vae, config.latent_dim, rows, seed),
        )
        for picture, draw in {
            "reconstructions": pictures.reconstruction_rows,
            "interpolations": pictures.interpolation_rows,
            "traversals": pictures.traversal_rows,
        }.items():
            pictures.save_picture(
                folder / f"{picture}.png",
                draw(vae, data.test_images),
                pictures.ROW_SCALE,
            )
        if not output:
            publish_folder(job, folder)
        console.line(
            f"Pictures of step {saved.step}: "
            f"{output or f'{job.location}/{name}'}"
        )


if __name__ == "__main__":
    sys.exit(main())
