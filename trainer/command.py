"""What all commands share: errors as sentences, and a quiet TensorFlow."""

import contextlib
import errno
import os
import pathlib
import re
import sys
import tempfile

from trainer.errors import TrainerError

_CHATTER = re.compile(
    "^WARNING: All log messages before absl::InitializeLog|oneDNN custom "
    "operations are on|Could not find cuda drivers|Unable to register cu"
)


class _Outcome:
    exit_code = 0


@contextlib.contextmanager
def report_errors():
    """Turns an expected error into one sentence and an exit code.

    Yields:
        An object whose `exit_code` holds the code after the block. Errors
        that are nobody's fault but the program's keep their traceback.
    """
    outcome = _Outcome()
    try:
        yield outcome
    except TrainerError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        outcome.exit_code = error.exit_code
    except OSError as error:
        if error.errno not in _OS_ERRORS:
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(f"ERROR: {_OS_ERRORS[error.errno]}{place}.", file=sys.stderr)
        outcome.exit_code = 1


_OS_ERRORS = {
    errno.ENOSPC: "The disk is full; what was saved before is kept. Free some "
    "space and run the same command again",
    errno.EDQUOT: "The disk quota is used up; what was saved before is kept. "
    "Free some space and run the same command again",
    errno.EACCES: "Permission denied; give a folder that you may use",
    errno.EPERM: "Not permitted; give a folder that you may use",
    errno.EROFS: "The file system is read-only; give another --job_dir",
    errno.EIO: "The disk reports an input/output error; what was saved before "
    "is kept. Check the disk and run the same command again",
}


@contextlib.contextmanager
def quiet_tensorflow():
    """Keeps TensorFlow's start-up chatter off stderr while it is imported.

    Its C++ code logs before any level can be set, so the descriptor itself
    is set aside; lines that are not known chatter are printed afterwards.
    """
    # Level 3 also hides errors, but on a machine without an NVIDIA driver the
    # only one at start-up is that there is none.
    has_driver = pathlib.Path("/proc/driver/nvidia/version").exists()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_driver else "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            for line in captured.read().decode(errors="replace").splitlines():
                if not _CHATTER.search(line):
                    print(line, file=sys.stderr)
