"""`vae-doctor` as a user types it: on healthy machines, and what it touches."""

import json
import shutil

import pytest

from tests.tools.commands import run_command
from tests.tools.datasets import content_of
from tests.tools.project import ROOT
from trainer.doctor import pace, rows, software, table
from trainer.doctor.pace import Pace
from trainer.errors import (
    InterruptedJobError,
    JobDirError,
    StorageUnavailableError,
)
from trainer.job_dir.open import JobDir
from trainer.runtime import flags

SMALL = (
    "--dataset=synthetic",
    "--train_examples=640",
    "--batch_size=32",
    "--epochs=2",
    "--latent_dim=8",
)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Steps are measured for a moment."""
    monkeypatch.setattr(pace, "SECONDS", 0.01)


def states_of(examined):
    return {row["name"]: row["state"] for row in examined["rows"]}


def test_a_healthy_machine_with_a_job_in_a_bucket(
    bucket, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    strangers = {"job/notes.txt": b"mine", "job/claim-time-1": b"", "b": b"b"}
    for name, content in strangers.items():
        bucket.write(name, content)
    before = bucket.resources()
    outcome = run_command(
        "vae-doctor",
        "--json",
        "--job_dir=gs://bucket/job",
        "--virtual_devices=2",
        *SMALL,
    )
    assert outcome.exit_code == 0, outcome.out + outcome.err
    examined = json.loads(outcome.out)
    assert set(states_of(examined).values()) == {"ok"}, outcome.out
    assert (examined["exit_code"], examined["seconds"] > 0) == (0, True)
    found = {row["name"]: row["found"] for row in examined["rows"]}
    assert "has 2 objects" in found["bucket: list"]
    assert "conditions are kept, deleted again" in found["bucket: write"]
    assert found["all-reduce"].startswith("2 replicas add 4 MiB in ")
    assert found["schedule"] == "40 steps, 20 an epoch"
    assert " ms a step, steps alone (" in found["time"]
    assert found["job"] == "a new job"
    # What was there is there, and nothing else; nothing of it was touched.
    assert bucket.resources() == before
    changes = [path for method, path in bucket.requests if method != "GET"]
    assert len(changes) == 3
    assert all("claim-time-" in path or "upload" in path for path in changes)
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """A finished job of an earlier version; `flags` is its flag file."""
    shutil.copytree(ROOT / "tests/jobs/0.1.0", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    config = JobDir(tmp_path / "job").config()
    (tmp_path / "flags").write_text(flags.flag_file(config))
    monkeypatch.setattr(pace, "measure", lambda case: Pace(0.01, 0.1, 3))
    return tmp_path


def stamps_of(folder):
    return {
        path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]
    }


def test_a_job_that_is_there_is_looked_at_and_not_changed(earlier):
    job = earlier / "job"
    before = content_of(job), stamps_of(job)
    outcome = run_command(
        "vae-doctor", "--flagfile=flags", "--job_dir=job", "--epochs=9"
    )
    assert outcome.exit_code == 0, outcome.out + outcome.err
    assert (content_of(job), stamps_of(job)) == before
    assert "ok       job                 goes on with a job of 1 session\n" in (
        outcome.out
    )
    assert "schedule            36 steps, 4 an epoch\n" in outcome.out
    assert "time                about 0 seconds: 10.0 ms a step, steps" in (
        outcome.out
    )
    assert "0 failures, 0 warnings" in outcome.out


def test_flags_that_would_be_refused_are_a_failure(earlier):
    outcome = run_command(
        "vae-doctor", "--flagfile=flags", "--job_dir=job", "--beta=2"
    )
    assert outcome.exit_code == 1
    assert "failure  job                 job holds a job with other" in (
        outcome.out
    )
    assert "--beta=2.0 (was 1.0)" in outcome.out


def test_wrong_flags_are_2_and_nothing_is_looked_at(capsys):
    outcome = run_command("vae-doctor", "--batch_size=0")
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert "--batch_size=0 is too small" in outcome.err


def test_the_help_and_the_config_are_not_an_examination():
    assert "[no]json" in run_command("vae-doctor", "--help").out
    printed = run_command("vae-doctor", "--print_config", "--json").out
    assert "--json" not in printed
    assert "--latent_dim=200" in printed


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], 0),
        ([("ok", False), ("warning", False)], 0),
        ([("failure", True), ("warning", False)], 75),
        ([("failure", True), ("failure", False)], 1),
    ],
)
def test_the_exit_code_is_that_of_the_failures(states, code):
    found = [rows.Row(state, "", for_now=passes) for state, passes in states]
    assert rows.exit_code(found) == code


def test_no_check_ends_the_others():
    def raising(error):
        def check():
            raise error

        return check

    row = rows.look("disk", raising(KeyError("sda\nsdb")))
    assert (row.state, row.for_now, row.name) == ("failure", False, "disk")
    assert row.found == "KeyError: 'sda\\nsdb'"
    assert "report it" in row.advice
    assert len(rows.look("d", raising(OSError("x" * 9999))).found) == 300
    row = rows.look("disk", raising(ValueError("")))
    assert row.found == "ValueError: "
    assert rows.look("b", raising(JobDirError("No such bucket."))) == rows.Row(
        "failure", "No such bucket.", name="b"
    )
    assert rows.look("b", raising(StorageUnavailableError("Out."))).for_now
    with pytest.raises(InterruptedJobError):
        rows.look("b", raising(InterruptedJobError("Stop.")))


def test_a_signal_ends_the_examination_between_two_checks(monkeypatch):
    def interrupted(case):
        case.stop.request("SIGTERM")
        return rows.ok("fine")

    monkeypatch.setattr(software, "tensorflow", interrupted)
    outcome = run_command("vae-doctor", *SMALL)
    assert outcome.exit_code == 75
    assert outcome.err.startswith("Interrupted by SIGTERM: ")
    assert len(outcome.out.splitlines()) == 2


def test_the_table_is_narrow_and_says_what_to_do():
    row = rows.Row("warning", "word " * 40, "do this", name="disk")
    lines = table.lines(row)
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("warning  disk                word word")
    assert lines[-1] == " " * 29 + "-> do this"
