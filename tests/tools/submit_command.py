"""Runs `vae-submit` in this process, for tests."""

import contextlib
import dataclasses
import io
from unittest import mock

from trainer.runtime.stop_signal import StopSignal
from trainer.submit import command

SUBMIT = (
    "vertex",
    "--project=my-project",
    "--region=us-central1",
    "--image=us-central1-docker.pkg.dev/my-project/vae/vae-trainer:1",
    "--job_dir=gs://my-bucket/runs/vae",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    exit_code: int
    out: str
    err: str


def vae_submit(*words):
    """Returns what the command printed, and its exit code."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        mock.patch("sys.argv", ["vae-submit", *words]),
        # pytest's own handlers stay as they are.
        mock.patch.object(StopSignal, "install"),
        mock.patch.object(StopSignal, "retire"),
    ):
        exit_code = command.main()
    return Outcome(exit_code, out.getvalue(), err.getvalue())
