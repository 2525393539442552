"""What all commands share: from the command line to the exit code."""

import contextlib
import errno
import io
import os
import sys
import traceback

from trainer import __version__
from trainer.errors import (
    InterruptedJobError,
    PeerInterruptedError,
    TrainerError,
)
from trainer.runtime import streams
from trainer.runtime.chatter import quiet_tensorflow
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal

LOADING = "Loading TensorFlow, which takes some seconds."


def run_command(parse, body, *, load=None, make_console=None, is_job=False):
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
        is_job: as of `loading_tensorflow`.

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
                with loading_tensorflow(outcome.console, is_job):
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
        `console` says what went wrong. What a machine answers is a sentence
        too; errors that are nobody's fault but the program's keep their
        traceback, and say so.
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
    except Exception as error:
        outcome.exit_code = 1
        if sentence := sentence_of(error):
            outcome.console.error(sentence)
        else:
            _report_defect(outcome.console)


def sentence_of(error):
    """Returns what to say of an error of the machine; None for a defect.

    Args:
        error: an exception that is no `TrainerError`.
    """
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    if isinstance(error, UnicodeEncodeError):
        character = error.object[error.start]
        if "\ud800" <= character <= "\udfff":
            return (
                f"A name or a value has {character!a}, which is left of bytes "
                "that are no UTF-8; give it in UTF-8."
            )
        return (
            f"What is to be printed has {character!a}, which "
            f"the encoding of the output, {error.encoding}, does not have; set "
            "PYTHONIOENCODING=utf-8 and run the same command again."
        )
    # What the interface does not have is asked of it by this program alone.
    if isinstance(error, OSError) and not isinstance(
        error, io.UnsupportedOperation
    ):
        # Of a renaming, what it would become.
        name = error.filename2 or error.filename
        return _of_system(error.errno, name, str(error))
    # Only where it has been imported can it have raised anything.
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow and isinstance(error, tensorflow.errors.OpError):
        # It has errors of its own for what its files were answered.
        for code in _OS_ERRORS:
            if error.message.rstrip().endswith(os.strerror(code)):
                return _of_system(code, None, error.message)
        if isinstance(error, tensorflow.errors.ResourceExhaustedError):
            return _NO_MEMORY
    return None


def _of_system(code, filename, text):
    """Returns the sentence of an error number of the operating system."""
    place = f" ({filename})" if filename else ""
    if code in _OS_ERRORS:
        return f"{_OS_ERRORS[code]}{place}."
    name = errno.errorcode.get(code, "an error")
    said = os.strerror(code) if code in errno.errorcode else text
    return (
        f"The system answered {name}: {said}{place}; what was saved before is "
        "kept. Remove the cause, and run the same command again."
    )


def _report_defect(console):
    """Prints the traceback, and whose fault it is.

    As one entry where the lines are JSON.
    """
    sentence = (
        f"This is a defect of vae-trainer {__version__}, not of what you gave "
        "it; report it with the lines above and, if there is a job, its "
        "config.json. What was saved before is kept."
    )
    if console.is_json:
        console.error(f"{traceback.format_exc()}{sentence}")
    else:
        traceback.print_exc()
        console.error(sentence)


_NO_MEMORY = (
    "There is not enough memory; what was saved before is kept. Give the job "
    "more, or lower --batch_size or --latent_dim, in another --job_dir: a job "
    "keeps its own."
)
_KEPT = "what was saved before is kept"
_OTHER_FILE = "move it away, or give another folder, and run the command again"
_OS_ERRORS = {
    errno.ENOSPC: f"The disk is full; {_KEPT}. Free some space and run the "
    "same command again",
    errno.EDQUOT: f"The disk quota is used up; {_KEPT}. Free some space and "
    "run the same command again",
    errno.EFBIG: f"A file may not become that large; {_KEPT}. Raise the limit "
    "(ulimit -f, or that of the file system) and run the same command again",
    errno.EACCES: "Permission denied; give a folder that you may use",
    errno.EPERM: "Not permitted; give a folder that you may use",
    errno.EROFS: "The file system is read-only; give another --job_dir",
    errno.EIO: f"The disk reports an input/output error; {_KEPT}. Check the "
    "disk and run the same command again",
    errno.ENAMETOOLONG: "A name is longer than the file system takes; give a "
    "shorter one",
    errno.EISDIR: f"A folder is where a file should be; {_OTHER_FILE}",
    errno.ENOTDIR: f"A file is where a folder should be; {_OTHER_FILE}",
    errno.EEXIST: f"Something is where a folder should be made; {_OTHER_FILE}",
    errno.ELOOP: f"A link leads to itself; {_OTHER_FILE}",
    errno.ENXIO: f"A socket or a device is where a file should be; "
    f"{_OTHER_FILE}",
    errno.ENODEV: f"A device is where a file should be; {_OTHER_FILE}",
    errno.EMFILE: f"Too many files are open; {_KEPT}. Raise the limit (ulimit "
    "-n) and run the same command again",
    errno.ENFILE: f"Too many files are open on this machine; {_KEPT}. Run the "
    "same command again when there are fewer",
    errno.ENOMEM: f"The system has no memory left; {_KEPT}. Give the job more "
    "and run the same command again",
    errno.ESTALE: f"The server of this folder has forgotten a file; {_KEPT}. "
    "Mount it anew and run the same command again",
    errno.EBUSY: f"Another program keeps a file busy; {_KEPT}. Wait until it "
    "has ended and run the same command again",
    errno.ETXTBSY: f"A program that runs is where a file should be; "
    f"{_OTHER_FILE}",
}


@contextlib.contextmanager
def loading_tensorflow(console, is_job=False):
    """Says that TensorFlow is loaded, in the block, where somebody waits.

    Args:
        console: a `Console`.
        is_job: whether stderr is a log that is read; if not, it is said on a
            terminal only.

    Raises:
        TrainerError: TensorFlow, or another package, cannot be imported.
    """
    if "tensorflow" not in sys.modules and (is_job or sys.stderr.isatty()):
        console.notice(LOADING)
    try:
        with quiet_tensorflow():
            yield
    except ImportError as error:
        # A module of this package that is not there is a defect.
        if (error.name or "").partition(".")[0] == "trainer":
            raise
        raise TrainerError(
            f"TensorFlow or what it needs cannot be imported ({error}); make a "
            "new virtual environment and install vae-trainer in it."
        ) from error
