"""Slurm's own programs, and what they say when they fail."""

import subprocess

from trainer.errors import ServiceUnavailableError, SubmitError
from trainer.submit import request

# What they say, with exit code 1 as always, when nobody answers them.
# From the table of errors in the library of Slurm 22.05.
_UNREACHABLE = (
    "Unable to contact slurm controller",
    "Socket timed out on send/recv operation",
    "Zero Bytes were transmitted or received",
    "in standby mode",
)


class RefusalError(SubmitError):
    """A program of Slurm said no.

    Attributes:
        said: str, its own words.
    """

    def __init__(self, said):
        super().__init__(f"Slurm refuses: {said.rstrip('.')}.")
        self.said = said


def call(command, stop, advice="", script=None):
    """Runs a program of Slurm.

    Args:
        command: list of str, the program first.
        stop: a `StopSignal`.
        advice: str, what else to do where there is no such program.
        script: str, what it reads; None for nothing.

    Returns:
        Two str: what it printed, and what it said beside.

    Raises:
        RefusalError: Slurm refuses.
        SubmitError: Slurm is not here.
        ServiceUnavailableError: its controller cannot be reached for now.
    """
    return request.ask(
        command[0], lambda: _run(command, advice, script or ""), stop
    )


def _run(command, advice, script):
    program = command[0]
    try:
        done = subprocess.run(  # noqa: S603 - the user's own.
            command, input=script, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise SubmitError(
            f"There is no {program} on PATH; run this on a login node of the "
            f"cluster{advice}."
        ) from error
    said = "; ".join(
        line.removeprefix(f"{program}: error: ")
        for line in done.stderr.splitlines()
    )
    if done.returncode:
        if any(text in said for text in _UNREACHABLE):
            raise ServiceUnavailableError(
                f"Slurm's controller cannot be reached ({said}); look whether "
                "the job is there (squeue --me), and try again."
            )
        raise RefusalError(said or f"{program} does not say why")
    return done.stdout, said
