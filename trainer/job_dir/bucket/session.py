"""A job directory in a bucket: claimed, staged on this machine, mirrored."""

import contextlib
import pathlib
import tempfile
import uuid

from trainer import files, places
from trainer.config import TrainConfig
from trainer.errors import InterruptedJobError, TrainerError
from trainer.job_dir.bucket import mirror as mirror_lib, ownership
from trainer.job_dir.bucket.claim import BucketClaim
from trainer.job_dir.bucket.object_store import ObjectStore
from trainer.job_dir.job_dir import (
    MACHINE_FILE,
    MIRROR_FILE,
    JobDir,
    cache_folder,
)

# A scheduler that sends SIGTERM kills 30 seconds later.
_STOP_SECONDS = 20.0
# What a command reads of a job beside its checkpoints.
_RECORDS = ("config.json", "metrics.jsonl", "finished.json", "evaluation.json")


@contextlib.contextmanager
def open_to_write(config, console, stop):
    """As `job_dir.open_to_write`, of a bucket."""
    store = ObjectStore(config.job_dir, config.storage_timeout_seconds)
    staging = staging_folder(store.url)
    with JobDir(staging, store.url).claim() as job:
        _take_over_earlier_staging(job)
        claim = BucketClaim(store, _machine_of(staging))
        claim.acquire(console, stop)
        try:
            job.store = store
            job.mirror = mirror_lib.Mirror(job, store, claim)
            job.mirror.pull(console)
            job.new_id = store.owner
            try:
                yield job
            except InterruptedJobError:
                job.mirror.finish(_STOP_SECONDS, console)
                raise
            except BaseException:
                # What went wrong matters more than what is not sent yet.
                if job.mirror.is_started:
                    with contextlib.suppress(TrainerError):
                        job.mirror.finish(_STOP_SECONDS, console)
                raise
            job.mirror.finish(
                config.storage_timeout_seconds, console, extend=True
            )
        finally:
            # One that cannot be released goes stale.
            with contextlib.suppress(TrainerError):
                claim.release()


@contextlib.contextmanager
def open_to_read(location, console):
    """As `job_dir.open_to_read`, of a bucket."""
    store = ObjectStore(location, TrainConfig.storage_timeout_seconds)
    remote = store.list()
    with tempfile.TemporaryDirectory(prefix="vae-trainer-") as folder:
        job = JobDir(folder, store.url)
        store.owner = ownership.find(store, remote)
        ours, _ = ownership.split(remote, store.owner)
        objects = {
            name: info
            for name, info in ours.items()
            if name.startswith("checkpoints/") or name in _RECORDS
        }
        mirror_lib.download(store, objects, job.root, console)
        job.store = store
        yield job


def publish_folder(job, folder):
    """As `job_dir.publish_folder`, of a bucket."""
    _publish(job, sorted(filter(pathlib.Path.is_file, folder.rglob("*"))))


def publish_file(job, path):
    """As `job_dir.publish_file`, of a bucket."""
    _publish(job, [path])


def _publish(job, paths):
    store = job.store
    # Looked at again: the job may be running, and its objects may change.
    remote = store.list()
    ours, others = ownership.split(remote, store.owner)
    for path in paths:
        name = str(path.relative_to(job.root))
        if name in others:
            raise ownership.clash(store, name)
        generation = ours[name].generation if name in ours else 0
        store.write(name, path.read_bytes(), generation)


def staging_folder(location):
    """Returns the folder of this machine where a job of a bucket is staged.

    Args:
        location: str, `gs://bucket/prefix`.
    """
    return cache_folder() / "staging" / places.parse(location).cache_name


def _take_over_earlier_staging(job):
    """Moves what version 0.1.0 staged of this job to where it belongs now.

    There the staging folder of a job could lie in that of another one, whose
    files are not touched.

    Args:
        job: the claimed `JobDir` of the staging folder.

    Raises:
        JobDirError: a process of that version works there.
    """
    place = places.parse(job.location)
    earlier = cache_folder() / "jobs" / place.bucket / place.path
    if (
        not (earlier / MACHINE_FILE).exists()
        or (job.root / MACHINE_FILE).exists()
    ):
        return
    with JobDir(earlier, job.location).claim():
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
        for name in (*ours, MIRROR_FILE, MACHINE_FILE):
            if (earlier / name).exists():
                (job.root / name).parent.mkdir(parents=True, exist_ok=True)
                (earlier / name).rename(job.root / name)


def _machine_of(staging):
    """Returns a name that this machine's staging folder keeps."""
    path = staging / MACHINE_FILE
    if not path.exists():
        files.write_atomically(path, uuid.uuid4().hex.encode())
    return path.read_text(encoding="ascii")
