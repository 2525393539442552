"""Starting jobs as commands."""

import os
import subprocess
import sys

import pytest

from tests.tools import deadline
from tests.tools.commands import run_command
from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL
from trainer.runtime.command import LOADING


@pytest.fixture(scope="session")
def keras_home(tmp_path_factory):
    """An empty Keras cache: no test reads the one of this machine."""
    return str(tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="session")
def start(keras_home):
    """Starts a job; returns a `subprocess.Popen`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("TF_CONFIG", "TF_CPP_MIN_LOG_LEVEL")
    }
    environment["KERAS_HOME"] = keras_home

    def start(*flags, job_dir, module="trainer.task", **variables):
        return subprocess.Popen(
            [sys.executable, "-m", module, f"--job_dir={job_dir}", *flags],
            cwd=ROOT,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def run(start):
    """Runs a job to its end; returns (exit code, stdout, stderr).

    What is said while TensorFlow loads is left out.
    """

    def run(*flags, **settings):
        process = start(*flags, **settings)
        out, err = process.communicate(timeout=deadline.SECONDS)
        return process.returncode, out, err.removeprefix(f"{LOADING}\n")

    return run


@pytest.fixture(scope="session")
def run_here(keras_home):
    """Does as `run`, in this process, where TensorFlow is loaded already.

    Its jobs are equal to each other bit for bit, but not to those of `run`:
    TensorFlow has another number of threads in this process.
    """

    def run_here(*flags, job_dir, command="vae-train", **variables):
        return run_command(
            command,
            f"--job_dir={job_dir}",
            *flags,
            **{"KERAS_HOME": keras_home, **variables},
        )

    return run_here


@pytest.fixture
def job_dir(tmp_path):
    """Where the job of a test goes."""
    return tmp_path / "job"


def finished(run, *flags):
    """Returns a function for `once` that runs a job to its end."""

    def make(job_dir):
        code, out, err = run(*SMALL, *flags, job_dir=job_dir)
        assert (code, err) == (0, "")
        assert out.splitlines()[0] == f"New job in {job_dir}."

    return make


@pytest.fixture(scope="session")
def untouched(once, run):
    """A finished job that nobody disturbed; tests only read it."""
    return once("untouched", finished(run, "--epochs=2"))


@pytest.fixture(scope="session")
def untouched_here(once, run_here):
    """The same by `run_here`."""
    return once("untouched_here", finished(run_here, "--epochs=2"))


@pytest.fixture(scope="session")
def one_epoch_here(once, run_here):
    """The first half of it; tests work on copies."""
    return once("one_epoch_here", finished(run_here, "--epochs=1"))
