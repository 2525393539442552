"""Command: one page with all that came out of a job."""

import json
import sys

from trainer import config as config_lib, files
from trainer.runtime.command import quiet_tensorflow, report_errors

_NAME = "gallery.html"
_GRID_ROWS = 30


def main():
    """Writes the page of a job; the console script `vae-gallery`.

    Returns:
        The exit code, as `trainer.task.main`.
    """
    flag_values = config_lib.new_job_flags()
    with report_errors() as outcome:
        if config_lib.parse_command(flag_values, sys.argv[1:], "vae-gallery"):
            with quiet_tensorflow():
                from trainer.pictures import drawing  # noqa: F401 - loaded quietly.
            _make_gallery(flag_values)
    return outcome.exit_code


def _make_gallery(flag_values):
    from trainer.commands import generate
    from trainer.gallery import page
    from trainer.job_dir.open import publish_file
    from trainer.model.trained import open_trained
    from trainer.runtime.console import Console
    from trainer.runtime.stop_signal import StopSignal
    from trainer.tracking.summaries import read_rows

    console = Console()
    with open_trained(flag_values, console) as trained:
        job = trained.job
        data = trained.data(console, StopSignal())
        page = page.render(
            trained,
            rows=read_rows(job.metrics_path),
            evaluation=_evaluation(job, console),
            data=data,
            drawn=generate.draw(
                trained, data, _GRID_ROWS, trained.config.seed, console
            ),
        )
        path = job.root / _NAME
        files.write_atomically(path, page.encode())
        publish_file(job, path)
        console.line(f"Gallery of step {trained.step}: {job.location}/{_NAME}")


def _evaluation(job, console):
    """Returns what `vae-evaluate` found; nothing if it has not run."""
    path = job.evaluation_path
    try:
        evaluation = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        console.warning(f"{path} is not JSON ({error}), and is left out.")
        return {}
    if not isinstance(evaluation, dict):
        console.warning(f"{path} is not a JSON object, and is left out.")
        return {}
    return evaluation


if __name__ == "__main__":
    sys.exit(main())
