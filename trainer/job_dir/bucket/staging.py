"""The folder of this machine in which a job of a bucket is staged."""

import shutil
import uuid

from trainer import files, places

# What lies there beside the job: the name by which a claim of this machine is
# known, and what the bucket holds (`published.py`).
MACHINE_FILE, MIRROR_FILE = ".machine", ".mirror.json"
# That of this process, which is held.
_LOCK = "claim.lock"


def folder(place):
    """Returns the staging folder of a job.

    Args:
        place: a `Place` in a bucket.
    """
    return places.cache_folder() / "staging" / place.cache_name


def earlier_folder(place):
    """Returns where version 0.1.0 staged a job.

    There the staging folder of a job could lie in that of another one, whose
    files are not touched.
    """
    return places.cache_folder() / "jobs" / place.bucket / place.path


def is_new(root):
    """Whether no job has been staged in a folder."""
    return not (root / MACHINE_FILE).exists()


def machine_of(root):
    """Returns a name that this machine's staging folder keeps."""
    path = root / MACHINE_FILE
    if is_new(root):
        files.write_atomically(path, uuid.uuid4().hex.encode())
    return path.read_text(encoding="ascii")


def clear(root):
    """Removes what is of the job."""
    for path in root.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK and not path.name.startswith("."):
            path.unlink()


def make_new(root):
    """Removes what is of the job, and that one was ever staged."""
    clear(root)
    for name in (MIRROR_FILE, MACHINE_FILE):
        (root / name).unlink(missing_ok=True)
