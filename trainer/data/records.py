"""Reads the images of a dataset on disk, in any order, each checked.

By offset, and not by a memory map, whose pages count as the job's memory.
"""

import collections
import concurrent.futures
import hashlib
import pathlib
import threading

import google_crc32c
import numpy as np

from trainer.data import manifest, shards, shared_folder
from trainer.data.shards import ADVICE, DamagedFileError, Shard
from trainer.errors import DataError, DataUnavailableError

# A terabyte is 16,000 shards; a process may often open 1,024 files.
_OPEN_SHARDS = 128
_THREADS = 4
# Below this many records, handing them to threads takes longer than it saves.
_RECORDS_A_THREAD = 64
_IOV_MAX = 1024


def open_dataset(folder, *, is_copy=False):
    """Opens a dataset in a folder of this machine.

    It reads `dataset.json` and compares the sizes of the files, which costs
    nothing at a terabyte. What is read later is checked when it is read.

    Args:
        folder: str or path.
        is_copy: bool, whether the files were fetched from a bucket. One that
            is found damaged is removed then, so that the next start fetches
            it again.

    Returns:
        A `StoredDataset`.

    Raises:
        DataUnavailableError: there is no such folder, or no dataset in it.
        DataError: a file is missing, cut, or not what `dataset.json` says.
    """
    folder = pathlib.Path(folder)
    kept = _keep(folder)
    content = _read(kept, folder)
    promised = manifest.decode(content, folder / manifest.NAME)
    for name, info in promised.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise shards.unreadable(path, error) from error
        if size != info.bytes:
            raise DataError(
                f"{path} has {size:,} bytes, but dataset.json promises "
                f"{info.bytes:,}; {ADVICE}."
            )
    digest = manifest.digest(content)
    return StoredDataset(folder, promised, digest, kept, is_copy)


def read_manifest(folder):
    """Returns the bytes of the `dataset.json` of a folder.

    Raises:
        DataUnavailableError: there is none.
        DataError: it is too large, or cannot be read.
    """
    return _read(_keep(folder), folder)


def _keep(folder):
    path = folder / manifest.NAME
    try:
        return shared_folder.Kept(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / manifest.UNFINISHED).is_dir():
            raise DataUnavailableError(
                f"{folder} holds a dataset whose preparation was interrupted; "
                "run the same vae-data prepare again."
            ) from error
        raise DataUnavailableError(
            f"{folder} holds no dataset.json; give the folder that vae-data "
            "prepare wrote."
        ) from error
    except OSError as error:
        raise shards.unreadable(path, error) from error


def _read(kept, folder):
    try:
        # One byte more than may be tells that there are too many.
        return kept.read(manifest.MAX_BYTES + 1)
    except OSError as error:
        raise shards.unreadable(folder / manifest.NAME, error) from error


