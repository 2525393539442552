"""Command: one page with all that came out of a job."""

import sys

from trainer import files, stored
from trainer.runtime.command import run_command
from trainer.runtime.flags import Usage, new_job_flags

_USAGE = Usage(
    program="vae-gallery",
    about="Writes all that came out of a job on one page, "
    "JOB_DIR/gallery.html.",
    example="vae-gallery --job_dir=runs/vae",
)
_NAME = "gallery.html"


def main():
    """Writes the page of a job; the console script `vae-gallery`.

    Returns:
        The exit code, as `run_command`.
    """
    return run_command(_parse, _make_gallery, load=_load)


def _parse(arguments):
    return new_job_flags(_USAGE).parse(arguments)


def _load():
    from trainer.gallery import page  # noqa: F401 - loaded quietly.


def _make_gallery(flags, stop, console):
    from trainer.evaluation import report
    from trainer.gallery import page
    from trainer.job_dir.open import publish_file
    from trainer.model.trained import open_trained
    from trainer.pictures import album, grids
    from trainer.tracking.rows import read_rows

    with open_trained(flags, console, stop) as trained:
        stop.check()
        job = trained.job
        data = trained.data(console, stop)
        stop.check()
        drawn = album.draw(
            trained,
            data,
            grids.rows_of_grid(data.image_shape),
            trained.config.seed,
            console,
            stop,
        )
        stop.check()
        content = page.render(
            trained,
            rows=read_rows(job.metrics_path),
            evaluation=report.read(job, console),
            data=data,
            album=drawn,
            goodput=_goodput(job, console),
        )
        stop.check()
        path = job.root / _NAME
        files.write_atomically(path, content.encode())
        publish_file(job, path)
        console.line(f"Gallery of step {trained.step}: {job.location}/{_NAME}")


def _goodput(job, console):
    """Returns the `Goodput` of a job; None if it is not known."""
    from trainer.tracking import goodput

    try:
        return goodput.read(job.goodput_path)
    except stored.UnreadableError as error:
        console.warning(f"{job.goodput_path} {error}, and is left out.")
        return None


if __name__ == "__main__":
    sys.exit(main())
