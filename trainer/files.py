"""Files and folders that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
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
    unfinished = _unfinished(path)
    try:
        unfinished.write_bytes(content)
        publish(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_json(path, value):
    """Writes a JSON value to `path`, whole or not at all."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, text.encode())


def sync(path):
    """Makes a file's bytes, or a folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_folder(path):
    """Gives an empty folder, which becomes `path` when the block has ended.

    A folder that is there is replaced. When the block fails, or is killed,
    it stays as it is; a kill in the instant between the two renames at the
    end leaves none.

    Args:
        path: a `pathlib.Path`; the folder around it is made.

    Yields:
        The `pathlib.Path` to write to, beside `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, replaced = _unfinished(path), _unfinished(path)
    unfinished.mkdir()
    try:
        yield unfinished
        for written in unfinished.rglob("*"):
            sync(written)
        sync(unfinished)
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, replaced)
        os.rename(unfinished, path)
        sync(path.parent)
    finally:
        for folder in (unfinished, replaced):
            remove(folder)


def remove(path):
    """Removes a folder with all that is in it, or whatever has its name."""
    # rmtree would open a FIFO, and wait for ever.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_unfinished(folder):
    """Removes what a killed writer left behind in `folder`."""
    for path in pathlib.Path(folder).glob(f"{TEMPORARY_PREFIX}*"):
        remove(path)


def _unfinished(path):
    """Returns a name beside `path` that nobody else takes."""
    return path.with_name(
        f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}"
    )
