"""Parquet files of images, as Hugging Face publishes them.

A column holds structs of `bytes` and `path`, another one the labels.
https://huggingface.co/docs/hub/datasets-image
"""

import json
import re

import numpy as np

from trainer.data.names import shown
from trainer.data.preparing import listing
from trainer.data.preparing.decoding import BadImageError
from trainer.data.preparing.listing import ANY_SPLIT, Listing
from trainer.errors import DataError

_SPLIT = re.compile(r"(train|training|validation|valid|val|dev|test)\b")
_SPLITS = {"training": "train", "valid": "validation", "val": "validation",
           "dev": "validation"}  # fmt: skip
_LABELS = ("label", "labels", "fine_label", "class")
_MAX_GROUP_BYTES = 2 << 30


def parquet_files(folder):
    """Returns the Parquet files of a folder, or of `data` in it, sorted."""
    return sorted(folder.glob("*.parquet")) or sorted(
        folder.glob("data/*.parquet")
    )


def list_parquet(paths, name, stop):
    """Returns the `Listing` of Parquet files, in their order.

    The start of a file's name says which split it is: `train-…`,
    `validation-…`, `test-…`.

    Args:
        paths: list of `pathlib.Path`.
        name: str, what the source is called.
        stop: a `StopSignal`.

    Raises:
        DataError: a file is damaged, or it is not clear what is in it.
    """
    pyarrow, parquet = _import()
    found = [_split(path) for path in paths]
    if any(found) and not all(found):
        unclear = paths[found.index(None)]
        raise DataError(
            f"{shown(unclear)} does not say by the start of its name which "
            "split it is, and others beside it do; rename or move it."
        )
    groups, labels, splits, class_names = [], [], [], ()
    image_column = None
    for number, (path, split) in enumerate(zip(paths, found, strict=True)):
        stop.check()
        try:
            with parquet.ParquetFile(path) as file:
                image, label = _columns(file.schema_arrow, path, pyarrow)
                if image_column not in (None, image):
                    raise DataError(
                        f"{shown(path)} has its images in the column "
                        f"{shown(image)}, others in {shown(image_column)}."
                    )
                image_column = image
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group)
                    if rows.total_byte_size > _MAX_GROUP_BYTES:
                        raise DataError(
                            f"{shown(path)} has a row group of "
                            f"{rows.total_byte_size:,} bytes; write it with "
                            f"less than {_MAX_GROUP_BYTES:,}."
                        )
                    groups.append((number, group, rows.num_rows))
                rows = file.metadata.num_rows
                index = listing.splits_of([split])[0] if split else ANY_SPLIT
                splits.append(np.full(rows, index, np.int8))
                labels.append(_labels(file, label, path))
                class_names = class_names or _class_names(file, label)
        # Of damaged text it says what Python says.
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            raise DataError(
                f"{shown(path)} is a damaged Parquet file ({shown(error)}); "
                "fetch it again."
            ) from error
    joined = None
    if all(each is not None for each in labels):
        joined = np.concatenate(labels)
        most = int(joined.max(initial=0))
        class_names += tuple(map(str, range(len(class_names), most + 1)))
    rows = _Rows(groups)
    return Listing(
        kind="Parquet",
        name=name,
        class_names=() if joined is None else class_names,
        labels=joined,
        splits=np.concatenate(splits),
        locators=rows,
        reader=ParquetReader([str(path) for path in paths], image_column),
        name_of=lambda index: "{} row group {} row {}".format(
            shown(paths[rows[index][0]].name), *rows[index][1:]
        ),
        digest=listing.digest_of(
            (path.name, path.stat().st_size) for path in paths
        ),
        stamp=listing.stamp_of(*paths),
    )


