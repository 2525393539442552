"""Command: what any checkpoint of a job is worth, on the test images."""

import sys

from trainer import files
from trainer.runtime.command import run_command
from trainer.runtime.flags import Usage, new_job_flags

_USAGE = Usage(
    program="vae-evaluate",
    about="Measures what a checkpoint of a job is worth on the test images: "
    "ELBO, log p(x), the KL of every unit, and accuracies of classifiers.",
    example="vae-evaluate --job_dir=runs/vae --checkpoint=best",
)

# So many samples leave the estimate a spread that is small beside the error
# over images, and take so long that nobody wants them three times.
_MOST_REPEATED = 1000


def main():
    """Evaluates a checkpoint; the console script `vae-evaluate`.

    Returns:
        The exit code, as `run_command`.
    """
    return run_command(_parse, _evaluate, load=_load)


def _parse(arguments):
    flags = new_job_flags(_USAGE)
    flags.add(
        "importance_samples",
        50,
        "K, samples of z an image for log p(x); 0 leaves it out",
        unit="samples",
        minimum=0,
    )
    flags.add(
        "importance_repeats",
        3,
        "R, estimates of log p(x) with samples of their own; if not given, "
        f"1 beyond {_MOST_REPEATED:,} samples",
        minimum=1,
    )
    return flags.parse(arguments)


def _load():
    from trainer.evaluation import report  # noqa: F401 - loaded quietly.


def _evaluate(flags, stop, console):
    from trainer.distributed.gpus import full_float32
    from trainer.evaluation import report
    from trainer.job_dir.open import publish_file
    from trainer.model.trained import open_trained

    # A likelihood that is published is not one of rounded factors.
    with full_float32(), open_trained(flags, console, stop) as trained:
        stop.check()
        job, data = trained.job, trained.data(console, stop)
        figures = {
            "step": trained.step,
            "checkpoint": flags["checkpoint"].value,
            "best_chosen_on": data.held_out,
        } | report.figures(
            trained.vae,
            trained.config,
            data,
            flags["importance_samples"].value,
            _repeats(flags),
            console,
            stop,
        )
        console.line(
            f"Step {trained.step} of {job.location}, {len(data.test_images):,} "
            f"test images of {data.called}, in nats an image and with standard "
            "errors:"
        )
        for line in report.table(figures):
            console.line(line)
        if data.held_out == "test" and flags["checkpoint"].value == "best":
            console.notice(
                "The best checkpoint was chosen on these same test images, so "
                "that its losses are a little too low. A new job with "
                "--validation_share=0.1 chooses it on others."
            )
        # After the table: it is not lost where nothing can be written.
        files.write_json(job.evaluation_path, figures)
        publish_file(job, job.evaluation_path)
        units = figures["kl_of_units"]
        console.line(
            f"The same in {job.location}/{job.evaluation_path.name}"
            f"{'' if units is None else ', with the KL of every unit'}."
        )


def _repeats(flags):
    """Returns R, which depends on K where it is not given."""
    repeats = flags["importance_repeats"]
    is_long = flags["importance_samples"].value > _MOST_REPEATED
    return 1 if is_long and not repeats.present else repeats.value


if __name__ == "__main__":
    sys.exit(main())
