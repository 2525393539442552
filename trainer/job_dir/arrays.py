"""The arrays in the bytes of a state file, which anyone may have written."""

import io
import math
import zipfile

import numpy as np


class NoArraysError(Exception):
    """No checkpoint was written like that; the message says what it holds."""


def parse(content):
    """Returns the arrays that `np.savez` wrote, by name, all of them finite.

    Nothing is allocated that the file only claims to hold, and nothing in it
    is executed.

    Args:
        content: bytes.

    Raises:
        NoArraysError: they are something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as state:
            names, members = state.namelist(), state.infolist()
            if (
                any(m.compress_type != zipfile.ZIP_STORED for m in members)
                # Members may lie upon each other.
                or sum(m.file_size for m in members) > len(content)
                or len(set(names)) < len(names)
            ):
                raise ValueError("it is not as NumPy writes it")
            arrays = {
                name.removesuffix(".npy"): _array(state.read(name))
                for name in names
            }
    except MemoryError:
        raise
    # The readers of ZIP files and of arrays raise anything for nonsense.
    except Exception as error:
        raise NoArraysError(f"no arrays: {error}") from error
    for name, array in arrays.items():
        if not np.all(np.isfinite(array)):
            raise NoArraysError(f"NaN or infinity in {name}")
    return arrays


def _array(content):
    """Returns the array of numbers in the bytes of a NumPy file."""
    stream = io.BytesIO(content)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, _, dtype = read_header(stream)
    expected = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "biuf" or len(content) - stream.tell() != expected:
        raise ValueError(f"{dtype}{list(shape)} was not expected")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)
