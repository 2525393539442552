"""Reads all of a dataset, and says what is damaged."""

import hashlib

import google_crc32c
import numpy as np

from trainer.data import manifest
from trainer.data.stored_files import UnreadableFileError, read_array
from trainer.errors import DataError

_RECORDS_SHOWN = 10


def verify(source, promised, console, stop):
    """Compares all files with the SHA-256 in `dataset.json`.

    Args:
        source: `FolderFiles` or `BucketFiles`.
        promised: a `Manifest`.
        console: a `Console`, for the progress.
        stop: a `StopSignal`.

    Returns:
        List of str, a sentence for each file that is damaged.
    """
    found = []
    title = f"Verifying {source.place}"
    with console.byte_bar(title, promised.total_bytes) as advance:
        for name, info in promised.files.items():
            digest = hashlib.sha256()
            try:
                for piece in source.pieces(name, info.bytes):
                    stop.check()
                    digest.update(piece)
                    advance(len(piece))
                if digest.hexdigest() != info.sha256:
                    details = _details(source, promised, name, stop)
                    found.append(f"{name}: its SHA-256 is another{details}.")
            except UnreadableFileError as error:
                found.append(f"{name}: {error}.")
    return found


def _details(source, promised, name, stop):
    """Returns which records of a file of images are damaged, for a sentence."""
    if "/images-" not in name:
        return ""
    split_name, _, rest = name.partition("/images-")
    split, shard = promised.splits[split_name], int(rest[:5])
    try:
        expected = read_array(
            source, promised, manifest.crc32c_name(split_name)
        )
    except DataError:
        # That file has a sentence of its own.
        return ""
    count = split.records_in(shard)
    header = manifest.npy_header(
        (count, *promised.image_shape), np.dtype(np.uint8)
    )
    first = shard * split.records_per_shard
    bad, record = [], 0
    pieces = source.pieces(name, promised.files[name].bytes)
    rows = _cut(pieces, len(header), promised.record_bytes)
    if next(rows) != header:
        return ", and its header too"
    for record, row in enumerate(rows, 1):
        stop.check()
        if google_crc32c.value(row) != expected[first + record - 1]:
            bad.append(record - 1)
    if record < count:
        return f", and it is cut at record {record}"
    if not bad:
        return ", but each of its records is whole"
    shown = ", ".join(map(str, bad[:_RECORDS_SHOWN]))
    more = len(bad) - _RECORDS_SHOWN
    return f" (records {shown}{f' and {more:,} more' if more > 0 else ''})"


def _cut(pieces, first, size):
    """Yields the first bytes of a file, then records of a size, all whole."""
    buffer, wanted = bytearray(), first
    for piece in pieces:
        buffer += piece
        at = 0
        while len(buffer) - at >= wanted:
            yield bytes(buffer[at : at + wanted])
            at, wanted = at + wanted, size
        del buffer[:at]
    if wanted == first:
        yield b""
