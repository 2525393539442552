"""A secret that the chief leaves in the job directory while the workers meet.

Who can read it there belongs to the job. The chief gives each a name of its
own, takes it away when all workers are there, and tells them the name; so
one that a killed chief has left behind is nobody's secret any more.
"""

import contextlib
import os
import pathlib
import re
import secrets

from trainer import files, places
from trainer.errors import JobDirError

_TOKEN_BYTES = 32
# What a killed chief has left is cleared away with all that is unfinished.
_PREFIX = f"{files.TEMPORARY_PREFIX}cluster-token-"
_NAME = re.compile(re.escape(_PREFIX) + "[0-9a-f]{32}")
# The chief waits for 30.
_READ_SECONDS = 10.0


@contextlib.contextmanager
def written(config, stop):
    """Leaves a new secret in the job directory while the block runs.

    Args:
        config: a `TrainConfig`.
        stop: a `StopSignal`, heeded while the bucket does not answer.

    Yields:
        (name, token): str and bytes.

    Raises:
        JobDirError: the folder cannot be written.
        StorageUnavailableError: the bucket cannot be reached for now.
    """
    name = f"{_PREFIX}{secrets.token_hex(16)}"
    token = secrets.token_hex(_TOKEN_BYTES).encode()
    place = places.parse(config.job_dir)
    if place.in_bucket:
        # The client library takes most of a second to import.
        from trainer.job_dir.bucket import object_store

        store = object_store.ObjectStore(
            config.job_dir, config.storage_timeout_seconds, stop
        )
        # It is not of the job, which has no id yet.
        info = store.write(name, token, owner=object_store.CLUSTER_TOKEN)
        try:
            yield name, token
        finally:
            store.delete(name, info.generation)
        return
    with _folder(pathlib.Path(place.path)) as folder:
        path = folder / name
        try:
            descriptor = os.open(
                path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600
            )
        except OSError as error:
            raise _not_writable(folder, error) from error
        try:
            with open(descriptor, "wb") as file:
                file.write(token)
            yield name, token
        finally:
            path.unlink(missing_ok=True)


def read(config, stop, name):
    """Returns the secret of a name, bytes.

    Args:
        config: a `TrainConfig`.
        stop: as `written`.
        name: str, which came from somebody who may not be the chief.

    Raises:
        ValueError: there is no such secret in the job directory.
        TrainerError: the bucket cannot be reached, or refuses.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("it names no secret of a job directory")
    place = places.parse(config.job_dir)
    try:
        if place.in_bucket:
            return _read_object(config, stop, name)
        with open(pathlib.Path(place.path) / name, "rb") as file:
            token = file.read(2 * _TOKEN_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"its secret is not to be read in {place} ({error.strerror})"
        ) from error
    return _checked(token, place)


def _read_object(config, stop, name):
    from trainer.job_dir.bucket import object_store
    from trainer.job_dir.bucket.answers import ObjectChangedError

    seconds = min(_READ_SECONDS, config.storage_timeout_seconds)
    store = object_store.ObjectStore(config.job_dir, seconds, stop)
    info = store.info(name)
    if info is None or info.owner != object_store.CLUSTER_TOKEN:
        raise ValueError(f"its secret is not in {store.url}")
    if info.size != 2 * _TOKEN_BYTES:
        raise _not_whole(store.url)
    try:
        return store.read(name, info)
    except ObjectChangedError as error:
        raise ValueError(f"its secret is not in {store.url}") from error


def _checked(token, place):
    if len(token) != 2 * _TOKEN_BYTES:
        raise _not_whole(place)
    return token


def _not_whole(place):
    return ValueError(f"its secret in {place} is not whole")


@contextlib.contextmanager
def _folder(root):
    """Makes a folder that is not there, and removes it if it stays empty."""
    made = []
    folder = root
    while not folder.exists():
        made.append(folder)
        folder = folder.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield root
    except (FileExistsError, NotADirectoryError) as error:
        raise _not_writable(root, error) from error
    finally:
        for each in made:
            # What somebody has put there in the meantime stays.
            with contextlib.suppress(OSError):
                each.rmdir()


def _not_writable(folder, error):
    return JobDirError(
        f"The secret of the workers cannot be written to {folder} "
        f"({error.strerror}); give a --job_dir that can, or "
        "--cluster_token_file."
    )
