"""One preparation, from the source to a dataset that is there or is not."""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
import shutil

import numpy as np
import PIL

from trainer import __version__, files
from trainer.data import manifest, records
from trainer.data.manifest import Manifest
from trainer.data.names import shown
from trainer.data.preparing import assembly, chunks, crew, sources
from trainer.errors import (
    ConfigError,
    DataError,
    DataUnavailableError,
    InterruptedJobError,
)

# What is said of images that cannot be used, and what is recorded.
_BAD_SHOWN, _BAD_RECORDED = 20, 1000
_PLAN, _LOCK = "plan.json", "lock"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset that is there.

    Attributes:
        content: bytes of its `dataset.json`.
        bad_count: int, how many images were left out.
        is_new: bool, whether it was not there before.
    """

    content: bytes
    bad_count: int
    is_new: bool


def prepare(source, target, settings, processes, console, stop, published=None):
    """Makes a dataset in a folder of this machine.

    What was done before a kill is kept, in a folder `preparing` of it.

    Args:
        source: `pathlib.Path`.
        target: `pathlib.Path`.
        settings: a `Settings`.
        processes: int; 0 for as many as there are cores.
        console: a `Console`.
        stop: a `StopSignal`.
        published: (bytes, place) of a `dataset.json` that lies where the
            dataset is to go; None: see whether one is in the folder.

    Returns:
        A `Prepared`.

    Raises:
        ConfigError: something else lies there, or another preparation.
        DataUnavailableError: there is no such source.
        DataError: the source is damaged, or has images that cannot be used.
        InterruptedJobError: the stop signal came; what is done is kept.
    """
    if not source.exists():
        raise DataUnavailableError(
            f"There is no {source}; give a folder, an archive or a file of "
            "images with --from."
        )
    _refuse_nesting(source, target)
    work = target / manifest.UNFINISHED
    _refuse_other(target, work)
    work.mkdir(parents=True, exist_ok=True)
    with _lock(work), _cleared_unless_begun(work, target):
        console.line(f"Looking at {source}")
        if published is None and (target / manifest.NAME).exists():
            published = records.read_manifest(target), target / manifest.NAME
        processes = 0 if published else processes or crew.cores()
        with crew.started(processes) as members:
            listed = sources.list_source(source, work, stop)
            if published is not None:
                there = _same_preparation(*published, listed, settings)
                _discard(work, target)
                return there
            _keep_plan(work, target, listed, settings)
            if sentence := sources.ignored_sentence(listed):
                console.line(sentence)
            _decode(work, listed, settings, members, console, stop)
        found = assembly.survey(
            str(work), listed, settings, _BAD_RECORDED, stop
        )
        if found.bad_count and settings.on_bad == "refuse":
            _discard(work, target)
            raise DataError(_bad_sentence(listed, found))
        if not found.has_training_images:
            _discard(work, target)
            raise DataError(
                "No training image is left: the source has none, or all went "
                "to the other splits; give more images, or smaller shares."
            )
        shape, splits, infos = assembly.assemble(
            str(work), target, listed, settings, found, console, stop
        )
        promised = Manifest(
            shape,
            listed.class_names,
            splits,
            infos,
            _made(listed, settings, found),
        )
        content = promised.encode()
        files.write_atomically(target / manifest.NAME, content)
        shutil.rmtree(work)
    return Prepared(content, found.bad_count, True)


def _decode(work, listed, settings, members, console, stop):
    """Makes the chunks that are not there yet."""
    size = chunks.records_per_chunk(settings)
    missing, done = [], 0
    for number in range(-(-len(listed) // size)):
        stop.check()
        count = min(size, len(listed) - number * size)
        if chunks.read(str(work), number, settings, with_images=False):
            done += count
        else:
            missing.append(number)

    def locators_of(number):
        return listed.locators[number * size : (number + 1) * size]

    made = crew.make_chunks(
        chunks.Work(str(work), listed.reader, settings),
        missing,
        locators_of,
        members,
        stop,
    )
    with (
        contextlib.closing(made),
        console.image_bar("Preparing", len(listed), done) as advance,
    ):
        for _, count in made:
            advance(count)


def _refuse_nesting(source, target):
    """Refuses a target within the source: it would become a part of it."""
    inside, around = target.resolve(), source.resolve()
    if around.is_dir() and inside.is_relative_to(around):
        raise ConfigError(
            f"--to={target} lies within --from={source}; give a folder beside "
            "it."
        )


def _refuse_other(target, work):
    """Refuses a folder in which something else lies."""
    if target.exists() and not target.is_dir():
        raise ConfigError(f"--to={target} is a file; give a folder.")
    if work.is_dir() or not target.exists():
        return
    if any(target.iterdir()) and not (target / manifest.NAME).exists():
        raise ConfigError(
            f"--to={target} holds something that is no dataset; give a new or "
            "an empty folder."
        )


@contextlib.contextmanager
def _cleared_unless_begun(work, target):
    """Removes the folder of a preparation that has failed before its plan."""
    try:
        yield
    except InterruptedJobError:
        # What was unpacked is of use to the next one.
        raise
    except BaseException:
        if not (work / _PLAN).exists():
            _discard(work, target)
        raise


@contextlib.contextmanager
def _lock(work):
    """Holds the folder of a preparation, until this process ends."""
    with (work / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another vae-data prepare is at work in {work.parent}; wait "
                "for it, or give another --to."
            ) from error
        yield


def _identity(listed, settings):
    """Returns by what a dataset says that it is the same preparation."""
    return {
        "kind": listed.kind,
        "name": shown(listed.name),
        "listing_sha256": listed.digest,
    }, settings.flags()


def _same_preparation(content, place, listed, settings):
    """Returns the `Prepared` of a `dataset.json` of the same preparation.

    Raises:
        ConfigError: it is that of another preparation.
    """
    made = manifest.decode(content, place).made
    source, flags = _identity(listed, settings)
    recorded = made.get("source")
    recorded = recorded if isinstance(recorded, dict) else {}
    same = {name: recorded.get(name) for name in source} == source
    if not same or made.get("flags") != flags:
        raise ConfigError(
            f"{place} is that of another source or of other flags; give "
            "another --to, or remove that dataset."
        )
    return Prepared(content, 0, False)


def _keep_plan(work, target, listed, settings):
    """Records what is prepared here; refuses to go on with something else."""
    source, flags = _identity(listed, settings)
    plan = {
        "source": {**source, "stamp": listed.stamp},
        "flags": flags,
        "versions": _versions(),
    }
    path = work / _PLAN
    if not path.exists():
        files.write_json(path, plan)
        return
    try:
        recorded = json.loads(path.read_bytes())
    except ValueError:
        recorded = None
    if recorded != plan:
        parts = recorded if isinstance(recorded, dict) else {}
        changed = [name for name in plan if parts.get(name) != plan[name]]
        raise ConfigError(
            f"{target} holds an interrupted preparation with another "
            f"{' and other '.join(changed)}; remove it to begin anew, or "
            "give another --to."
        )


def _versions():
    return {
        "vae-trainer": __version__,
        "pillow": PIL.__version__,
        "numpy": np.__version__,
    }


def _made(listed, settings, found):
    """Returns what `dataset.json` says of how the dataset was made."""
    source, flags = _identity(listed, settings)
    return {
        "by": "vae-data prepare",
        "source": {**source, "contents_sha256": found.contents},
        "flags": flags,
        "versions": _versions(),
        "left_out": {
            "count": found.bad_count,
            "first": [
                [shown(listed.name_of(index)), reason]
                for index, reason in found.bad
            ],
        },
    }


def _bad_sentence(listed, found):
    lines = [
        f"\n  {shown(listed.name_of(index))}: {reason}"
        for index, reason in found.bad[:_BAD_SHOWN]
    ]
    more = found.bad_count - len(lines)
    if more:
        lines.append(f"\n  and {more:,} more")
    return (
        f"{found.bad_count:,} of {len(listed):,} images cannot be used, and "
        "nothing was kept; repair or remove them, or leave them out with "
        f"--on_bad=skip.{''.join(lines)}"
    )


def _discard(work, target):
    """Removes a preparation, and the folder if nothing else is in it."""
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):
        pathlib.Path(target).rmdir()
