"""The images of a split, in memory or on disk, as the rest takes them.

Both have a length, a shape and a dtype, and give an array of those that are
asked for by a slice or by an array of indices.
"""

import contextlib
import os
import pathlib

import google_crc32c
import numpy as np
import tensorflow as tf

# Of the memory of this machine, what the images of a dataset may take.
_SHARE_OF_MEMORY = 4
# Read ahead of the step, where images are read from a disk.
_PARALLEL_READS = 2
_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


class StoredImages:
    """Images of a split of a dataset on disk, one behind the other.

    Args:
        split: a `records.StoredSplit`, or what reads images as it does.
        count: int, how many of them; None for all.
        start: int, the index of the first one in the split.

    Attributes:
        shape: (count, height, width, channels).
        dtype: of an image, uint8.
        fault: the `DataError` of a read that failed; None if none has.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, split, count=None, start=0):
        self._split = split
        self._start = start
        count = split.count - start if count is None else count
        self.shape = (count, *split.image_shape)
        self.fault = None

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, wanted):
        """Returns uint8 images of a slice or of an integer array."""
        if isinstance(wanted, slice):
            wanted = np.arange(*wanted.indices(len(self)))
        return self._split.read(np.asarray(wanted) + self._start)

    def part(self, start, stop):
        """Returns images of these by a slice, which are not read yet."""
        start, stop, _ = slice(start, stop).indices(len(self))
        return StoredImages(self._split, stop - start, self._start + start)

    def crc32c(self):
        """Returns the CRC32C of each image, uint32, none of which is read."""
        start, count = self._start, len(self)
        return self._split.crc32c[start : start + count]

    def read(self, indices):
        """As `__getitem__`; remembers an error that TensorFlow would hide."""
        try:
            return self[indices]
        except Exception as error:
            self.fault = error
            raise


def are_kept(count_bytes):
    """Whether so many bytes of images are kept in memory."""
    return count_bytes <= memory_bytes() // _SHARE_OF_MEMORY


def first(images, count):
    """Returns the first images, without reading any."""
    if isinstance(images, StoredImages):
        return images.part(0, count)
    return images[:count]


def after(images, count):
    """Returns the images but for the first ones, without reading any."""
    if isinstance(images, StoredImages):
        return images.part(count, None)
    return images[count:]


def some(images, indices):
    """Returns the images of an integer array, without reading any."""
    if isinstance(images, StoredImages):
        return StoredImages(_Selection(images, indices))
    return images[indices]


class _Selection:
    """Some of the images on a disk, as a split of their own.

    Args:
        images: `StoredImages`.
        indices: integer array of shape (n,), which of them.
    """

    def __init__(self, images, indices):
        self._images = images
        self._indices = indices
        self.count = len(indices)
        self.image_shape = images.shape[1:]

    @property
    def crc32c(self):
        return self._images.crc32c()[self._indices]

    def read(self, indices):
        return self._images[self._indices[indices]]


def crc32c(images):
    """Returns the CRC32C of each image: uint32 array of shape (N,)."""
    if isinstance(images, StoredImages):
        return images.crc32c()
    return np.fromiter(
        (google_crc32c.value(image.tobytes()) for image in images),
        np.uint32,
        len(images),
    )


def reader(images):
    """Returns what takes images by index inside of tf.data.

    Args:
        images: uint8 array, or `StoredImages`, of shape (N, height, width,
            channels).

    Returns:
        Function of an int64 tensor of shape (n,), which returns a uint8 tensor
        of shape (n, height, width, channels).
    """
    if not isinstance(images, StoredImages):
        # A dataset graph keeps a captured tensor; a captured array would
        # become a constant inside the graph and be serialised with it.
        with tf.device("CPU:0"):
            source = tf.convert_to_tensor(images)
        return lambda places: tf.gather(source, places)

    def read(places):
        found = tf.numpy_function(
            images.read, [places], tf.uint8, stateful=False
        )
        return tf.ensure_shape(found, (*places.shape, *images.shape[1:]))

    return read


def parallel_reads(images):
    """Returns how many batches are read at once; None for one."""
    return _PARALLEL_READS if isinstance(images, StoredImages) else None


@contextlib.contextmanager
def faults_of(*splits):
    """Turns TensorFlow's error of a read that failed into that of the read.

    Args:
        *splits: the images that are read while the block runs.

    Raises:
        DataError: an image is damaged or gone.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for images in splits:
            fault = getattr(images, "fault", None)
            if fault is not None:
                raise fault from error
        raise


def memory_bytes():
    """Returns the memory that this process may have at most, in bytes."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(pathlib.Path, _CGROUP_LIMITS):
        # Another version of the control groups, or "max": no limit.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(path.read_text()))
    return min(limits)
