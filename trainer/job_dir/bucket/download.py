"""Downloads objects of a bucket into a folder, each checked."""

import concurrent.futures
import errno

from trainer import files
from trainer.errors import JobDirError
from trainer.job_dir.bucket.answers import ObjectChangedError, printable

_PARALLEL_DOWNLOADS = 8
_CHECKPOINTS = "checkpoints/"
# What a file system says of a name that it cannot hold, or not beside another.
_BAD_NAMES = (
    errno.EEXIST,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
)


def download(store, objects, folder, console):
    """Downloads objects in parallel, each checked against its CRC32C.

    A checkpoint's file that is damaged is left out: whoever reads that
    checkpoint will find it damaged, and use the one before.

    Args:
        store: an `ObjectStore`. The stop signal that it heeds ends the
            downloads.
        objects: dict of `ObjectInfo` by name.
        folder: `pathlib.Path` to put them in.
        console: shows the progress.

    Raises:
        ObjectChangedError: another object is damaged, or changed meanwhile.
        JobDirError: an object has a name that no file in there can have.
        InterruptedJobError: the stop signal came.
    """

    def fetch(name, info):
        path = _path(store, name, folder)
        try:
            content = store.read(name, info)
        except ObjectChangedError:
            if name.startswith(_CHECKPOINTS):
                return info.size
            raise
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(path, content)
        except OSError as error:
            if error.errno not in _BAD_NAMES:
                raise
            raise _refused(
                store, name, f"cannot be a file ({error.strerror})"
            ) from error
        return info.size

    total = sum(info.size for info in objects.values())
    with (
        console.byte_bar(f"Downloading {store.url}", total) as advance,
        concurrent.futures.ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool,
    ):
        fetched = [pool.submit(fetch, *item) for item in objects.items()]
        try:
            for done in concurrent.futures.as_completed(fetched):
                advance(done.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _path(store, name, folder):
    """Returns where an object goes, which is within the folder."""
    try:
        path = (folder / name).resolve()
    except (ValueError, OSError) as error:
        raise _refused(store, name, f"cannot be a file ({error})") from error
    if not path.is_relative_to(folder.resolve()):
        raise _refused(store, name, f"would land outside of {folder}")
    return folder / name


def _refused(store, name, why):
    place = printable(f"{store.url}/{name}")
    return JobDirError(f"{place} {why}; remove that object.")
