"""NumPy's .npy and .npz files of images; nothing in them is executed."""

import ast
import os
import zipfile
import zlib

import numpy as np

from trainer.data.manifest import MAX_RECORDS
from trainer.data.names import shown
from trainer.data.preparing import archives, listing
from trainer.data.preparing.arrays import ArrayFile, list_arrays
from trainer.errors import DataError

# What arrays of images and of labels are called, by split; "" for no split.
_IMAGES = {
    "train": ("x_train", "train_images", "images_train", "train_x"),
    "validation": ("x_val", "x_valid", "x_validation", "val_images",
                   "validation_images", "images_val"),
    "test": ("x_test", "test_images", "images_test", "test_x"),
    "": ("images", "x", "data", "arr_0"),
}  # fmt: skip
_LABELS = {
    "train": ("y_train", "train_labels", "labels_train", "train_y"),
    "validation": ("y_val", "y_valid", "y_validation", "val_labels",
                   "validation_labels", "labels_val"),
    "test": ("y_test", "test_labels", "labels_test", "test_y"),
    "": ("labels", "y", "arr_1"),
}  # fmt: skip
_MAX_HEADER = 10_000
_CHUNK = 1 << 20


def list_npy(path):
    """Returns the `Listing` of an .npy file of images.

    Raises:
        DataError: it is damaged, or holds no images.
    """
    images = npy_file(path, shown(path))
    return list_arrays("npy", path.name, [("", images, None)], path)


def list_npz(path, work, stop):
    """Returns the `Listing` of an .npz file of images, and maybe labels.

    Args:
        path: `pathlib.Path`.
        work: `pathlib.Path` of a folder for its arrays.
        stop: a `StopSignal`.

    Raises:
        DataError: it is damaged, or it is not clear what its arrays are.
    """
    members = {}
    for member in archives.zip_members(path):
        members[member.filename.removesuffix(".npy")] = member

    def named(names, what):
        found = [name for name in names if name in members]
        if len(found) > 1:
            raise DataError(
                f"{path} holds several arrays of {what} "
                f"({', '.join(found)}); keep one of them."
            )
        return found[0] if found else None

    parts = []
    for split in _IMAGES:
        images = named(_IMAGES[split], f"{split} images".strip())
        labels = named(_LABELS[split], f"{split} labels".strip())
        if images:
            parts.append((split, images, labels))
    if not parts or ("" in [part[0] for part in parts] and len(parts) > 1):
        raise DataError(
            f"{path} holds the arrays {shown(', '.join(members))}, of which "
            "it is not clear which are the images; call them x_train, "
            "y_train, x_test and y_test, or images and labels."
        )

    def unpacked(name):
        if name is None:
            return None
        target = listing.unpacked_path(work, path, name)
        _unpack_member(path, members[name], target, stop)
        return npy_file(target, f"{shown(path)}, array {name},")

    arrays = [
        (split, unpacked(images), unpacked(labels))
        for split, images, labels in parts
    ]
    return list_arrays("npz", path.name, arrays, path)


def _unpack_member(path, member, target, stop):
    """Writes an array of a zip file to a file, whole or not at all."""
    if target.exists():
        return
    most = max(64 << 20, 200 * member.compress_size)
    if member.file_size > most:
        raise DataError(
            f"{path} holds an array that becomes more than 200 times as large "
            "when it is unpacked; save it with np.savez instead."
        )
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(member) as source,
            unfinished.open("wb") as file,
        ):
            # It ends at the size that it promises, and checks its CRC.
            while piece := source.read(_CHUNK):
                stop.check()
                file.write(piece)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise DataError(
            f"{path} is damaged ({shown(error)}); fetch it again."
        ) from error
    os.replace(unfinished, target)


def npy_file(path, name):
    """Returns the `ArrayFile` of an .npy file; nothing in it is executed.

    Raises:
        DataError: it is no such file, or holds Python objects.
    """
    with path.open("rb") as file:
        start = file.read(12)
        major = start[6:7]
        if start[:6] != b"\x93NUMPY" or major not in (b"\1", b"\2", b"\3"):
            raise DataError(
                f"{name} is no .npy file (it starts with "
                f"{start[:6].hex(' ') or 'nothing'}); fetch it again."
            )
        width = 2 if major == b"\1" else 4
        size = int.from_bytes(start[8 : 8 + width], "little")
        file.seek(8 + width)
        text = file.read(min(size, _MAX_HEADER))
    try:
        header = ast.literal_eval(text.decode("latin1").strip())
        shape, order = header["shape"], header["fortran_order"]
        described = header["descr"]
        # As np.lib.format has it; a list would be a record of fields.
        dtype = np.dtype(described) if isinstance(described, str) else None
        good = isinstance(shape, tuple) and all(
            type(side) is int and 0 <= side <= MAX_RECORDS for side in shape
        )
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError,
            RecursionError) as error:  # fmt: skip
        raise DataError(
            f"{name} has a damaged header; fetch it again."
        ) from error
    if not good or dtype is None or order not in (True, False):
        raise DataError(f"{name} has a damaged header; fetch it again.")
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which are not read from a file; "
            "save an array of uint8."
        )
    if order and len(shape) > 1:
        raise DataError(
            f"{name} is in Fortran's order; save np.ascontiguousarray of it."
        )
    return ArrayFile(path, 8 + width + size, shape, dtype, name)