class StoredDataset:
    """A dataset in a folder of this machine. Made by `open_dataset`.

    While it or a split of it is in use, `vae-data cache --clear` leaves it.

    Attributes:
        folder: `pathlib.Path`.
        manifest: a `Manifest`.
        digest: str, the SHA-256 of `dataset.json`, by which a job knows the
            dataset again.
        splits: dict of `StoredSplit` by name: `"train"`, and of
            `"validation"` and `"test"` those that are there.
    """

    def __init__(self, folder, promised, digest, kept, is_copy):
        self.folder = folder
        self.manifest = promised
        self.digest = digest
        self._kept = kept
        self.splits = {
            name: StoredSplit(folder, promised, name, kept, is_copy)
            for name in promised.splits
        }

    @property
    def image_shape(self):
        """(height, width, channels)."""
        return self.manifest.image_shape

    @property
    def class_names(self):
        """A tuple of str, by label; empty without classes."""
        return self.manifest.class_names

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the files; what is being read is read to its end."""
        for split in self.splits.values():
            split.close()
        self._kept.close()


class StoredSplit:
    """The images of a split. Threads may share it.

    Attributes:
        count: int, how many images it has.
        image_shape: (height, width, channels).
    """

    def __init__(self, folder, promised, name, kept, is_copy):
        self._kept = kept
        self.count = promised.splits[name].count
        self.image_shape = promised.image_shape
        self._folder = folder
        self._manifest = promised
        self._name = name
        self._is_copy = is_copy
        self._split = promised.splits[name]
        self._lock = threading.Lock()
        # The one that was used last stands at the end.
        self._shards = collections.OrderedDict()
        self._pool = None
        self._crc32c = self._labels = None

    def __len__(self):
        return self.count

    @property
    def labels(self):
        """int32 array of shape (count,); None where there are no classes.

        Raises:
            DataError: the file is not what `dataset.json` says.
        """
        classes = len(self._manifest.class_names)
        if not classes:
            return None
        with self._lock, shards.damage_of(is_copy=self._is_copy):
            if self._labels is None:
                name = manifest.labels_name(self._name)
                labels = self._load(name, manifest.LABEL)
                counts = np.bincount(
                    np.clip(labels, 0, classes), minlength=classes
                )
                if labels.min() < 0 or tuple(counts) != self._split.by_class:
                    raise DataError(
                        f"{self._folder / name} has other labels than "
                        f"dataset.json counts; {ADVICE}."
                    )
                self._labels = labels
            return self._labels

    @property
    def crc32c(self):
        """uint32 array of shape (count,): the checksum of each image.

        Raises:
            DataError: the file is not what `dataset.json` says.
        """
        return self._checksums()

    def read(self, indices):
        """Reads images, each checked against its CRC32C.

        Args:
            indices: integers of shape (n,), each at least 0 and less than
                `count`, in any order; one may come twice.

        Returns:
            uint8 array of shape (n, height, width, channels).

        Raises:
            IndexError: an index is out of range.
            DataError: a file is missing, cut, exchanged or damaged.
        """
        indices = np.asarray(indices)
        if not indices.size:
            return np.empty((0, *self.image_shape), np.uint8)
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise TypeError("indices are integers of one dimension")
        if indices.size and not (
            indices.min() >= 0 and indices.max() < self.count
        ):
            raise IndexError(f"{self._name} has {self.count} records")
        images = np.empty((len(indices), *self.image_shape), np.uint8)
        order = np.argsort(indices, kind="stable")
        with shards.damage_of(is_copy=self._is_copy):
            self._read_in_parts(indices, order, images)
        return images

    def close(self):
        """Closes the files."""
        with self._lock:
            self._shards.clear()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _read_in_parts(self, indices, order, images):
        """Reads the records `indices[order]`, in threads if they are many."""
        parts = min(_THREADS, max(1, len(order) // _RECORDS_A_THREAD))
        expected = self._checksums()
        if parts == 1:
            self._read_sorted(indices, order, images, expected)
            return
        reads = [
            self._threads().submit(
                self._read_sorted, indices, part, images, expected
            )
            for part in np.array_split(order, parts)
        ]
        concurrent.futures.wait(reads)
        for read in reads:
            read.result()

    def _read_sorted(self, indices, order, images, expected):
        """Reads the records `indices[order]`, which ascend, into `images`."""
        rows = images.reshape(len(images), self._manifest.record_bytes)
        wanted = indices[order].tolist()
        order = order.tolist()
        start = 0
        while start < len(order):
            # A run of records that lie one behind the other.
            first, stop = wanted[start], start + 1
            shard, record = divmod(first, self._split.records_per_shard)
            most = min(
                start + min(_IOV_MAX, self._split.records_in(shard) - record),
                len(order),
            )
            while stop < most and wanted[stop] == first + stop - start:
                stop += 1
            run = [rows[at] for at in order[start:stop]]
            self._shard(shard).read(record, run)
            for index, row in enumerate(run, first):
                found = google_crc32c.value(row.tobytes())
                if found != expected[index]:
                    raise DamagedFileError(
                        self._path(shard),
                        "is damaged at record "
                        f"{index % self._split.records_per_shard} (image "
                        f"{index} of {self._name}: CRC32C {found:08x}, "
                        f"expected {expected[index]:08x})",
                    )
            start = stop

    def _shard(self, number):
        with self._lock:
            shard = self._shards.pop(number, None)
            if shard is None:
                shape = (self._split.records_in(number), *self.image_shape)
                shard = Shard(self._path(number), shape)
            self._shards[number] = shard
            if len(self._shards) > _OPEN_SHARDS:
                self._shards.popitem(last=False)
            return shard

    def _path(self, shard):
        name = manifest.shard_name(self._name, shard, self._split.shards)
        return self._folder / name

    def _threads(self):
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(
                    _THREADS, thread_name_prefix="records"
                )
            return self._pool

    def _checksums(self):
        with self._lock:
            if self._crc32c is None:
                name = manifest.crc32c_name(self._name)
                self._crc32c = self._load(name, manifest.CRC)
            return self._crc32c

    def _load(self, name, dtype):
        """Returns the array of a small file, checked as a whole."""
        path = self._folder / name
        info = self._manifest.files[name]
        try:
            with path.open("rb") as file:
                content = file.read(info.bytes + 1)
        except OSError as error:
            raise shards.unreadable(path, error) from error
        if hashlib.sha256(content).hexdigest() != info.sha256:
            raise DamagedFileError(
                path, "is damaged (its SHA-256 is not that of dataset.json)"
            )
        header = manifest.npy_header((self.count,), dtype)
        if not content.startswith(header):
            raise shards.exchanged(path)
        values = np.frombuffer(content, dtype, offset=len(header))
        return values.astype(dtype.newbyteorder("="))
