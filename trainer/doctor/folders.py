"""Checks of the folders on this machine: space, permission and speed."""

import errno
import itertools
import math
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np

from trainer import places
from trainer.data import images, records
from trainer.doctor import needs, rows
from trainer.job_dir import layout
from trainer.job_dir.bucket import staging

_PIECE, _PIECES = 1 << 20, 32
_SECONDS = 3.0
_LEAST_INODES = 1000
_MOST_FILES = 10_000
# A training waits for no checkpoint, but for the last one.
_SLOW_SECONDS = 60
_NO_NAMELESS_FILES = (
    errno.EOPNOTSUPP,
    errno.EISDIR,
    errno.ENOENT,
    errno.EINVAL,
)


def job_folder(case):
    """Whether the job directory can be written, holds the job, and how fast."""
    place = places.parse(case.config.job_dir)
    folder = staging.folder(place) if place.in_bucket else place.path
    around = _nearest(pathlib.Path(folder))
    if not around.is_dir():
        return rows.failure(
            f"{around} is no folder.", "Give another --job_dir."
        )
    if not os.access(around, os.W_OK | os.X_OK):
        return _forbidden(around)
    try:
        speed = _write_speed(around, around == pathlib.Path(folder))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return _forbidden(around, error.strerror)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return rows.failure(
                f"{around} has no room for {_PIECES} MiB ({error.strerror}).",
                "Free some space, or give another --job_dir.",
            )
        raise
    try:
        least = needs.of(case)
    except rows.NotLookedAtError:
        free = shutil.disk_usage(around).free
        return rows.warning(
            f"{around} can be written and has {free / 2**30:.1f} GiB free, but "
            "what the job takes is not known.",
            "Mend what failed above, and look again.",
        )
    kept = _size_of(pathlib.Path(folder) / layout.CHECKPOINTS)
    return _judged(around, speed, least, kept)


def data_folder(case):
    """Whether the data can be read fast enough, where it stays on the disk."""
    facts = case.facts
    if facts.folder is None:
        if places.parse(case.config.data_dir or ".").in_bucket:
            return _cache(case)
        return rows.ok("no files of data on this machine")
    if facts.digest is None or images.are_kept(facts.bytes):
        return _read_once(facts.folder)
    speed = _record_speed(facts.folder, case.here.batch_size)
    record = math.prod(facts.image_shape)
    wanted = case.here.batch_size * record / case.pace.step_seconds
    told = (
        f"{facts.folder} is read at {speed / 1e6:,.0f} MB/s in random order, "
        f"the steps take {wanted / 1e6:,.0f} MB/s of it"
    )
    if wanted > speed:
        return rows.warning(
            f"{told}.",
            "The devices will wait for the disk; put the data on a faster "
            "one, or give the machine more memory.",
        )
    return rows.ok(told)


def _read_once(folder):
    """The folder of data that a job reads at its start."""
    files = filter(pathlib.Path.is_file, folder.rglob("*"))
    # Of a million of pictures the first ones tell enough.
    largest = max(
        itertools.islice(files, _MOST_FILES),
        key=lambda path: path.stat().st_size,
        default=None,
    )
    if largest is None:
        return rows.ok(f"{folder} holds no file yet")
    speed = _read_speed(largest)
    return rows.ok(
        f"{folder} is read at {speed / 1e6:,.0f} MB/s, once: the images stay "
        "in memory"
    )


def _cache(case):
    """The folder of the cache, to which data of a bucket is fetched."""
    facts, most = case.facts, case.config.cache_gib
    if 0 < most < facts.bytes / 2**30:
        return rows.failure(
            f"{facts.bytes / 2**30:.1f} GiB of data from the bucket are more "
            f"than --cache_gib={most:g}.",
            "Give it more, or prepare smaller images.",
        )
    cache = places.cache_folder()
    folder = _nearest(cache)
    free = shutil.disk_usage(folder).free
    # As `trainer.data.prepared` calls the folder of a dataset.
    name = places.parse(case.config.data_dir).cache_name
    here = _size_of(cache / "data" / f"{name}-{(facts.digest or '')[:16]}")
    told = (
        f"{folder} has {free / 2**30:.1f} GiB free for "
        f"{facts.bytes / 2**30:.1f} GiB of data from the bucket"
        + (f", {here / 2**30:.1f} GiB of which are there" if here else "")
    )
    if facts.bytes - here > free:
        return rows.failure(
            f"{told}.",
            "Free some space, or set XDG_CACHE_HOME to a larger disk.",
        )
    return rows.ok(told)


