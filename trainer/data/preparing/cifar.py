"""CIFAR-10 and CIFAR-100 as they are published, in both of their forms.

https://www.cs.toronto.edu/~kriz/cifar.html. One of them holds pickles, which
are taken apart here without executing any: only the strings and numbers are
looked at.
"""

import os
import pickletools

import numpy as np

from trainer.data.names import shown
from trainer.data.preparing import archives, arrays, numpy_files
from trainer.data.preparing.listing import RangeReader
from trainer.errors import DataError

_PIXELS = 3 * 32 * 32
# Files of each form: of training, of test, and of the names of the classes.
_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
_FORMS = {
    "CIFAR-10 (python)": (_BATCHES, ["test_batch"], "batches.meta"),
    "CIFAR-10 (binary)": (
        [f"{name}.bin" for name in _BATCHES],
        ["test_batch.bin"],
        "batches.meta.txt",
    ),
    "CIFAR-100 (python)": (["train"], ["test"], "meta"),
    "CIFAR-100 (binary)": (
        ["train.bin"],
        ["test.bin"],
        "fine_label_names.txt",
    ),
}
_MAX_FILE_BYTES = 256 << 20
_MAX_OPCODES = 2_000_000
_LIST_OPCODES = {
    "EMPTY_LIST", "MARK", "APPEND", "APPENDS", "PUT", "BINPUT", "LONG_BINPUT",
    "MEMOIZE", "BININT", "BININT1", "BININT2", "INT",
}  # fmt: skip
_FLAGS = {"NEWTRUE": True, "NEWFALSE": False}
_KEEPS_ON_STACK = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}


def files_in_folder(folder):
    """Returns where the files of a folder are, by name, as `find_form` takes.

    Args:
        folder: `pathlib.Path`.
    """
    names = {
        name
        for train, test, meta in _FORMS.values()
        for name in (*train, *test, meta)
    }
    paths = [folder / name for name in sorted(names)]
    return {
        path.name: (str(path), 0, path.stat().st_size)
        for path in paths
        if path.is_file()
    }


def files_in_tar(path):
    """Returns where the files of a tar file are, by name; as above.

    Only of a tar file with few members, as these are; else none.
    """
    found = {}
    for number, member in enumerate(archives.tar_members(path)):
        if number > 20:
            return {}
        if member.isreg() and not member.issparse():
            name = member.name.rpartition("/")[2]
            found[name] = (str(path), member.offset_data, member.size)
    return found


def find_form(files):
    """Returns which of the forms some files are, or None."""
    for form, (train, test, names) in _FORMS.items():
        if {*train, *test, names} <= files.keys():
            return form
    return None


def list_cifar(form, files, name, source, work, stop):
    """Returns the `Listing` of the files of one of the forms.

    Args:
        form: str, as `find_form` returns it.
        files: dict of (path, offset, size) by name.
        name: str, what the source is called.
        source: list of the paths of the files that the user has.
        work: `pathlib.Path` of a folder for the pixels.
        stop: a `StopSignal`.

    Raises:
        DataError: a file is not what it should be.
    """
    train, test, names_file = _FORMS[form]
    binary = form.endswith("(binary)")
    names = _names(_read(files, names_file), binary)
    parts = []
    for split, members in (("train", train), ("test", test)):
        images, labels = [], []
        for member in members:
            stop.check()
            content = _read(files, member)
            batch = (
                _of_binary(content, "100" in form)
                if binary
                else _of_pickle(content)
            )
            if batch is None:
                raise DataError(
                    f"{shown(name)}: {member} is not as {form} is published; "
                    "fetch it again."
                )
            images.append(batch[0])
            labels.append(batch[1])
        parts.append((split, np.concatenate(images), np.concatenate(labels)))
    listed = [
        (
            split,
            _saved(work / f"{split}-images.npy", images),
            _saved(work / f"{split}-labels.npy", labels),
        )
        for split, images, labels in parts
    ]
    return arrays.list_arrays(form, name, listed, *source, class_names=names)


def _read(files, name):
    path, offset, size = files[name]
    if size > _MAX_FILE_BYTES:
        raise DataError(f"{name} has {size:,} bytes, more than CIFAR's files.")
    return RangeReader([path]).read((0, offset, size))


def _saved(path, array):
    unfinished = path.with_name(f"{path.name}.unfinished.npy")
    np.save(unfinished, array, allow_pickle=False)
    os.replace(unfinished, path)
    return numpy_files.npy_file(path, path.stem)


def _of_binary(content, has_coarse):
    """Returns (images, labels) of records of labels and pixels, or None."""
    width = 1 + has_coarse + _PIXELS
    if not content or len(content) % width:
        return None
    records = np.frombuffer(content, np.uint8).reshape(-1, width)
    # Of CIFAR-100 the coarse label stands before the fine one.
    return records[:, -_PIXELS:].reshape(-1, 3, 32, 32), records[
        :, int(has_coarse)
    ]


def _of_pickle(content):
    """Returns (images, labels) of a pickled batch, or None."""
    data = fortran = flag = None
    for opcode, value in _opcodes(content):
        if opcode in _FLAGS or (opcode == "INT" and isinstance(value, bool)):
            flag = _FLAGS.get(opcode, value)
        elif isinstance(value, bytes | str) and len(value) >= _PIXELS:
            data = value if isinstance(value, bytes) else value.encode("latin1")
            # What NumPy says last before the bytes is their order.
            fortran = flag
    labels = _integers_after(content, ("labels", "fine_labels"))
    if (
        data is None
        or fortran is None
        or not labels
        or len(data) != len(labels) * _PIXELS
    ):
        return None
    pixels = np.frombuffer(data, np.uint8)
    if fortran:
        pixels = pixels.reshape(_PIXELS, -1).T
    if max(labels) > 255 or min(labels) < 0:
        return None
    images = np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32)
    return images, np.array(labels, np.uint8)


def _integers_after(content, keys):
    """Returns the list of integers that a pickle has behind a string."""
    found = None
    for opcode, value in _opcodes(content):
        if _text(value) in keys:
            found = []
        elif found is not None and opcode not in _LIST_OPCODES:
            if found:
                return found
            return None
        elif (
            found is not None
            and type(value) is int
            and opcode not in _KEEPS_ON_STACK
        ):
            found.append(value)
    return found


def _names(content, binary):
    """Returns the names of the classes, of either form."""
    if binary:
        return content.decode("latin1").split()
    found, begun = [], False
    for opcode, value in _opcodes(content):
        text = _text(value)
        if text in ("label_names", "fine_label_names"):
            begun = True
        elif begun and opcode in ("APPENDS", "APPEND"):
            return found
        elif begun and text is not None:
            found.append(text)
    return found


def _text(value):
    """Returns a string of a pickle, of Python 2 or 3; None for another."""
    if isinstance(value, bytes):
        value = value.decode("latin1")
    return value if isinstance(value, str) else None


def _opcodes(content):
    """Yields (name, argument) of a pickle's opcodes; executes none."""
    try:
        for number, (opcode, value, _) in enumerate(
            pickletools.genops(content)
        ):
            if number > _MAX_OPCODES:
                raise ValueError("it has too many parts")
            yield opcode.name, value
    except (ValueError, EOFError, OverflowError, UnicodeError) as error:
        raise DataError(
            f"A file of CIFAR is damaged ({shown(error)}); fetch it again."
        ) from error
