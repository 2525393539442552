"""A stop signal while a service is asked."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.tools.kubernetes_manifests import SUBMIT as KUBERNETES
from trainer.errors import (
    InterruptedJobError,
    ServiceUnavailableError,
    SubmitError,
)
from trainer.submit import request

SLURM = ("slurm", "--job_dir=/shared/runs/vae", "--image=/shared/vae.sif")
NOBODY_KNOWS = (
    "Interrupted by {} before {} answered; look whether the job is there, and "
    "try again."
)


def test_the_answer_comes_back(stop):
    assert request.ask("it", lambda: 3, stop) == 3


def test_an_error_comes_back(stop):
    def call():
        raise SubmitError("It says no.")

    with pytest.raises(SubmitError, match="It says no"):
        request.ask("it", call, stop)


def test_after_a_signal_nothing_is_asked(stop):
    stop.request("SIGTERM")
    asked = []
    with pytest.raises(InterruptedJobError, match="nothing was lost"):
        request.ask("it", lambda: asked.append(1), stop)
    assert asked == []


def test_a_signal_before_the_answer_does_not_wait_for_it(stop):
    ended = threading.Event()

    def call():
        stop.request("SIGTERM")
        ended.wait(100)

    with pytest.raises(ServiceUnavailableError) as error:
        request.ask("it", call, stop)
    assert str(error.value) == NOBODY_KNOWS.format("SIGTERM", "it")
    assert error.value.exit_code == 75
    ended.set()


def test_an_error_after_a_signal_is_the_signals_doing(stop):
    def call():
        stop.request("SIGINT")
        raise SubmitError("kubectl was refused: it does not say why.")

    with pytest.raises(ServiceUnavailableError, match="Interrupted by SIGINT"):
        request.ask("kubectl", call, stop)


class AtOnce:
    """A thread that has ended when it has started."""

    def __init__(self, target, args, daemon):
        self.start = lambda: target(*args)


def test_an_answer_that_came_in_time_counts(stop, monkeypatch):
    monkeypatch.setattr(request.threading, "Thread", AtOnce)

    def call():
        stop.request("SIGTERM")
        return "submitted"

    assert request.ask("it", call, stop) == "submitted"


@pytest.fixture
def program(tmp_path):
    """Makes a program that hangs; returns what tells that it has started."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def program(name):
        started, script = tmp_path / "started", folder / name
        script.write_text(
            "#!/bin/bash\n"
            f"touch {started}\n"
            f"while [ -e {started} ]; do sleep 0.1; done\n"
        )
        script.chmod(0o755)
        return started

    yield program
    (tmp_path / "started").unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("name", "words"), [("kubectl", KUBERNETES), ("sbatch", SLURM)]
)
def test_a_signal_ends_the_command_while_a_program_hangs(
    program, tmp_path, name, words, number
):
    started = program(name)
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.submit", *words],
        env=os.environ | {"PATH": f"{tmp_path}/programs:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 100
    while not started.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # As a terminal does.
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=50)
    said = NOBODY_KNOWS.format(signal.Signals(number).name, name)
    assert (process.returncode, out, err) == (75, "", f"ERROR: {said}\n")
