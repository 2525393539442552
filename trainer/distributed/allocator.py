"""Keeps the memory that TensorFlow frees, for the next step."""

import ctypes

# Of glibc's <malloc.h>: free memory that a heap keeps at its end.
_TOP_PAD, _KEPT_BYTES = -2, 64 << 20


def keep_freed_memory():
    """Tells glibc's malloc to keep what is freed; elsewhere does nothing.

    A step on a CPU allocates and frees tensors of some megabytes. By default
    a part of that goes back to the kernel each time, which has to clear the
    pages when they are asked for again: a tenth of the time of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TOP_PAD, _KEPT_BYTES)
