"""Runs the project's commands in this process."""

import contextlib
import importlib
import io
import re
import typing
from unittest import mock

from tests.tools.project import ROOT
from trainer.runtime.stop_signal import StopSignal

_MAINS = dict(
    re.findall(r'"(vae-\w+) = ([\w.]+):main"', (ROOT / "setup.py").read_text())
)
# It ends its process.
del _MAINS["vae-train"]


class Outcome(typing.NamedTuple):
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str


def run_command(name, *words):
    """Runs a command as its console script does.

    Args:
        name: that of the console script: `vae-evaluate`.
        *words: its flags and other arguments, which become strings.

    Returns:
        An `Outcome`.
    """
    main = importlib.import_module(_MAINS[name]).main
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        mock.patch("sys.argv", [name, *map(str, words)]),
        # The handlers of this process are pytest's.
        mock.patch.object(StopSignal, "install"),
        mock.patch.object(StopSignal, "retire"),
    ):
        exit_code = main()
    return Outcome(exit_code, out.getvalue(), err.getvalue())
