"""What TensorFlow says on stderr while it starts, and how it is kept off it."""

import contextlib
import os
import pathlib
import re
import sys
import tempfile
import threading

from trainer.errors import TrainerError
from trainer.runtime import gpu_environment

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ALL, _ERRORS, _NOTHING = "0", "2", "3"
_CHATTER = (
    "^WARNING: All log messages before absl::InitializeLog|oneDNN custom "
    "operations are on|Could not find cuda drivers|Unable to register cu"
)
# An error, to TensorFlow, on each machine without a GPU.
_NO_GPU = "failed call to cuInit"
_IMPORTING = threading.Lock()


@contextlib.contextmanager
def quiet_tensorflow():
    """Keeps TensorFlow's start-up chatter off stderr while it is imported.

    Its C++ code logs before any level can be set, so the descriptor itself
    is set aside; lines that are not known chatter are printed afterwards.
    """
    # Level 3 also hides errors, but on a machine without an NVIDIA driver the
    # only one at start-up is that there is none.
    has_driver = pathlib.Path("/proc/driver/nvidia/version").exists()
    os.environ.setdefault(_LEVEL, _ERRORS if has_driver else _NOTHING)
    with _temporary_file() as captured, _set_aside(captured, _CHATTER):
        yield


def import_tensorflow():
    """Imports TensorFlow without its chatter in a process that is not ours.

    Nothing is done where the process has imported it before. What the user
    says in TF_CPP_MIN_LOG_LEVEL holds, and with 0 the chatter is shown as
    well; if nothing is said, errors are shown, and the variable is not set
    afterwards.
    """
    with _IMPORTING:
        if "tensorflow" in sys.modules:
            return
        shows_all = os.environ.get(_LEVEL) == _ALL
        with contextlib.nullcontext() if shows_all else _quiet_import():
            import tensorflow as tf

            # It looks for a GPU when it is first asked for one.
            tf.config.list_physical_devices()


@contextlib.contextmanager
def _quiet_import():
    is_set = _LEVEL in os.environ
    os.environ.setdefault(_LEVEL, _ERRORS)
    chatter = _CHATTER
    if not gpu_environment.has_gpu():
        chatter += f"|{_NO_GPU}"
    try:
        with contextlib.ExitStack() as stack:
            # A process without a stderr, or without a place for files, has
            # not asked for silence.
            if sys.stderr is not None:
                with contextlib.suppress(OSError):
                    captured = stack.enter_context(tempfile.TemporaryFile())
                    stack.enter_context(_set_aside(captured, chatter))
            yield
    finally:
        # TensorFlow reads it once; what this process starts is not ours.
        if not is_set:
            os.environ.pop(_LEVEL, None)


@contextlib.contextmanager
def _set_aside(captured, chatter):
    """Prints of what the block writes to stderr what is no chatter.

    Args:
        captured: a binary file, which it is written to in the meantime.
        chatter: str, a pattern of the lines that are left out.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(captured.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        captured.seek(0)
        for line in captured.read().decode(errors="replace").splitlines():
            if not re.search(chatter, line):
                print(line, file=sys.stderr)


def _temporary_file():
    try:
        return tempfile.TemporaryFile()
    except FileNotFoundError as error:
        # Every command comes here first, and a container with a read-only
        # root has no such folder unless it is given one.
        raise TrainerError(
            "There is no folder for temporary files: neither TMPDIR, /tmp nor "
            "/var/tmp can be written to; mount one (docker run --tmpfs /tmp), "
            "or name one in TMPDIR."
        ) from error
