"""What a source of images holds: a list of images in a fixed order."""

import dataclasses
import errno
import hashlib
import os
import stat
import zlib

import numpy as np

from trainer.data.manifest import MAX_CLASSES, MAX_RECORDS, SPLITS
from trainer.data.names import shown
from trainer.data.preparing.decoding import BadImageError
from trainer.errors import DataError

# An encoded picture that is larger is none that anybody took.
MAX_FILE_BYTES = 512 << 20
_PIECE = 1 << 20
EXTENSIONS = {
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif",
    ".tiff", ".webp",
}  # fmt: skip
ANY_SPLIT = -1
# Of a member of a zip file, what is more than enough for its first bytes.
_START_STORED = 4096
# Of a file: no right to read it, and nothing that is read by its bytes.
_LASTING = (errno.EACCES, errno.EPERM, errno.ENXIO, errno.EISDIR, errno.ELOOP)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images of a source.

    Attributes:
        kind: str, what the source is: "folder", "zip", "IDX" and so on.
        name: str, the last part of its path.
        class_names: tuple of str; empty without classes.
        labels: int32 array of shape (N,); None without classes.
        splits: int8 array of shape (N,): the index in `SPLITS`, or
            `ANY_SPLIT` where the source does not say.
        locators: sequence of N, each what `reader.read` takes, or a `Refused`.
        reader: reads an image. It goes to other processes by pickle.
        name_of: function of an index, which returns a str for messages.
        digest: str, a SHA-256 of the names and sizes of all images.
        stamp: str, by which a source that changed while it was being read is
            noticed, on this machine.
        ignored: tuple of str, names of the first files that are no images.
        ignored_count: int, how many there are.
    """

    kind: str
    name: str
    class_names: tuple
    labels: np.ndarray | None
    splits: np.ndarray
    locators: object
    reader: object
    name_of: object
    digest: str
    stamp: str
    ignored: tuple = ()
    ignored_count: int = 0

    def __len__(self):
        return len(self.splits)

    def __post_init__(self):
        if not len(self):
            raise DataError(
                f"{shown(self.name)} holds no images ({self.kind}); give a "
                "folder, an archive or a file that does."
            )
        if len(self) > MAX_RECORDS or len(self.class_names) > MAX_CLASSES:
            raise DataError(
                f"{shown(self.name)} holds {len(self):,} images of "
                f"{len(self.class_names):,} classes; at most {MAX_RECORDS:,} "
                f"and {MAX_CLASSES:,} can be."
            )


@dataclasses.dataclass(frozen=True)
class Refused:
    """In place of a locator: an image that is not even looked at."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The form of images that are stored as bare pixels.

    Attributes:
        shape: tuple of int, (height, width), (height, width, channels) or
            (channels, height, width).
        channels_first: bool, the last of these.
    """

    shape: tuple
    channels_first: bool = False


class FolderReader:
    """Reads files below a folder by their path in it.

    Args:
        root: str, the folder.
    """

    pixels = None

    def __init__(self, root):
        self._root = root

    def read(self, path):
        """Returns the bytes of a file.

        Raises:
            BadImageError: it may not be read, or is no regular file.
            DataError: it cannot be read for now.
        """
        # A FIFO that took its place would be waited for without an end.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            opened = os.open(f"{self._root}/{path}", flags)
            try:
                if not stat.S_ISREG(os.fstat(opened).st_mode):
                    raise BadImageError("it is no regular file")
                return _content_of(opened)
            finally:
                os.close(opened)
        except OSError as error:
            raise unreadable(path, error) from error


class RangeReader:
    """Reads (file, offset, size), a range of bytes of one of some files.

    Args:
        paths: list of str.
        pixels: a `Pixels`; None for encoded pictures.
    """

    def __init__(self, paths, pixels=None):
        self._paths = paths
        self.pixels = pixels
        self._files = {}

    def __getstate__(self):
        return {**self.__dict__, "_files": {}}

    def read(self, locator):
        """Returns the bytes of a range.

        Raises:
            BadImageError: the file ends before it does.
            DataError: it cannot be read for now.
        """
        number, offset, size = locator
        _check_size(size)
        content = self._read_at(number, offset, size)
        if len(content) != size:
            raise BadImageError("the file ends before it does")
        return content

    def start(self, locator, size):
        """Returns the first bytes of a range, as many as there are."""
        number, offset, whole = locator
        return self._read_at(number, offset, min(size, whole))

    def _read_at(self, number, offset, size):
        try:
            if number not in self._files:
                flags = os.O_RDONLY | os.O_CLOEXEC
                self._files[number] = os.open(self._paths[number], flags)
            return os.pread(self._files[number], size, offset)
        except OSError as error:
            raise unreadable(self._paths[number], error) from error

    def __del__(self):
        for file in self._files.values():
            os.close(file)


class ZipReader(RangeReader):
    """Reads (offset, stored, size, method, crc), a member of a zip file.

    Python's own would read the table of contents anew in each process.

    Args:
        path: str.
    """

    def __init__(self, path):
        super().__init__([path])

    def read(self, locator):
        """Returns the bytes of a member, checked against its CRC.

        Raises:
            BadImageError: it is damaged, or larger than it says.
        """
        _, stored, size, _, crc = locator
        _check_size(max(stored, size))
        content = self._unpacked(locator, stored, size + 1)
        if len(content) != size:
            raise BadImageError("it has another size than the zip file says")
        if zlib.crc32(content) != crc:
            raise BadImageError("its CRC is not that of the zip file")
        return content

    def start(self, locator, size):
        """Returns the first bytes of a member, as many as there are.

        Raises:
            BadImageError: it is damaged.
        """
        stored = locator[1]
        return self._unpacked(locator, min(stored, _START_STORED), size)

    def _unpacked(self, locator, stored, most):
        """Returns at most so many bytes of what some stored bytes become."""
        offset, _, _, method, _ = locator
        header = self._read_at(0, offset, 30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise BadImageError("the zip file has no member where it says")
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(
            header[28:30], "little"
        )
        content = self._read_at(0, offset + 30 + names, stored)
        if method == 0:
            return content
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            return inflate.decompress(content, most)
        except zlib.error as error:
            raise BadImageError(f"it is damaged ({error})") from error


def unreadable(path, error):
    """Returns the error of a file that an `OSError` keeps from us.

    That is a `BadImageError` only where it will be the same tomorrow. A disk
    or a network that fails for now must not make another dataset.
    """
    if error.errno in _LASTING:
        return BadImageError(f"it cannot be read ({error.strerror})")
    return DataError(
        f"{shown(path)} cannot be read ({error.strerror}); see that it is "
        "still there, and run the same command again."
    )


def _content_of(opened):
    """Returns the bytes of an open file, in most cases by one call."""
    size = os.fstat(opened).st_size
    _check_size(size)
    try:
        # One byte more than there should be says that there are no more.
        content = os.read(opened, size + 1)
        if len(content) != size:
            while piece := os.read(opened, _PIECE):
                content += piece
                _check_size(len(content))
    except BlockingIOError:
        # A FIFO in which nothing is.
        return b""
    return content


def _check_size(size):
    if size > MAX_FILE_BYTES:
        raise BadImageError(
            f"it has {size:,} bytes, and {MAX_FILE_BYTES:,} are the most"
        )


def is_named_like_image(name):
    """Whether the end of a file's name is that of a picture."""
    start, dot, ending = name.rpartition(".")
    if f"{dot}{ending.lower()}" not in EXTENSIONS:
        return False
    # A name that begins with its only dot has no ending.
    return bool(start.rpartition("/")[2].strip("."))


def digest_of(parts):
    """Returns the SHA-256 of an iterable of JSON-like parts, hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part!r}\n".encode())
    return digest.hexdigest()


def stamp_of(*paths):
    """Returns what changes when one of some files is written to."""
    found = ((os.path.realpath(path), os.stat(path)) for path in paths)
    return digest_of(
        (path, info.st_size, info.st_mtime_ns) for path, info in found
    )


def unpacked_path(work, path, name):
    """Returns where to unpack a part of a file to.

    What was unpacked of another file, or of an earlier state of it, has
    another path.

    Args:
        work: `pathlib.Path` of a folder.
        path: path of the file that is compressed.
        name: str, what the part is called.
    """
    return work / f"unpacked-{stamp_of(path)[:16]}-{name}"


def splits_of(names):
    """Returns the indices in `SPLITS` of names of splits."""
    return np.array([SPLITS.index(name) for name in names], np.int8)
