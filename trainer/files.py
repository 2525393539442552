"""Files that appear whole or not at all."""

import os
import pathlib
import uuid

TEMPORARY_PREFIX = ".unfinished-"


def publish(unfinished, path):
    """Makes a written file `path`, with its bytes on the disk first."""
    sync(unfinished)
    os.replace(unfinished, path)
    sync(path.parent)


def write_atomically(path, content):
    """Writes bytes to `path`, whole or not at all.

    The bytes are on the disk before the name is, so that a power cut cannot
    leave an empty file under the name. When the writing fails, nothing is
    left behind.
    """
    unfinished = path.with_name(
        f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}"
    )
    try:
        unfinished.write_bytes(content)
        publish(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def sync(path):
    """Makes a file's bytes, or a folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder):
    """Removes what a killed writer left behind in `folder`."""
    for path in pathlib.Path(folder).glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)
