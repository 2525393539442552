"""Command: what differs between jobs, and what came of it."""

import contextlib
import pathlib
import shutil
import sys

from trainer import files, places
from trainer.errors import ConfigError
from trainer.runtime.command import run_command
from trainer.runtime.flags import Flags, Usage

_USAGE = Usage(
    program="vae-compare",
    about="Shows jobs beside each other: what differs between their settings, "
    "and what came of it. JOBS are job directories, also of jobs that still "
    "run, here or in a bucket; * stands for any name.",
    example="""\
vae-compare runs/*
vae-compare runs/* --sort=log_likelihood --format=csv
vae-compare 'gs://BUCKET/runs/*' --output=comparison.html""",
    arguments="JOBS [flags]",
)
_FORMATS = ("table", "md", "csv", "json", "html")


def main():
    """Compares jobs; the console script `vae-compare`.

    Returns:
        The exit code, as `run_command`.
    """
    return run_command(_parse, _compare)


def _parse(arguments):
    # Late, like all that follows: --help waits for nothing.
    from trainer.comparison import table

    flags = Flags(_USAGE, takes_words=True)
    flags.add(
        "sort",
        "best_loss",
        "what orders the jobs, the best first",
        choices=table.SORTS,
    )
    flags.add(
        "format",
        "table",
        "how they are written; if not given, as the name of --output ends; "
        "html: a page with curves and pictures",
        choices=_FORMATS,
    )
    flags.add(
        "output",
        "",
        "the file that they are written to; stdout if not given",
        unit="file",
    )
    if not flags.parse(arguments):
        return None
    if not flags.words:
        raise ConfigError(
            "No jobs are named; give their directories: vae-compare runs/*."
        )
    output = flags["output"].value
    path = places.parse_local(output, "--output") if output else None
    form = flags["format"].value
    if path and not flags["format"].present:
        ending = path.suffix.removeprefix(".")
        form = ending if ending in _FORMATS else form
    return flags.words, flags["sort"].value, form, path


def _compare(parsed, stop, console):
    from trainer.comparison import formats, table

    words, sort, form, path = parsed
    jobs = list(_jobs(words, form == "html", stop, console))
    if not jobs:
        raise ConfigError(
            "None of these is a job; give the --job_dir of trainings, for "
            "instance runs/*."
        )
    comparison = table.compare(jobs, sort)
    if form == "html":
        from trainer.comparison import page

        lines = page.render(comparison).splitlines()
    elif form == "table":
        lines = formats.as_text(comparison, _width(path))
    else:
        write = {"md": formats.as_markdown, "csv": formats.as_csv}
        lines = write.get(form, formats.as_json)(comparison)
    text = "".join(f"{line}\n" for line in lines)
    if path is None:
        print(text, end="")
        return
    files.write_atomically(path, text.encode())
    console.line(f"Comparison of {len(jobs)} jobs: {path}")


def _width(path):
    if path is None and sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def _jobs(words, with_pictures, stop, console):
    """Yields the `Job` of each directory; names those that are none."""
    from trainer.comparison import finding, jobs
    from trainer.job_dir.open import JobDir

    for name in finding.expand(words, lambda url: _listing(url, stop)):
        stop.check()
        if places.parse(name, "a job directory").in_bucket:
            context = _copied(name, with_pictures, stop, console)
        else:
            context = contextlib.nullcontext(JobDir(pathlib.Path(name)))
        with context as job:
            reason = jobs.why_none(job.root)
            found = None if reason else jobs.read(job, name, with_pictures)
        if reason:
            console.warning(f"{name} is no job ({reason}), and is left out.")
        else:
            yield found


def _listing(url, stop):
    from trainer.config import TrainConfig
    from trainer.job_dir.bucket.object_store import ObjectStore

    return ObjectStore(url, TrainConfig.storage_timeout_seconds, stop).list()


@contextlib.contextmanager
def _copied(url, with_pictures, stop, console):
    from trainer.comparison import jobs
    from trainer.job_dir.bucket import session
    from trainer.job_dir.open import JobDir

    def is_read(name):
        return jobs.is_read(name, with_pictures)

    with session.copied(url, console, stop, is_read) as (root, store):
        yield JobDir(root, store.url, store=store)


if __name__ == "__main__":
    sys.exit(main())
