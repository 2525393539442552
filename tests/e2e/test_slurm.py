"""Jobs on a real Slurm, of two nodes on this machine."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.fakes import slurm_cluster
from tests.tools.deadline import wait_until
from tests.tools.small_jobs import SMALL
from tests.tools.soak import differences

EPOCHS = 6
NAME = 'it\'s "a" job # 1'


class Job:
    """A job that was submitted.

    Attributes:
        number: str, Slurm's.
        directory: its job directory.
    """

    def __init__(self, cluster, directory, *words, **variables):
        self._cluster = cluster
        self.directory = directory
        done = subprocess.run(
            [
                *(sys.executable, "-m", "trainer.submit", "slurm"),
                *(f"--job_dir={directory}", "--workers=2"),
                *(f"--name={NAME}", "--partition=main"),
                *("--gpus=1", "--accelerator=fake", "--cpus=2"),
                *("--timeout_hours=1", "--", *words),
            ],
            cwd=directory.parent,
            env=os.environ | cluster.variables | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        self.number = re.match(r"Submitted: job (\d+)\n", done.stdout)[1]
        self.log = pathlib.Path(re.search("tail -F (.*)", done.stdout)[1])

    def slurm(self, name):
        """Returns what Slurm says of the job under a name."""
        return self._cluster.job(self.number)[name]

    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def wait(self, is_so):
        wait_until(
            is_so, lambda: f"{self._cluster.job(self.number)} {self.said()}"
        )

    def wait_for(self, text):
        self.wait(lambda: text in self.said())

    def wait_until(self, *states):
        self.wait(lambda: self.slurm("JobState") in states)

    def end(self):
        """Waits for the end; returns state, exit code and restarts."""
        self.wait_until("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
        return tuple(map(self.slurm, ("JobState", "ExitCode", "Restarts")))


@pytest.fixture
def cluster():
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    with slurm_cluster.cluster() as cluster:
        yield cluster


@pytest.mark.slow
def test_a_job_that_slurm_stops_goes_on_and_ends_with_the_same_weights(
    cluster, tmp_path
):
    # One test, since they share the cluster and the untouched job.
    flags = (*SMALL, f"--epochs={EPOCHS}")
    failing = Job(cluster, tmp_path / "failing", TF_CONFIG="{")
    untouched = Job(cluster, tmp_path / "untouched", *flags)
    limited = Job(cluster, tmp_path / "limited", *flags)
    names = cluster.run("squeue", "--noheader", "--format=%j").splitlines()
    assert set(names) == {NAME}
    limited.wait_for("Epoch 1,")
    # What --signal=TERM@180 does three minutes before the time limit.
    cluster.run("scancel", "--signal=TERM", limited.number)
    limited.wait_until("PENDING")
    cancelled = Job(cluster, tmp_path / "cancelled", *flags)
    # The controller waits two minutes by itself.
    limited.wait(lambda: limited.slurm("Reason") == "BeginTime")
    cluster.run("scontrol", "update", f"job={limited.number}", "StartTime=now")
    cancelled.wait_for("Epoch 1,")
    cluster.run("scancel", cancelled.number)
    assert cancelled.end() == ("CANCELLED", "0:15", "0")
    again = Job(cluster, tmp_path / "cancelled", *flags)

    assert failing.end() == ("FAILED", "2:0", "0")
    assert "TF_CONFIG is not the JSON of a cluster" in failing.said()
    for job in (untouched, limited, again):
        restarts = "1" if job is limited else "0"
        assert job.end() == ("COMPLETED", "0:0", restarts), job.said()
    for stopped, resumed in ((limited, limited), (cancelled, again)):
        assert "Interrupted by SIGTERM" in stopped.said()
        assert "Resuming" in resumed.said()
        assert differences(untouched.directory, resumed.directory) == []
    assert "with 2 CPU replicas" in untouched.said()
    # Still: nothing queued it again.
    assert cancelled.end() == ("CANCELLED", "0:15", "0")


# Trains until there is a file `done`, and saves when it is told to stop.
TRAINER = """#!/bin/bash
echo "Epoch 1"
trap 'echo Saved; exit 75' TERM
until [ -e done ]; do sleep 0.1; done
"""


@pytest.mark.slow
def test_what_is_said_of_a_job_is_what_slurm_says(cluster, tmp_path):
    program = tmp_path / "venv" / "bin" / "vae-train"
    program.parent.mkdir(parents=True)
    program.write_text(TRAINER)
    program.chmod(0o755)
    directory = tmp_path / "it's | %j"

    def start(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "trainer.submit", "slurm", *words],
            cwd=tmp_path,
            env=os.environ | cluster.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(*words):
        process = start(*words)
        out, err = process.communicate()
        return process.returncode, out, err

    place = f"--job_dir={directory}"
    submit = (place, f"--name={NAME}", f"--venv={program.parents[1]}", "--wait")
    waiting = start(*submit)
    number = re.fullmatch(r"Submitted: job (\d+)\n", waiting.stdout.readline())[
        1
    ]
    wait_until(lambda: cluster.job(number)["JobState"] == "RUNNING", str)
    log = tmp_path / f"slurm-{number}.log"
    wait_until(lambda: log.exists() and log.read_text(), str)
    assert ask("logs", number) == (0, "Epoch 1\n", "")
    listed = ask("list")[1].splitlines()[1]
    assert re.split("  +", listed) == [number, "running", NAME, str(directory)]
    for which in (number, NAME, place):
        code, out, err = ask("status", which)
        assert (code, err) == (0, "")
        assert out.startswith(f"{NAME}: running\n")
        assert out.endswith("\nProgress: not started\n")
    code, out, _ = ask("cancel", place)
    assert code == 0
    assert out.startswith(f"Cancelling {number}: Slurm sends SIGTERM")
    out, err = waiting.communicate()
    assert waiting.returncode == 1
    assert out.splitlines()[-1].endswith(" cancelled: not started")
    assert f"{NAME} has ended: cancelled;" in err
    wait_until(lambda: "Saved" in log.read_text(), log.read_text)
    assert ask("cancel", number)[0] == 1

    waiting = start(*submit)
    (tmp_path / "done").touch()
    out, err = waiting.communicate()
    assert (waiting.returncode, err) == (0, "")
    assert out.splitlines()[-1].endswith(" completed: not started")
    code, out, _ = ask("status", place)
    assert out.startswith(f"{NAME}: completed\n")
    # This cluster keeps no books.
    assert "Slurm knows no job night;" in ask("status", "night")[2]
