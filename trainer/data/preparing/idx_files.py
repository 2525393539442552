"""Folders of IDX files, as MNIST and those like it are published."""

import os
import re

import numpy as np

from trainer.data.names import shown
from trainer.data.preparing import spool
from trainer.data.preparing.arrays import ArrayFile, list_arrays
from trainer.errors import DataError

_IDX = re.compile(
    r"(?P<prefix>.*-)?(?P<split>train|t10k|test)-(?P<kind>images|labels)"
    r"[-.]idx[13]-ubyte(\.gz)?"
)


def is_idx_folder(folder):
    """Whether a folder holds the images of an IDX data set."""
    return any(
        match["kind"] == "images" for match in _idx_names(folder).values()
    )


def _idx_names(folder):
    matches = {
        name: _IDX.fullmatch(name) for name in sorted(os.listdir(folder))
    }
    return {name: match for name, match in matches.items() if match}


def list_idx(folder, work, stop):
    """Returns the `Listing` of a folder of IDX files, raw or gzipped.

    Args:
        folder: `pathlib.Path`.
        work: `pathlib.Path` of a folder for what is unpacked.
        stop: a `StopSignal`.

    Raises:
        DataError: a file is damaged, or it is not clear which to take.
    """
    found = {}
    for name, match in _idx_names(folder).items():
        split = "train" if match["split"] == "train" else "test"
        key = (split, match["kind"])
        # The raw file stands before the same with .gz.
        if key in found and f"{found[key].name}.gz" != name:
            raise DataError(
                f"{folder} holds {found[key].name} and {name}; keep one of "
                "them."
            )
        found.setdefault(key, folder / name)

    def opened(key):
        if key not in found:
            return None
        path = found[key]
        name = shown(path)
        if path.name.endswith(".gz"):
            path = spool.unpack(path, work, stop)
        return idx_file(path, name, 3 if key[1] == "images" else 1)

    parts = [
        (split, opened((split, "images")), opened((split, "labels")))
        for split in ("train", "test")
        if (split, "images") in found
    ]
    if len(parts) == 1:
        parts = [("", *parts[0][1:])]
    return list_arrays("IDX", folder.name, parts, *found.values())


def idx_file(path, name, dimensions):
    """Returns the `ArrayFile` of an IDX file of unsigned bytes.

    Raises:
        DataError: it is none of that many dimensions.
    """
    with path.open("rb") as file:
        header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes([0, 0, 8, dimensions]) or len(header) < (
        4 + 4 * dimensions
    ):
        raise DataError(
            f"{name} is no IDX file of {dimensions} dimensions (it starts "
            f"with {header[:4].hex(' ') or 'nothing'}); fetch it again."
        )
    shape = tuple(
        int.from_bytes(header[at : at + 4], "big")
        for at in range(4, len(header), 4)
    )
    return ArrayFile(path, len(header), shape, np.dtype(np.uint8), name)
