"""A job directory in a bucket: claimed, staged on this machine, mirrored."""

import contextlib
import pathlib
import tempfile
import uuid

from trainer import files, mirror as mirror_lib
from trainer.claim import BucketClaim
from trainer.config import TrainConfig
from trainer.errors import InterruptedJobError, TrainerError
from trainer.job_dir import MACHINE_FILE, JobDir, cache_folder
from trainer.storage import ObjectStore

# A scheduler that sends SIGTERM kills 30 seconds later.
_STOP_SECONDS = 20.0
# What a command reads of a job beside its checkpoints.
_RECORDS = ("config.json", "metrics.jsonl", "finished.json", "evaluation.json")


@contextlib.contextmanager
def open_to_write(config, console, stop):
    """As `job_dir.open_to_write`, of a bucket."""
    store = ObjectStore(config.job_dir, config.storage_timeout_seconds)
    staging = cache_folder() / "jobs" / store.bucket_name / store.prefix
    with JobDir(staging, store.url).claim() as job:
        claim = BucketClaim(store, _machine_of(staging))
        claim.acquire(console, stop)
        try:
            job.mirror = mirror_lib.Mirror(job, store, claim)
            job.mirror.pull(console)
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
    objects = {
        name: info
        for name, info in store.list().items()
        if name.startswith("checkpoints/") or name in _RECORDS
    }
    with tempfile.TemporaryDirectory(prefix="vae-trainer-") as folder:
        mirror_lib.download(store, objects, pathlib.Path(folder), console)
        yield JobDir(folder, store.url)


def publish_folder(job, folder):
    """As `job_dir.publish_folder`, of a bucket."""
    _publish(job, sorted(filter(pathlib.Path.is_file, folder.rglob("*"))))


def publish_file(job, path):
    """As `job_dir.publish_file`, of a bucket."""
    _publish(job, [path])


def _publish(job, paths):
    store = ObjectStore(job.location, TrainConfig.storage_timeout_seconds)
    for path in paths:
        name = str(path.relative_to(job.root))
        found = store.info(name)
        store.write(name, path.read_bytes(), found.generation if found else 0)


def _machine_of(staging):
    """Returns a name that this machine's staging folder keeps."""
    path = staging / MACHINE_FILE
    if not path.exists():
        files.write_atomically(path, uuid.uuid4().hex.encode())
    return path.read_text(encoding="ascii")
