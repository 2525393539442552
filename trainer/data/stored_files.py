"""The files of a dataset on disk, in a folder or in a bucket, as bytes."""

import hashlib
import pathlib

import numpy as np

from trainer import places
from trainer.config import TrainConfig
from trainer.data import manifest, records
from trainer.data.names import shown
from trainer.data.shards import ADVICE
from trainer.errors import DataError, DataUnavailableError

_PIECE = 1 << 20


def find(data_dir, stop):
    """Returns the `FolderFiles` or the `BucketFiles` of a dataset.

    Args:
        data_dir: str, a folder or `gs://bucket/folder`.
        stop: a `StopSignal`.
    """
    place = places.parse(data_dir, "--data_dir")
    if not place.in_bucket:
        return FolderFiles(pathlib.Path(place.path))
    # The client library takes most of a second to import.
    from trainer.job_dir.bucket.object_store import ObjectStore

    return BucketFiles(
        ObjectStore(data_dir, TrainConfig.storage_timeout_seconds, stop)
    )


class UnreadableFileError(Exception):
    """A file of a dataset cannot be had; the message says why: "it is …"."""


class FolderFiles:
    """The files of a dataset in a folder.

    Args:
        folder: `pathlib.Path`.

    Attributes:
        place: str, of the dataset.
    """

    def __init__(self, folder):
        self.folder = folder
        self.place = str(folder)

    def manifest_bytes(self):
        """Returns the content of `dataset.json`.

        Raises:
            DataError: it cannot be had.
        """
        return records.read_manifest(self.folder)

    def pieces(self, name, size):
        """Yields the content of a file, at most one byte more than its size.

        Raises:
            UnreadableFileError: it cannot be read.
        """
        left = size + 1
        try:
            with (self.folder / name).open("rb") as file:
                while left and (piece := file.read(min(left, _PIECE))):
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise UnreadableFileError(
                f"it cannot be read ({error.strerror})"
            ) from error


class BucketFiles:
    """The files of a dataset in a bucket.

    Args:
        store: an `ObjectStore`.

    Attributes:
        place: str, of the dataset.
    """

    folder = None

    def __init__(self, store):
        self.store = store
        self.place = store.url
        self._objects = None

    @property
    def objects(self):
        """The `ObjectInfo` of each object, by name."""
        if self._objects is None:
            self._objects = self.store.list()
        return self._objects

    def manifest_bytes(self):
        """Returns the content of `dataset.json`.

        Raises:
            DataError: it cannot be had.
        """
        info = self.objects.get(manifest.NAME)
        if info is None:
            raise DataUnavailableError(
                f"{self.place} holds no dataset.json; give the folder that "
                "vae-data prepare wrote."
            )
        if info.size > manifest.MAX_BYTES:
            raise DataError(
                f"{self.place}/{manifest.NAME} has {info.size:,} bytes, which "
                "no dataset.json has; prepare the dataset again."
            )
        return self.store.read(manifest.NAME, info)

    def pieces(self, name, size):
        """Yields the content of an object.

        Raises:
            UnreadableFileError: it is not there, of another size, or damaged.
        """
        from trainer.job_dir.bucket.answers import ObjectChangedError

        info = self.objects.get(name)
        if info is None:
            raise UnreadableFileError("it is missing")
        if info.size != size:
            raise UnreadableFileError(f"it has {info.size:,} bytes")
        try:
            yield self.store.read(name, info)
        except ObjectChangedError as error:
            raise UnreadableFileError(shown(error)) from error


def read_array(source, promised, name):
    """Returns the array of a file, which is held in memory and checked.

    Args:
        source: `FolderFiles` or `BucketFiles`.
        promised: a `Manifest`.
        name: str, of the file.

    Raises:
        DataError: it is missing or damaged.
    """
    info = promised.files[name]
    shape, dtype = manifest.arrays(
        promised.image_shape, promised.class_names, promised.splits
    )[name]
    try:
        content = b"".join(source.pieces(name, info.bytes))
    except UnreadableFileError as error:
        raise DataError(f"{source.place}/{name}: {error}; {ADVICE}.") from error
    header = manifest.npy_header(shape, dtype)
    if hashlib.sha256(
        content
    ).hexdigest() != info.sha256 or not content.startswith(header):
        raise DataError(
            f"{source.place}/{name}: its SHA-256 is not that of dataset.json; "
            f"{ADVICE}."
        )
    return np.frombuffer(content, dtype, offset=len(header)).reshape(shape)
