"""Command: any checkpoint as a SavedModel for servers, and as Keras files."""

import sys

from trainer import files, places
from trainer.runtime.command import run_command
from trainer.runtime.flags import Usage, new_job_flags

_USAGE = Usage(
    program="vae-export",
    about="Writes the model of a checkpoint as a SavedModel for servers and as "
    "Keras files; neither needs this package.",
    example="vae-export --job_dir=runs/vae --checkpoint=best",
)

# TensorFlow Serving looks for folders named by versions, and serves the
# highest.
_SAVED_MODEL, _VERSION = "saved_model", "1"


def save_models(vae, folder):
    """Writes `encoder.keras`, `decoder.keras` and `saved_model/1`.

    None of them needs this package. Each replaces what was there, and is
    there whole or not at all.

    Args:
        vae: a `trainer.model.vae.VAE`.
        folder: a `pathlib.Path`; made if it is not there.
    """
    versions = folder / _SAVED_MODEL
    versions.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(folder)
    files.remove_unfinished(versions)
    for part in (vae.encoder, vae.decoder):
        # Keras wants a name that ends in .keras, and writes in place.
        unfinished = folder / f"{files.TEMPORARY_PREFIX}{part.name}.keras"
        part.save(unfinished)
        files.publish(unfinished, folder / f"{part.name}.keras")
    with files.new_folder(versions / _VERSION) as unfinished:
        _save_saved_model(vae, unfinished)


def save_model_for_vertex(vae, folder):
    """Writes what Vertex AI takes as the model of a training job.

    Its TensorFlow containers want the SavedModel at the top of the folder.
    https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts
    The Keras files stand beside it.

    Args:
        vae: a `trainer.model.vae.VAE`.
        folder: a `pathlib.Path`, replaced as a whole.
    """
    with files.new_folder(folder) as unfinished:
        _save_saved_model(vae, unfinished)
        for part in (vae.encoder, vae.decoder):
            part.save(unfinished / f"{part.name}.keras")


def _save_saved_model(vae, folder):
    # Imported here: a command loads TensorFlow when its flags are right.
    from trainer.model import saved_model

    saved_model.save_saved_model(vae, folder)


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
    from trainer.model import saved_model  # noqa: F401 - loaded quietly.


def _export(parsed, stop, console):
    from trainer.job_dir.job_dir import publish_folder
    from trainer.model.trained import open_trained

    flags, output = parsed
    with open_trained(flags, console) as trained:
        stop.check()
        job = trained.job
        folder = output or job.export
        save_models(trained.vae, folder)
        stop.check()
        if not output:
            publish_folder(job, folder)
        console.line(
            f"SavedModel, encoder and decoder of step {trained.step}: "
            f"{output or f'{job.location}/export'}"
        )


if __name__ == "__main__":
    sys.exit(main())
