"""One file of images of a dataset on disk, and what is said of a bad one."""

import contextlib
import errno
import os

import numpy as np

from trainer.data import manifest
from trainer.data.names import shown
from trainer.errors import DataError

ADVICE = (
    "fetch or prepare the dataset again; vae-data verify names all that is "
    "damaged"
)


class DamagedFileError(DataError):
    """A file of a dataset is not what `dataset.json` says, or not there.

    Args:
        path: `pathlib.Path` of the file.
        found: str, what it is: "is cut at record 2".
    """

    def __init__(self, path, found):
        super().__init__(f"{path} {found}; {ADVICE}.")
        self.path, self.found = path, found


@contextlib.contextmanager
def damage_of(*, is_copy):
    """Removes a file that is found damaged in the block, if it is a copy.

    Args:
        is_copy: bool, whether it was fetched, and is again when it is missing.

    Raises:
        DataError: there was one.
    """
    try:
        yield
    except DamagedFileError as error:
        if not (is_copy and _removed(error.path)):
            raise
        raise DataError(
            f"{error.path} {error.found}; this copy of what is in the bucket "
            "was removed: run the same command again, which fetches it anew."
        ) from error


def _removed(path):
    """Whether a file could be removed; not from a folder that is read-only."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


class Shard:
    """An open file of images, which is closed when nobody reads it.

    Args:
        path: `pathlib.Path`.
        shape: tuple of int, (images, height, width, channels).

    Raises:
        DataError: it is not there, or another array.
    """

    def __init__(self, path, shape):
        self._path = path
        header = manifest.npy_header(shape, np.dtype(np.uint8))
        self._offset = len(header)
        self._record_bytes = int(np.prod(shape[1:]))
        self._file = None
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            found = os.pread(self._file, len(header), 0)
        except OSError as error:
            raise unreadable(path, error) from error
        if found != header:
            raise exchanged(path)

    def read(self, record, rows):
        """Reads the records from `record` on into `rows`.

        Args:
            record: int, the first one.
            rows: list of uint8 arrays, each of the bytes of a record.

        Raises:
            DataError: the file is cut, or cannot be read.
        """
        offset = self._offset + record * self._record_bytes
        left = len(rows) * self._record_bytes
        views = [memoryview(row) for row in rows]
        while left:
            try:
                count = os.preadv(self._file, views, offset)
            except OSError as error:
                raise unreadable(self._path, error) from error
            if not count:
                at = (offset - self._offset) // self._record_bytes
                raise DamagedFileError(self._path, f"is cut at record {at}")
            offset, left = offset + count, left - count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if views:
                views[0] = views[0][count:]

    def __del__(self):
        if self._file is not None:
            os.close(self._file)


def exchanged(path):
    """Returns the error of a file with another array than promised."""
    return DamagedFileError(
        path,
        "is another file than dataset.json promises: it begins with the "
        "header of another array",
    )


def unreadable(path, error):
    """Returns the `DataError` of a file that an `OSError` keeps from us."""
    if error.errno == errno.ENOENT:
        return DamagedFileError(
            path, "is missing, but dataset.json promises it"
        )
    return DataError(
        f"{path} cannot be read ({shown(error.strerror)}); see that the "
        "folder is there and may be read, and run the same command again."
    )
