"""A job directory in a bucket: claimed, and mirrored; or copied, to read."""

import contextlib
import pathlib
import tempfile

from trainer.config import TrainConfig
from trainer.errors import InterruptedJobError, TrainerError
from trainer.job_dir.bucket import ownership, staging
from trainer.job_dir.bucket.claim import BucketClaim
from trainer.job_dir.bucket.download import download
from trainer.job_dir.bucket.mirror import STOP_SECONDS, Mirror
from trainer.job_dir.bucket.object_store import ObjectStore

# What a command reads of a job beside its checkpoints.
_RECORDS = (
    "config.json",
    "metrics.jsonl",
    "finished.json",
    "evaluation.json",
    "goodput.json",
)


@contextlib.contextmanager
def mirrored(store, root, job_id, seconds, console, stop):
    """Holds a job directory in a bucket, and publishes its staging folder.

    The bucket holds everything when the block has ended without an error, or
    with an `InterruptedJobError`. A staging folder that was new is new again
    when the block fails and nothing was to be published yet.

    Args:
        store: the `ObjectStore` of the job directory.
        root: `pathlib.Path` of the staging folder, which is held.
        job_id: callable, as for `pull.pull`.
        seconds: how long the last upload may come to a standstill.
        console: a `Console`.
        stop: a `StopSignal`.

    Yields:
        A `Mirror`, which has pulled and is not started.

    Raises:
        JobDirError: another job holds it.
        StorageUnavailableError: the bucket cannot be reached for now.
    """
    was_new = staging.is_new(root)
    claim = BucketClaim(store, staging.machine_of(root))
    mirror = Mirror(root, store, claim)
    try:
        with _held(claim, console, stop):
            mirror.pull(job_id, console, stop)
            with _finished(mirror, seconds, console, stop):
                yield mirror
    except BaseException:
        # A claim that is still there is taken over by the machine's name.
        if was_new and not mirror.is_needed() and not claim.is_held:
            staging.make_new(root)
        raise


@contextlib.contextmanager
def _held(claim, console, stop):
    claim.acquire(console, stop)
    try:
        yield
    finally:
        claim.release()


@contextlib.contextmanager
def _finished(mirror, seconds, console, stop):
    """Publishes what is left when the block has ended."""
    try:
        yield
    except InterruptedJobError:
        mirror.finish(STOP_SECONDS, console)
        raise
    except BaseException:
        # What went wrong matters more than what is not sent yet.
        if mirror.is_started:
            with contextlib.suppress(TrainerError):
                mirror.finish(STOP_SECONDS, console)
        raise
    mirror.finish(seconds, console, extend=True, stop=stop)


def is_read(name):
    """Whether commands read what has that name below a job directory."""
    return name.startswith("checkpoints/") or name in _RECORDS


@contextlib.contextmanager
def copied(location, console, stop, is_read=is_read):
    """Gives a temporary copy of what commands read of a job.

    Args:
        location: str, `gs://bucket/prefix`.
        console: shows the progress.
        stop: a `StopSignal`, which ends each call of the store; None: none.
        is_read: function of a name below the job directory: whether the copy
            has it.

    Yields:
        (root, store): the `pathlib.Path` of the copy, and the `ObjectStore`.
    """
    store = ObjectStore(location, TrainConfig.storage_timeout_seconds, stop)
    remote = store.list()
    with tempfile.TemporaryDirectory(prefix="vae-trainer-") as folder:
        root = pathlib.Path(folder)
        store.owner = ownership.find(store, remote)
        ours, _ = ownership.split(remote, store.owner)
        objects = {name: info for name, info in ours.items() if is_read(name)}
        download(store, objects, root, console)
        yield root, store


def publish(store, root, paths, spared=()):
    """Puts files into the bucket of a job that may be running.

    Args:
        store: the `ObjectStore` of the job directory.
        root: `pathlib.Path` of a copy of it.
        paths: list of `pathlib.Path` below `root`.
        spared: names of files, as of `open.publish_folder`.

    Returns:
        As `open.publish_folder`.

    Raises:
        JobDirError: an object that is not of the job has such a name.
    """
    # Looked at again: the job may be running, and its objects may change.
    ours, others = ownership.split(store.list(), store.owner)
    left = []
    for path in paths:
        name = str(path.relative_to(root))
        if name in others and path.name in spared:
            left.append(f"{store.url}/{name}")
            continue
        if name in others:
            raise ownership.clash(store, name)
        generation = ours[name].generation if name in ours else 0
        store.write(name, path.read_bytes(), generation)
    return left


def take_over(earlier, root):
    """Moves what version 0.1.0 staged of a job to where it belongs now.

    Args:
        earlier: `pathlib.Path` of that version's folder, which is held.
        root: `pathlib.Path` of the staging folder, which is held.
    """
    names = [
        str(path.relative_to(earlier))
        for path in earlier.rglob("*")
        if path.is_file()
    ]
    ours = [
        name
        for name in names
        if ownership.is_file(name) or name.startswith("damaged/")
    ]
    # The last two say that the others are there.
    for name in (*ours, staging.MIRROR_FILE, staging.MACHINE_FILE):
        if (earlier / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (earlier / name).rename(root / name)
