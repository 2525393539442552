"""Where the time of a job went: the clock, the file, and what it says."""

import json
import signal
import subprocess
import sys

import pytest

from tests.tools import timed_job
from tests.tools.project import ROOT
from trainer import stored
from trainer.tracking import clock as clock_lib, goodput
from trainer.tracking.clock import KINDS, Clock


class Time:
    """A clock of the machine that moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(clock_lib.time, "perf_counter", lambda: self.now)

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def now(monkeypatch):
    return Time(monkeypatch)


def call(clock, now, step, count, seconds, data_seconds=0.0):
    with clock.call():
        now.passes(seconds)
    clock.ran(step, count, seconds, data_seconds)


def test_each_second_belongs_to_one_kind(now):
    clock = Clock(age=2.0)
    now.passes(3)
    with clock.over("peers"):
        now.passes(4)
    clock.become("other")
    # Tracing takes 9 of the first 10 seconds, as the second call shows.
    call(clock, now, 1, 1, 10.0)
    call(clock, now, 11, 10, 12.0, data_seconds=2.0)
    with clock.over("evaluation"):
        now.passes(5)
        assert clock.seconds()["evaluation"] == 5
        with clock.over("checkpoints"):
            now.passes(1)
    now.passes(0.5)
    found = clock.seconds()
    assert found == {
        **dict.fromkeys(KINDS, 0.0),
        "start": 5, "peers": 4, "tracing": 9, "training": 11, "data": 2,
        "evaluation": 5, "checkpoints": 1, "other": 0.5,
    }  # fmt: skip
    assert sum(found.values()) == 2 + now.now - 1000
    assert clock.step == 11


def test_steps_that_were_done_before_are_no_progress(now):
    clock = Clock()
    clock.done_before = 14
    call(clock, now, 11, 1, 10.0)
    call(clock, now, 21, 10, 20.0)
    call(clock, now, 31, 10, 20.0)
    found = clock.seconds()
    # Step 11, and steps 12 to 14 of the next ten.
    assert found["repeated"] == pytest.approx(2 + 3 * 2)
    assert found["training"] == pytest.approx(7 * 2 + 20)
    assert found["tracing"] == pytest.approx(8)


def test_what_a_call_measured_wrongly_takes_from_no_other_kind(now):
    clock = Clock()
    call(clock, now, 1, 1, 1.0)
    call(clock, now, 2, 1, 5.0, data_seconds=9.0)
    found = clock.seconds()
    assert (found["data"], found["training"], found["tracing"]) == (5, 0, 1)


@pytest.mark.parametrize(
    ("age", "seconds"), [(0, 0.1), (10, 0.1), (60, 0.6), (10**6, 10)]
)
def test_a_kill_loses_a_hundredth_of_a_session_at_most(age, seconds):
    assert goodput.write_seconds(age) == pytest.approx(seconds)


def run_killed(folder, first_step, kill_at):
    """Runs a timed job; returns how old it was at what. It is killed at a step.

    That is by its own clock: how long a process takes to begin and to end is
    not the job's.
    """
    ages = {}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.tools.timed_job"),
            *(str(folder), str(first_step)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        for line in process.stdout:
            what, age = line.split()
            ages[what] = float(age)
            if what == str(kill_at):
                process.kill()
    assert process.returncode == (-signal.SIGKILL if kill_at else 0)
    return ages


def test_the_table_of_a_killed_job_is_that_of_the_clock(tmp_path):
    killed_at, saved = 26, 20
    of_first = run_killed(tmp_path, 0, killed_at)
    of_second = run_killed(tmp_path, saved, None)
    found = goodput.read(tmp_path / "goodput.json")
    first, second = found.sessions
    assert (first.number, first.first_step, first.end) == (1, 0, None)
    assert (second.number, second.first_step) == (2, saved)
    assert (second.last_step, second.end) == (timed_job.LAST, "finished")
    # It was known before the checkpoint, and nothing is invented after.
    assert saved <= first.last_step <= killed_at
    for session in found.sessions:
        assert session.seconds["start"] >= timed_job.START_SECONDS
        assert session.seconds["tracing"] >= 0.9 * timed_job.TRACING_SECONDS
    # The clock ticks in hundredths of a second, and the file has milliseconds.
    tick = 0.02
    assert of_second["ending"] - tick <= second.total
    assert second.total <= of_second["ended"] + tick
    # A killed one loses what came after its last checkpoint, or less.
    assert of_first[str(saved)] - tick <= first.total
    step = timed_job.STEP_SECONDS
    again = second.seconds["repeated"]
    assert again >= 0.99 * (killed_at - saved) * step
    counted = second.seconds["training"]
    assert counted >= 0.99 * (timed_job.LAST - killed_at) * step
    # A machine under load makes both longer.
    assert 0.1 < again / counted < 2
    assert second.seconds["data"] >= 0.19
    assert second.seconds["evaluation"] >= 2 * timed_job.EVALUATION_SECONDS
    assert second.seconds["checkpoints"] >= 2 * timed_job.SAVE_SECONDS
    sentence = found.sentence()
    assert sentence.startswith(f"Goodput {found.share:.0%}: ")
    assert "in 2 sessions" in sentence
    assert "1 session was killed, and the last 1% of such a session" in sentence


def test_a_job_says_where_its_time_went(finished_job):
    found = goodput.read(finished_job / "goodput.json")
    said = json.loads((finished_job / "finished.json").read_text())
    (session,) = found.sessions
    assert (session.end, session.last_step) == ("finished", 20)
    # The rest is the last line and the last file.
    assert found.total == pytest.approx(said["seconds"], rel=0.01, abs=0.2)
    for kind in ("start", "tracing", "training", "evaluation", "pictures"):
        assert session.seconds[kind] > 0, kind
    assert session.seconds["repeated"] == session.seconds["peers"] == 0


def changed(session=None, **parts):
    whole = {
        "number": 1,
        "started": "2026-01-01T00:00:00+00:00",
        "first_step": 0,
        "last_step": 5,
        "end": None,
        "seconds": dict.fromkeys(KINDS, 1.5),
    }
    return {"format": 1, "sessions": [session or {**whole, **parts}]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], 'no "format" 1'),
        ({"format": 2, "sessions": []}, 'no "format" 1'),
        ({"format": 1, "sessions": []}, "no sessions"),
        (changed(session={"number": 1}), "without its parts"),
        (changed(end="<b>"), "cannot have been"),
        (changed(started="yesterday"), "cannot have been"),
        (changed(last_step=-1), "cannot have been"),
        (changed(seconds={}), "cannot have been"),
        (changed(seconds=dict.fromkeys(KINDS, -1)), "cannot have been"),
        (changed(seconds=dict.fromkeys(KINDS, float("nan"))), "cannot have"),
        (changed(seconds=dict.fromkeys(KINDS, float("inf"))), "cannot have"),
    ],
)
def test_a_file_that_no_job_wrote_is_refused(tmp_path, content, reason):
    path = tmp_path / "goodput.json"
    path.write_text(json.dumps(content))
    with pytest.raises(stored.UnreadableError, match=reason):
        goodput.read(path)
    path.write_text(json.dumps(changed()))
    assert goodput.read(path).total == 1.5 * len(KINDS)
    path.unlink()
    assert goodput.read(path) is None
