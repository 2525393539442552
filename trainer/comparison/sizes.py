"""How many numbers a model has, from the headers of its newest checkpoint."""

import math
import zipfile

import numpy as np

from trainer import stored
from trainer.job_dir import checkpoint

_OPTIMIZER = "optimizer/"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def parameters(job, steps):
    """Returns how many numbers the training moves; None if that is not there.

    Args:
        job: a `JobDir`.
        steps: list of int, those of its checkpoints. Copies of jobs in a
            bucket come without their states.

    Raises:
        OSError: it could not be looked at.
    """
    if not steps:
        return None
    path = job.checkpoint(steps[-1]) / checkpoint.STATE
    try:
        file = stored.open_file(path)
    except (FileNotFoundError, NotADirectoryError, stored.UnreadableError):
        return None
    with file:
        try:
            with zipfile.ZipFile(file) as state:
                return sum(
                    _size(state, member)
                    for member in state.infolist()
                    if not member.filename.startswith(_OPTIMIZER)
                )
        # The readers of ZIP files and of arrays raise anything for nonsense.
        except Exception:
            return None


def _size(state, member):
    # NumPy compresses none, and a header is short.
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is not as NumPy writes it")
    with state.open(member) as array:
        version = np.lib.format.read_magic(array)
        shape, _, _ = _HEADERS[version](array)
    return math.prod(shape)