class ParquetReader:
    """Reads (file, row group, row): the bytes of an image.

    Args:
        paths: list of str.
        column: str, that of the images.
    """

    pixels = None

    def __init__(self, paths, column):
        self._paths, self._column = paths, column
        self._loaded = self._rows = None

    def read(self, locator):
        """Returns the bytes of an image.

        Raises:
            BadImageError: they are not in the file.
        """
        number, group, row = locator
        if self._loaded != (number, group):
            self._rows = self._load(number, group)
            self._loaded = number, group
        value = self._rows[row].as_py()
        if isinstance(value, dict):
            value = value.get("bytes")
        if value is None:
            raise BadImageError("its bytes are not in the file")
        if len(value) > listing.MAX_FILE_BYTES:
            raise BadImageError(f"it has {len(value):,} bytes")
        return value

    def _load(self, number, group):
        pyarrow, parquet = _import()
        try:
            with parquet.ParquetFile(self._paths[number]) as file:
                table = file.read_row_group(
                    group, columns=[self._column], use_threads=False
                )
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            # The number is that of the system, which Arrow itself has none of.
            if isinstance(error, OSError) and error.errno:
                raise listing.unreadable(self._paths[number], error) from error
            raise BadImageError(
                f"its row group is damaged ({shown(error)})"
            ) from error
        return table.column(self._column)


class _Rows:
    """Locators of the rows of all row groups."""

    def __init__(self, groups):
        self._groups = groups
        counts = [rows for _, _, rows in groups]
        self._firsts = np.cumsum([0, *counts])

    def __getitem__(self, wanted):
        if isinstance(wanted, slice):
            count = int(self._firsts[-1])
            return [self[at] for at in range(*wanted.indices(count))]
        at = int(np.searchsorted(self._firsts, wanted, side="right")) - 1
        number, group, _ = self._groups[at]
        return number, group, int(wanted - self._firsts[at])


def _import():
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise DataError(
            "Parquet files need pyarrow; install it with pip install "
            '"vae-trainer[parquet]".'
        ) from error
    return pyarrow, pyarrow.parquet


def _split(path):
    match = _SPLIT.match(path.name)
    return match and _SPLITS.get(match[1], match[1])


def _columns(schema, path, pyarrow):
    """Returns the names of the columns of images and of labels, or None."""
    types = pyarrow.types
    images = [
        field.name
        for field in schema
        if (
            types.is_struct(field.type)
            and field.type.get_field_index("bytes") >= 0
        )
        or types.is_binary(field.type)
        or types.is_large_binary(field.type)
    ]
    if len(images) != 1:
        raise DataError(
            f"{shown(path)} has {len(images)} columns that could be images "
            f"(of {shown(', '.join(schema.names))}); keep one of binary, or of "
            "a struct with bytes."
        )
    integers = [f.name for f in schema if types.is_integer(f.type)]
    for name in _LABELS:
        if name in integers:
            return images[0], name
    return images[0], integers[0] if len(integers) == 1 else None


def _labels(file, column, path):
    if column is None:
        return None
    values = file.read(columns=[column]).column(column)
    if values.null_count:
        raise DataError(
            f"{shown(path)} has rows without a {shown(column)}; fill or "
            "remove them."
        )
    numbers = values.to_numpy()
    if len(numbers) and not (
        numbers.min() >= 0 and numbers.max() < listing.MAX_CLASSES
    ):
        raise DataError(
            f"{shown(path)} has labels from {numbers.min()} to "
            f"{numbers.max()}; a class is a number from 0 to "
            f"{listing.MAX_CLASSES - 1:,}."
        )
    return numbers.astype(np.int32)


def _class_names(file, column):
    """Returns the names that Hugging Face keeps beside the schema."""
    metadata = file.schema_arrow.metadata or {}
    try:
        value = json.loads(metadata.get(b"huggingface", b"{}"))
        names = value["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        # They are an extra, in a form that nobody promises.
        return ()
    if not isinstance(names, list) or not all(
        isinstance(name, str) for name in names
    ):
        return ()
    return tuple(map(shown, names[: listing.MAX_CLASSES]))
