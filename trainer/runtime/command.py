"""What all commands share: from the command line to the exit code."""

import contextlib
import errno
import os
import pathlib
import re
import sys
import tempfile
import traceback

from trainer.errors import (
    InterruptedJobError,
    PeerInterruptedError,
    TrainerError,
)
from trainer.runtime import streams
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal

_CHATTER = re.compile(
    "^WARNING: All log messages before absl::InitializeLog|oneDNN custom "
    "operations are on|Could not find cuda drivers|Unable to register cu"
)


def run_command(parse, body, *, load=None, make_console=None):
    """Runs a command; its arguments are those of this process.

    SIGTERM, SIGINT and SIGHUP are asked about with the `StopSignal` that
    `body` gets. When this function returns they have no effect any more: the
    exit code is decided. The end of stdout or stderr is not that of the work.

    Args:
        parse: function of a list of str, the command line after the program.
            Returns what the command works from, checked; or None when the
            command line asked for the help or the like, which it printed.
        body: function of what `parse` returned, a `StopSignal` and a
            `Console`; does the work.
        load: function without arguments that imports TensorFlow, and with it
            what `body` needs; None for a command that does not need it.
        make_console: function of what `parse` returned, for the `Console`;
            None for `Console()`.

    Returns:
        The exit code: 0 done, 2 wrong flags, 75 interrupted or something out
        of reach for now (run it again), 1 failed.
    """
    stop = StopSignal()
    with report_errors() as outcome:
        streams.protect(
            lambda reason: outcome.console.warning(
                f"Nothing more can be written to stdout ({reason}): its lines "
                "end here, and the work goes on."
            )
        )
        stop.install()
        parsed = parse(sys.argv[1:])
        if parsed is not None:
            if make_console is not None:
                outcome.console = make_console(parsed)
            if load is not None:
                with quiet_tensorflow():
                    load()
            stop.check()
            body(parsed, stop, outcome.console)
    stop.retire()
    return outcome.exit_code


class _Outcome:
    def __init__(self):
        self.exit_code = 0
        self.console = Console()


@contextlib.contextmanager
def report_errors():
    """Turns an expected error into one sentence and an exit code.

    An interruption loses nothing, and is told as no error.

    Yields:
        An object whose `exit_code` holds the code after the block, and whose
        `console` says what went wrong. Errors that are nobody's fault but
        the program's keep their traceback.
    """
    outcome = _Outcome()
    try:
        yield outcome
    except (InterruptedJobError, PeerInterruptedError) as error:
        outcome.console.notice(str(error))
        outcome.exit_code = error.exit_code
    except TrainerError as error:
        outcome.console.error(str(error))
        outcome.exit_code = error.exit_code
    except OSError as error:
        outcome.exit_code = 1
        if error.errno in _OS_ERRORS:
            place = f" ({error.filename})" if error.filename else ""
            outcome.console.error(f"{_OS_ERRORS[error.errno]}{place}.")
        else:
            _report_defect(outcome.console)
    except Exception:
        outcome.exit_code = 1
        _report_defect(outcome.console)


def _report_defect(console):
    """Prints the traceback; as one entry where the lines are JSON."""
    if console.is_json:
        console.error(traceback.format_exc())
    else:
        traceback.print_exc()


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
    with _temporary_file() as captured:
        stderr = os.dup(2)
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
