"""`dataset.json`: what a dataset on disk promises of itself.

Nothing of it is believed: what it says has to fit together, the names of the
files follow from the counts, and sizes and checksums are compared with what
is there.
"""

import dataclasses
import hashlib
import io
import json
import math

import numpy as np

from trainer.data.names import shown
from trainer.errors import DataError

NAME = "dataset.json"
# Holds what a preparation has made so far, until `dataset.json` is there.
UNFINISHED = "preparing"
SPLITS = ("train", "validation", "test")
FORMAT = 1
MAX_SIDE = 4096
MAX_RECORDS = 1 << 32
MAX_CLASSES = 100_000
# What 16,000 shards of a terabyte need is 3 MB.
MAX_BYTES = 32 << 20
MAX_SHARDS = 99_999
LABEL, CRC = np.dtype("<i4"), np.dtype("<u4")
_KEYS = {"format", "image_shape", "class_names", "splits", "files", "made"}


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a dataset.

    Attributes:
        count: int, how many images it has.
        records_per_shard: int; the last shard has what is left.
        by_class: tuple of int, how many of each class; empty without classes.
    """

    count: int
    records_per_shard: int
    by_class: tuple

    @property
    def shards(self):
        """How many files the images are in."""
        return -(-self.count // self.records_per_shard)

    def records_in(self, shard):
        """Returns how many images a shard has."""
        first = shard * self.records_per_shard
        return min(self.records_per_shard, self.count - first)


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """What a file has to be.

    Attributes:
        bytes: int, its size.
        sha256: str, of its content, hexadecimal.
    """

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`.

    Attributes:
        image_shape: tuple of int, (height, width, channels).
        class_names: tuple of str, by label; empty without classes.
        splits: dict of `Split` by name, in the order of `SPLITS`.
        files: dict of `FileInfo` by name, which is a path in the dataset.
        made: dict of JSON values: how the dataset was made.
    """

    image_shape: tuple
    class_names: tuple
    splits: dict
    files: dict
    made: dict

    @property
    def record_bytes(self):
        """The bytes of one image."""
        return math.prod(self.image_shape)

    @property
    def total_bytes(self):
        """The bytes of all files, but for `dataset.json`."""
        return sum(info.bytes for info in self.files.values())

    def encode(self):
        """Returns the bytes of `dataset.json`; equal datasets, equal bytes."""
        value = {"format": FORMAT, **dataclasses.asdict(self)}
        return (json.dumps(value, indent=1) + "\n").encode()


def digest(content):
    """Returns the SHA-256 of the bytes of `dataset.json`, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def shard_name(split, shard, shards):
    """Returns the name of a file of images."""
    return f"{split}/images-{shard:05d}-of-{shards:05d}.npy"


def labels_name(split):
    """Returns the name of the file with the labels of a split."""
    return f"{split}/labels.npy"


def crc32c_name(split):
    """Returns the name of the file with the checksums of a split."""
    return f"{split}/crc32c.npy"


def arrays(image_shape, class_names, splits):
    """Returns (shape, dtype) of the array in each file, by name.

    Args:
        image_shape: as `Manifest.image_shape`.
        class_names: as `Manifest.class_names`.
        splits: as `Manifest.splits`.
    """
    found = {}
    for name, split in splits.items():
        for shard in range(split.shards):
            shape = (split.records_in(shard), *image_shape)
            found[shard_name(name, shard, split.shards)] = (
                shape,
                np.dtype(np.uint8),
            )
        if class_names:
            found[labels_name(name)] = ((split.count,), LABEL)
        found[crc32c_name(name)] = ((split.count,), CRC)
    return found


def npy_header(shape, dtype):
    """Returns the bytes that an .npy file has before its values."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content,
        {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)},
    )
    return content.getvalue()


def decode(content, place):
    """Returns the `Manifest` in the bytes of a `dataset.json`, checked.

    Args:
        content: bytes.
        place: what to call the file in errors.

    Raises:
        DataError: it is not what it should be.
    """
    try:
        return _decode(content)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place} is not what vae-data writes ({shown(error)}); fetch or "
            "prepare the dataset again."
        ) from error


def _decode(content):
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    value = _dict(json.loads(content), "it")
    if value.get("format") != FORMAT or value["format"] is True:
        raise ValueError(
            f"its format is {value.get('format')!r}, and this version knows "
            f"{FORMAT}"
        )
    if value.keys() != _KEYS:
        raise ValueError(f"it has other parts than {', '.join(sorted(_KEYS))}")
    shape = _list(value["image_shape"], "image_shape")
    if len(shape) != 3:
        raise ValueError("image_shape has not three numbers")
    height, width = (
        _integer(side, "a side", 1, MAX_SIDE) for side in shape[:2]
    )
    if shape[2] not in (1, 3) or shape[2] is True:
        raise ValueError("the channels are neither 1 nor 3")
    shape = (height, width, shape[2])
    names = _list(value["class_names"], "class_names")
    if len(names) > MAX_CLASSES or not all(
        isinstance(name, str) and name.isprintable() for name in names
    ):
        raise ValueError("class_names are no names")
    splits = _splits(_dict(value["splits"], "splits"), len(names))
    files = _files(_dict(value["files"], "files"), arrays(shape, names, splits))
    made = _dict(value["made"], "made")
    return Manifest(shape, tuple(names), splits, files, made)


def _splits(value, classes):
    if "train" not in value or not value.keys() <= set(SPLITS):
        raise ValueError(f"splits are not train and others of {SPLITS}")
    found, total = {}, 0
    for name in SPLITS:
        if name not in value:
            continue
        split = _dict(value[name], name)
        if split.keys() != {"count", "records_per_shard", "by_class"}:
            raise ValueError(f"{name} has other parts than it should")
        count = _integer(split["count"], f"count of {name}", 1, MAX_RECORDS)
        per_shard = _integer(
            split["records_per_shard"], "records_per_shard", 1, MAX_RECORDS
        )
        by_class = tuple(
            _integer(number, "by_class", 0, count)
            for number in _list(split["by_class"], "by_class")
        )
        if len(by_class) != classes or (classes and sum(by_class) != count):
            raise ValueError(f"by_class of {name} does not add up")
        found[name] = Split(count, per_shard, by_class)
        total += found[name].shards
    # Before any of their names is made.
    if total > MAX_SHARDS:
        raise ValueError(f"it has more than {MAX_SHARDS:,} shards")
    return found


def _files(value, expected):
    if value.keys() != expected.keys():
        raise ValueError("files are not those that the counts ask for")
    found = {}
    for name, (shape, dtype) in expected.items():
        info = _dict(value[name], "a file")
        if info.keys() != {"bytes", "sha256"}:
            raise ValueError("a file has other parts than bytes and sha256")
        size = len(npy_header(shape, dtype)) + math.prod(shape) * dtype.itemsize
        if type(info["bytes"]) is not int or info["bytes"] != size:
            raise ValueError(f"{name} has not the {size:,} bytes of its array")
        sha256 = info["sha256"]
        if (
            not isinstance(sha256, str)
            or len(sha256) != 64
            or not set(sha256) <= set("0123456789abcdef")
        ):
            raise ValueError(f"the sha256 of {name} is none")
        found[name] = FileInfo(size, sha256)
    return found


def _dict(value, what):
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no JSON object")
    return value


def _list(value, what):
    if not isinstance(value, list):
        raise ValueError(f"{what} is no list")
    return value


def _integer(value, what, least, most):
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} is not within {least} and {most:,}")
    return value