def _judged(folder, speed, least, kept):
    """Returns the row of a folder that can be written.

    Args:
        folder: `pathlib.Path`.
        speed: float, bytes a second; None where it is not known.
        least: the `needs.Needs` of the job.
        kept: int, the bytes of checkpoints that are there, and will go.
    """
    usage, room = shutil.disk_usage(folder), os.statvfs(folder)
    told = (
        f"{folder} has {usage.free / 2**30:.1f} GiB free, the job takes at "
        f"least {least.on_disk / 2**30:.2f} GiB"
    )
    if usage.free + kept < least.on_disk:
        return rows.failure(
            f"{told}.", "Free some space, or give another --job_dir."
        )
    if room.f_files and room.f_favail < _LEAST_INODES:
        return rows.failure(
            f"{folder} has room for {room.f_favail} more files only (inodes).",
            "Delete small files, or give another --job_dir.",
        )
    if speed is None:
        return rows.ok(f"{told}; its speed could not be measured")
    told += f", written at {speed / 1e6:,.0f} MB/s"
    if least.checkpoint / speed > _SLOW_SECONDS:
        return rows.warning(
            f"{told}: a checkpoint takes {least.checkpoint / speed:,.0f} s.",
            "Give a faster disk, or save less often with --checkpoint_steps.",
        )
    return rows.ok(told)


def _size_of(folder):
    """Returns the bytes of the files in a folder; 0 if it is not there."""
    return sum(
        path.lstat().st_size for path in folder.rglob("*") if path.is_file()
    )


def _forbidden(folder, reason="Permission denied"):
    return rows.failure(
        f"{folder} cannot be written ({reason}).",
        "Give a --job_dir that this user may write, or change the owner.",
    )


def _nearest(folder):
    """Returns a folder, or the nearest above it that is there."""
    folder = folder.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _write_speed(folder, is_job):
    """Returns how many bytes a second are written, and on the disk.

    To a file without a name, so that nothing appears in a job directory.

    Args:
        folder: `pathlib.Path`.
        is_job: bool, whether it is the job directory itself.

    Returns:
        float; None in a job directory whose file system has no such files.

    Raises:
        OSError: it cannot be written.
    """
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        if error.errno not in _NO_NAMELESS_FILES:
            raise
        if is_job:
            return None
        with tempfile.TemporaryFile(dir=folder) as file:
            return _written(file.fileno())
    try:
        return _written(descriptor)
    finally:
        os.close(descriptor)


def _written(descriptor):
    piece = os.urandom(_PIECE)
    started = time.perf_counter()
    count = 0
    while count < _PIECES and time.perf_counter() - started < _SECONDS:
        left = piece
        while left:
            left = left[os.write(descriptor, left) :]
        count += 1
    os.fsync(descriptor)
    return count * _PIECE / (time.perf_counter() - started)


def _record_speed(folder, batch_size):
    """Returns how many bytes a second the job's own code reads of a dataset.

    In random order, as the steps do, which a disk does more slowly than in a
    row. What is in memory already is soon read.
    """
    split = records.open_dataset(folder).splits["train"]
    random = np.random.default_rng()
    count, started = 0, time.perf_counter()
    while not count or time.perf_counter() - started < _SECONDS:
        indices = random.integers(0, split.count, batch_size)
        count += split.read(indices).nbytes
    return count / (time.perf_counter() - started)


def _read_speed(path):
    """Returns how many bytes a second are read of a file, not from memory."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.perf_counter()
        count = 0
        for _ in range(_PIECES):
            piece = file.read(_PIECE)
            count += len(piece)
            if not piece or time.perf_counter() - started > _SECONDS:
                break
        return count / (time.perf_counter() - started)
