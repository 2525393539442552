"""Command: the test losses of any checkpoint of a job."""

import sys

from trainer import config as config_lib
from trainer.command import quiet_tensorflow, report_errors
from trainer.stop_signal import StopSignal


def main():
    """Evaluates a checkpoint; the console script `vae-evaluate`.

    Returns:
        The exit code, as `trainer.task.main`.
    """
    stop = StopSignal()
    stop.install()
    flag_values = config_lib.new_job_flags()
    with report_errors() as outcome:
        if config_lib.parse_command(flag_values, sys.argv[1:], "vae-evaluate"):
            with quiet_tensorflow():
                from trainer import evaluator  # noqa: F401 - loaded quietly.
            _evaluate(flag_values, stop)
    stop.retire()
    return outcome.exit_code


def _evaluate(flag_values, stop):
    import tensorflow as tf

    from trainer import checkpoint, datasets
    from trainer.agreement import Agreement
    from trainer.evaluator import Evaluator
    from trainer.job_dir import open_to_read
    from trainer.progress import Console

    console = Console()
    with open_to_read(flag_values["job_dir"].value, console) as job:
        record, config = job.record(), job.config()
        saved = checkpoint.select(job, flag_values["checkpoint"].value)
        vae = checkpoint.model_of(job, saved)
    data = datasets.load(
        config, console, stop, recorded_name=record["data"]["name"]
    )
    evaluator = Evaluator(
        vae, config, tf.distribute.get_strategy(), data.test_images
    )
    with console.image_bar("Evaluating", len(data.test_images)) as advance:
        metrics = evaluator.run(Agreement(stop), advance).metrics
    console.line(
        f"Step {saved.step} of {job.location}, {len(data.test_images):,} test "
        f"images of {data.name}:"
    )
    for name, value in metrics.items():
        console.line(f"  {name:20} {value:10.4f}".rstrip("0").rstrip("."))


if __name__ == "__main__":
    sys.exit(main())
