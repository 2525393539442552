"""Checks of the bucket of a job: each call that a job makes of it."""

import contextlib
import datetime
import time
import uuid

from trainer.doctor import rows
from trainer.errors import TrainerError
from trainer.job_dir.bucket.answers import ObjectChangedError
from trainer.job_dir.bucket.object_store import CLOCK, ObjectStore

# A job waits longer for a bucket that is out of reach; who asks does not.
_MOST_SECONDS = 15.0
_CONTENT = b"written by vae-doctor, to be deleted at once\n" * 100
# What is signed with a clock that is further off is refused.
# https://cloud.google.com/storage/docs/access-control/signed-urls-v2
_MOST_SKEW_SECONDS = 60
_SLOW_SECONDS = 2.0


def open_store(url, case):
    """Returns the `ObjectStore` of a place, which does not wait for long.

    Args:
        url: str, `gs://bucket/prefix`.
        case: a `Case`.
    """
    seconds = min(case.config.storage_timeout_seconds, _MOST_SECONDS)
    return ObjectStore(url, seconds, case.stop)


def lists(case):
    """Whether the job directory in a bucket can be listed."""
    started = time.monotonic()
    store, listed = case.bucket
    return rows.ok(
        f"{store.url} has {len(listed):,} objects, listed in "
        f"{_milliseconds(time.monotonic() - started)}"
    )


def writes(case):
    """Whether an object can be written under a condition, read and deleted.

    Its name and its owner are those of the objects by which a claim asks for
    the server's clock: what a killed doctor leaves, the next start removes.
    """
    store, _ = case.bucket
    name = f"{CLOCK}-{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as after:
        started = time.monotonic()
        now = time.time()
        info = _written(store, name)
        seconds = [time.monotonic() - started]
        # One that is not deleted below, whatever happens, is named.
        after.callback(_delete, store, name, info.generation)
        skew = info.updated - datetime.datetime.fromtimestamp(
            now, datetime.timezone.utc
        )
        started = time.monotonic()
        content = store.read(name, info)
        seconds.append(time.monotonic() - started)
        if content != _CONTENT:
            return rows.failure(
                f"{store.url}/{name} is read back as other bytes.",
                "Use another bucket, or find out what stands in between.",
            )
        try:
            other = store.write(name, _CONTENT + b"again", owner=CLOCK)
        except ObjectChangedError:
            pass
        else:
            after.callback(_delete, store, name, other.generation)
            return rows.failure(
                f"{store.url} wrote over an object although the condition was "
                "that there is none.",
                "A job needs such conditions, to be the only one that writes; "
                "use Cloud Storage itself.",
            )
    told = (
        f"written in {_milliseconds(seconds[0])} and read in "
        f"{_milliseconds(seconds[1])}, conditions are kept, deleted again"
    )
    if abs(skew.total_seconds()) > _MOST_SKEW_SECONDS:
        return rows.warning(
            f"{told}; the clock here and the server's are "
            f"{abs(skew.total_seconds()):,.0f} s apart.",
            "Set the clock (timedatectl set-ntp true): requests are signed "
            "with the time.",
        )
    if max(seconds) > _SLOW_SECONDS:
        return rows.warning(
            f"{told}: that is slow.",
            "Use a bucket in the region of the machines.",
        )
    return rows.ok(told)


def _written(store, name):
    """Writes the object; returns its `ObjectInfo`.

    A write whose answer was lost may have arrived all the same.
    """
    # One that a signal ended would arrive unseen.
    quiet = store.heeding(None)
    try:
        return quiet.write(name, _CONTENT, owner=CLOCK)
    except ObjectChangedError:
        raise  # It is somebody else's.
    except TrainerError as error:
        try:
            found = quiet.info(name)
        except TrainerError:
            raise type(error)(
                f"{error} Whether {store.url}/{name} was written is not known; "
                "the next start of a job there removes it."
            ) from error
        if found and found.owner == CLOCK:
            _delete(store, name, found.generation)
        raise


def _delete(store, name, generation):
    try:
        # A signal that comes now is to leave nothing behind.
        store.heeding(None).delete(name, generation)
    except ObjectChangedError:
        return  # A later version of it has a call of its own.
    except TrainerError as error:
        raise type(error)(
            f"{store.url}/{name}, written for this check, could not be "
            f"deleted: {error} A job deletes old checkpoints, so it needs "
            "that permission; delete the object by hand."
        ) from error


def _milliseconds(seconds):
    return f"{1000 * seconds:.0f} ms"
