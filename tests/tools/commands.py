"""Runs the project's commands in this process."""

import contextlib
import importlib
import io
import os
import re
import typing
from unittest import mock

from tests.tools.project import ROOT
from trainer.runtime.stop_signal import StopSignal

_MAINS = dict(
    re.findall(r'"(vae-\w+) = ([\w.]+):main"', (ROOT / "setup.py").read_text())
)


class _ProcessEnd(BaseException):
    """In place of the end of this process: `os._exit` was called."""


def _end_process(exit_code):
    raise _ProcessEnd(exit_code)


class Outcome(typing.NamedTuple):
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str


def run_command(name, *words, **variables):
    """Runs a command as its console script does.

    Args:
        name: that of the console script: `vae-evaluate`.
        *words: its flags and other arguments, which become strings.
        **variables: of its environment, beside those of this process.

    Returns:
        An `Outcome`.
    """
    main = importlib.import_module(_MAINS[name]).main
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        mock.patch("sys.argv", [name, *map(str, words)]),
        mock.patch.dict(os.environ, variables),
        # A training ends its process, to wait for nothing.
        mock.patch("os._exit", _end_process),
        # The handlers of this process are pytest's.
        mock.patch.object(StopSignal, "install"),
        mock.patch.object(StopSignal, "retire"),
    ):
        try:
            exit_code = main()
        except _ProcessEnd as end:
            (exit_code,) = end.args
    return Outcome(exit_code, out.getvalue(), err.getvalue())
