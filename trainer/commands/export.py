"""Command: a checkpoint as a SavedModel and Keras files, with a card."""

import sys

from trainer import places
from trainer.runtime.command import run_command
from trainer.runtime.flags import Usage, new_job_flags

_USAGE = Usage(
    program="vae-export",
    about="Writes the model of a checkpoint as a SavedModel for servers and as "
    "Keras files; neither needs this package. README.md beside them says what "
    "the model is.",
    example="vae-export --job_dir=runs/vae --checkpoint=best",
)


def main():
    """Exports a checkpoint; the console script `vae-export`.

    Returns:
        The exit code, as `run_command`.
    """
    return run_command(_parse, _export, load=_load)


def _parse(arguments):
    flags = new_job_flags(_USAGE)
    flags.add(
        "output",
        "",
        "where the models go; JOB_DIR/export if not given",
        unit="folder",
    )
    if not flags.parse(arguments):
        return None
    output = flags["output"].value
    return flags, output and places.parse_local(output, "--output")


def _load():
    from trainer.gallery import card  # noqa: F401 - loaded quietly.


def _export(parsed, stop, console):
    from trainer.gallery import card
    from trainer.job_dir.open import publish_folder
    from trainer.model import export
    from trainer.model.trained import open_trained

    flags, output = parsed
    with open_trained(flags, console, stop, card.READ) as trained:
        stop.check()
        job = trained.job
        folder = output or job.export
        export.save_models(trained.vae, folder)
        note = export.left_out(trained.vae)
        if note:
            console.line(note)
        stop.check()
        card.write(trained, folder, flags["checkpoint"].value, console)
        stop.check()
        if not output:
            for name in publish_folder(job, folder, spared=(card.NAME,)):
                console.line(f"{name} is not of this job, and is left.")
        what = "Models" if note else "SavedModel, encoder and decoder"
        console.line(
            f"{what} of step {trained.step}: "
            f"{output or f'{job.location}/export'}"
        )


if __name__ == "__main__":
    sys.exit(main())
