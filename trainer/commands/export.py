"""Command: any checkpoint as a SavedModel for servers, and as Keras files."""

import sys

from absl import flags

from trainer import config as config_lib, places
from trainer.runtime.command import quiet_tensorflow, report_errors


def main():
    """Exports a checkpoint; the console script `vae-export`.

    Returns:
        The exit code, as `trainer.task.main`.
    """
    flag_values = config_lib.new_job_flags()
    flags.DEFINE_string(
        "output",
        "",
        "folder for the models; default JOB_DIR/export",
        flag_values=flag_values,
    )
    with report_errors() as outcome:
        if config_lib.parse_command(flag_values, sys.argv[1:], "vae-export"):
            with quiet_tensorflow():
                from trainer.model import export  # noqa: F401 - loaded quietly.
            _export(flag_values)
    return outcome.exit_code


def _export(flag_values):
    from trainer.job_dir.job_dir import publish_folder
    from trainer.model.export import save_models
    from trainer.model.trained import open_trained
    from trainer.runtime.console import Console

    output = flag_values["output"].value
    output = output and places.parse_local(output, "--output")
    console = Console()
    with open_trained(flag_values, console) as trained:
        job = trained.job
        folder = output or job.export
        save_models(trained.vae, folder)
        if not output:
            publish_folder(job, folder)
        console.line(
            f"SavedModel, encoder and decoder of step {trained.step}: "
            f"{output or f'{job.location}/export'}"
        )


if __name__ == "__main__":
    sys.exit(main())
