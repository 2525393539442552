"""Unpacks a compressed file, as it is being read, to a file of its own."""

import bz2
import gzip
import lzma
import os
import zlib

from trainer.data.names import shown
from trainer.data.preparing import listing
from trainer.errors import DataError

_CHUNK = 1 << 20
# What pictures are compressed by is far less. An honest small file may be all
# zeros.
_MAX_RATIO, _FREE_BYTES = 200, 64 << 20
_XZ_MEMORY = 1 << 30
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
}


def compression(start):
    """Returns the name of the compression by the first bytes, or ""."""
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return name
    return ""


def unpack(path, work, stop):
    """Returns the path of the unpacked content of a compressed file.

    It is whole or not there. What was unpacked before is used again.

    Args:
        path: `pathlib.Path` of a file of gzip, bzip2 or xz.
        work: `pathlib.Path` of a folder that is nobody else's.
        stop: a `StopSignal`.

    Raises:
        DataError: the file is damaged, or becomes too large.
    """
    target = listing.unpacked_path(work, path, "content")
    if target.exists():
        return target
    most = max(_FREE_BYTES, _MAX_RATIO * path.stat().st_size)
    written = 0
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            for piece in _pieces(path):
                stop.check()
                written += len(piece)
                if written > most:
                    raise DataError(
                        f"{path} becomes more than {_MAX_RATIO} times as large "
                        "when it is unpacked, which no images do; unpack it "
                        "yourself if you trust it."
                    )
                file.write(piece)
    except (
        EOFError,
        zlib.error,
        gzip.BadGzipFile,
        lzma.LZMAError,
        ValueError,
    ) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # bz2 says no more than this of what is damaged.
        if error.errno is None:
            raise _damaged(path, error) from error
        raise
    os.replace(unfinished, target)
    return target


def _pieces(path):
    with path.open("rb") as file:
        kind = compression(file.read(6))
        file.seek(0)
        if kind == "xz":
            yield from _pieces_of_xz(file)
            return
        opened = gzip.open(file) if kind == "gzip" else bz2.open(file)
        with opened:
            while piece := opened.read(_CHUNK):
                yield piece


def _pieces_of_xz(file):
    """As `lzma.open`, which takes as much memory as the file asks for."""
    rest = file.read(_CHUNK)
    while rest:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
        while not unpacker.eof:
            if unpacker.needs_input and not rest:
                rest = file.read(_CHUNK)
                if not rest:
                    raise EOFError("it is cut")
            piece = unpacker.decompress(rest, _CHUNK)
            rest = b""
            yield piece
        # Another stream, or padding of four zero bytes, may follow.
        rest = (unpacker.unused_data or file.read(_CHUNK)).lstrip(b"\0")


def _damaged(path, error):
    return DataError(f"{path} is damaged ({shown(error)}); fetch it again.")
