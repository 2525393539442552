"""Trainings that hang, as real processes: what they say, and how they end."""

import os
import subprocess
import sys

import pytest

from tests.tools.deadline import SECONDS
from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL
from tests.tools.workers import free_hosts, tf_config

FLAGS = (*SMALL, "--epochs=5000", "--checkpoint_steps=5", "--eval_epochs=0")
# Batches that come before one does not; all of a session's first call.
BATCHES = 12


class Processes:
    """Workers of a job, of which one may wait for data that never comes."""

    def __init__(self, folder, count, hung, *flags):
        self.job_dir = folder / "job"
        hosts = free_hosts(count)
        self._logs = [folder / f"worker-{index}.log" for index in range(count)]
        self._processes = []
        for index, log in enumerate(self._logs):
            environ = dict(os.environ)
            if count > 1:
                environ["TF_CONFIG"] = tf_config(hosts, index)
            if index == hung:
                environ["HANG_AT"] = str(BATCHES)
            with log.open("w") as output:
                self._processes.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-m", "tests.tools.hanging_job"),
                            *(f"--job_dir={self.job_dir}", *FLAGS, *flags),
                        ],
                        cwd=ROOT,
                        env=environ,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )

    def said(self, index=0):
        return self._logs[index].read_text()

    def codes(self):
        return [process.wait(SECONDS) for process in self._processes]

    def end(self):
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def start(tmp_path):
    """Starts `Processes`, and ends them after the test."""
    started = []

    def start(count, hung, *flags):
        started.append(Processes(tmp_path, count, hung, *flags))
        return started[-1]

    yield start
    for processes in started:
        processes.end()


@pytest.mark.parametrize(
    ("times_before", "code", "advice"),
    [
        (0, 75, "Run the same command again"),
        # Two that were at these steps, and one that was not.
        pytest.param(2, 1, "number 3 at these steps", marks=pytest.mark.slow),
    ],
)
def test_data_that_never_comes_ends_the_job_and_says_where_it_hangs(
    start, tmp_path, times_before, code, advice
):
    hangs = tmp_path / "job" / "hangs"
    if times_before:
        hangs.mkdir(parents=True)
        names = ["0000005-0000099.1", "0000001-0000050.1", "0000100-0000110.1"]
        for name in names:
            (hangs / f"steps-{name}.txt").write_text("")
    job = start(1, 0, "--hang_seconds=4")
    assert job.codes() == [code]
    assert advice in job.said()
    assert "training at steps" in job.said().lower()
    (path,) = (p for p in hangs.iterdir() if p.stat().st_size)
    assert str(path) in job.said()
    # Of the thread that hangs, and of the one that waits for it.
    text = path.read_text()
    assert "in never_returns" in text
    assert "in train_and_evaluate" in text


@pytest.mark.slow
def test_the_worker_that_hangs_is_told_from_the_one_that_waits(start):
    job = start(2, 1, "--hang_seconds=4")
    assert job.codes() == [75, 75]
    (path,) = (job.job_dir / "hangs").iterdir()
    assert str(path) in job.said(0)
    assert "The chief: training at steps" in job.said(0)
    assert "worker 1: training at steps" in job.said(0)
    chief, worker = path.read_text().split("\n\nworker 1: ")
    assert "in never_returns" in worker
    assert "in never_returns" not in chief
    assert "Where all threads stand" in job.said(1)
