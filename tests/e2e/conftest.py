"""Starting jobs as commands."""

import os
import subprocess
import sys

import pytest

from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts a job; returns a `subprocess.Popen`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("TF_CONFIG", "TF_CPP_MIN_LOG_LEVEL")
    }
    # An empty Keras cache: no test reads the one of this machine.
    environment["KERAS_HOME"] = str(tmp_path_factory.mktemp("keras"))

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
    """Runs a job to its end; returns (exit code, stdout, stderr)."""

    def run(*flags, **settings):
        process = start(*flags, **settings)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    return run


@pytest.fixture
def job_dir(tmp_path):
    """Where the job of a test goes."""
    return tmp_path / "job"


@pytest.fixture(scope="session")
def untouched(run, tmp_path_factory):
    """A finished job that nobody disturbed; tests only read it."""
    job_dir = tmp_path_factory.mktemp("untouched") / "job"
    code, _, err = run(*SMALL, "--epochs=2", job_dir=job_dir)
    assert (code, err) == (0, "")
    return job_dir
