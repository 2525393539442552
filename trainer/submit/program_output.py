"""What another program prints, shown while it prints it."""

import subprocess
import tempfile
import threading

_POLL_SECONDS = 0.1


def show(command, stop):
    """Prints what a program prints until it ends.

    Args:
        command: list of str, the program first.
        stop: a `StopSignal`, which ends the program.

    Returns:
        Its exit code, an int, and what it said on stderr, a str.

    Raises:
        InterruptedJobError: the stop signal came.
        FileNotFoundError: there is no such program.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - the user's own.
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            errors="replace",
        )
        printing = threading.Thread(
            target=_print_lines, args=(process.stdout,), daemon=True
        )
        printing.start()
        try:
            _wait(process, stop)
        finally:
            process.terminate()
            process.wait()
            printing.join()
            process.stdout.close()
        stop.check()
        said.seek(0)
        return process.returncode, said.read().decode(errors="replace")


def _print_lines(lines):
    for line in lines:
        print(line, end="", flush=True)


def _wait(process, stop):
    while not stop.requested:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
