"""`vae-doctor` as a user types it: on healthy machines, and what it touches."""

import concurrent.futures
import errno
import json
import os
import shutil
import threading

import pytest

from tests.tools import deadline
from tests.tools.commands import run_command
from tests.tools.datasets import content_of
from tests.tools.project import ROOT
from tests.tools.small_jobs import small_job
from tests.tools.workers import free_hosts
from trainer import __version__
from trainer.config import TrainConfig
from trainer.distributed import peers
from trainer.distributed.topology import Topology
from trainer.doctor import examination, first, pace, rows, software, table
from trainer.doctor.pace import Pace
from trainer.errors import (
    InterruptedJobError,
    JobDirError,
    StorageUnavailableError,
)
from trainer.job import train_and_evaluate
from trainer.job_dir.open import JobDir
from trainer.runtime import training_flags

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
    (tmp_path / "flags").write_text(training_flags.flag_file(config))
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
    assert len(rows.look("d", raising(KeyError("x" * 9999))).found) == 300
    row = rows.look("d", raising(PermissionError(errno.EACCES, "no", "/job")))
    assert row.found == (
        "Permission denied; give a folder that you may use (/job)."
    )
    assert not row.advice
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


def test_a_check_that_hangs_ends_the_examination(
    monkeypatch, console, stop, tmp_path
):
    ended, told = threading.Event(), []

    def hung(row):
        told.append(row)
        ended.set()

    def waits(case):
        assert ended.wait(deadline.SECONDS)
        return rows.ok("it ended after all")

    monkeypatch.setattr(software, "python", waits)
    monkeypatch.setattr(examination, "SECONDS", 0.01)
    checks = examination.run(
        TrainConfig(job_dir=str(tmp_path)), None, stop, console, hung
    )
    assert next(checks).name == "Python"
    checks.close()
    (row,) = told
    assert (row.name, row.state, row.for_now) == ("Python", "failure", False)
    assert "has not ended in 0.01 seconds" in row.found
    assert "hangs" in row.advice


@pytest.mark.parametrize("as_json", [False, True])
def test_what_hangs_is_told_before_the_end(monkeypatch, capsys, as_json):
    def run(config, topology, stop, console, hung):
        yield rows.ok("fine")
        hung(rows.Row("failure", "It hangs.", "Restart.", name="GPU:0"))

    monkeypatch.setattr(examination, "run", run)
    outcome = run_command("vae-doctor", *["--json"] * as_json)
    assert outcome.exit_code == 1
    assert "It hangs." in outcome.out
    if as_json:
        assert json.loads(outcome.out)["exit_code"] == 1


def test_the_table_is_narrow_and_says_what_to_do():
    row = rows.Row("warning", "word " * 40, "do this", name="disk")
    lines = table.lines(row)
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("warning  disk                word word")
    assert lines[-1] == " " * 29 + "-> do this"


# As the first act of a job.


@pytest.fixture
def doctor(monkeypatch, tmp_path):
    """Puts a shell in the place of the doctor's process; returns its flags."""

    def stand_in(script):
        told = tmp_path / "flags"
        program = tmp_path / "doctor"
        program.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {told}\n{script}\n"
        )
        program.chmod(0o755)
        monkeypatch.setattr(first.sys, "executable", str(program))
        return told

    return stand_in


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (0, None),
        (75, None),
        (1, "this machine cannot run the job (exit code 1); do what its lines"),
        (2, "(exit code 2)"),
    ],
)
def test_a_job_begins_where_the_doctors_exit_code_allows(
    doctor, console, stop, capsys, code, sentence
):
    told = doctor(f"echo 'ok Python'; echo 'warning x' >&2; exit {code}")
    config = TrainConfig(batch_size=64, data_dir="/a folder/with blanks")
    error = first.examine(config, stop, console)
    assert (error is None) == (sentence is None)
    if error:
        assert error.exit_code == 1
        assert sentence in str(error)
    out, err = capsys.readouterr()
    assert out.splitlines()[-2:] == ["ok Python", "warning x"]
    assert ("out of reach for now" in err) == (code == 75)
    given = told.read_text().splitlines()
    assert given[:2] == ["-m", "trainer.commands.doctor"]
    assert training_flags.parse_flags(given[2:]) == config


def test_the_doctor_imports_what_the_job_does(
    monkeypatch, tmp_path, console, stop, capsys
):
    # Of a folder that only looks like the package nothing is run.
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(first, "_flags_of", lambda config: ["--version"])
    assert first.examine(TrainConfig(), stop, console) is None
    assert f"vae-trainer {__version__}" in capsys.readouterr().out


def test_a_doctor_that_is_killed_allows_nothing(doctor, console, stop):
    doctor("kill -9 $$")
    assert "exit code -9" in str(first.examine(TrainConfig(), stop, console))


def test_a_doctor_that_hangs_is_ended(doctor, console, stop, monkeypatch):
    doctor("exec sleep 600")
    monkeypatch.setattr(first, "_MOST_SECONDS", 0.2)
    assert "had not ended" in str(first.examine(TrainConfig(), stop, console))


def test_a_signal_ends_the_doctor_and_the_job(doctor, console, stop, tmp_path):
    doctor(f"echo $$ > {tmp_path / 'pid'}; exec sleep 600")
    stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError):
        first.examine(TrainConfig(), stop, console)
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_job_on_a_machine_that_is_not_fit_does_not_begin(
    doctor, tmp_path, monkeypatch
):
    doctor("exit 1")
    outcome = run_command(
        "vae-train", "--doctor", f"--job_dir={tmp_path / 'job'}", *SMALL
    )
    assert outcome.exit_code == 1
    assert "this machine cannot run the job" in outcome.err
    assert not (tmp_path / "job").exists()


def test_a_worker_that_is_not_fit_tells_the_others(tmp_path, console, stop):
    hosts = tuple(free_hosts(2))
    unfit = first.UnfitMachineError("This machine cannot run the job.")
    config = small_job(job_dir=str(tmp_path / "job"))
    identity = {**config.shared(), "version": __version__}

    def other():
        with peers.together(
            Topology(hosts, 1), identity, deadline.SECONDS, stop, console
        ) as link:
            link.hear("start")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        heard = pool.submit(other)
        with pytest.raises(first.UnfitMachineError):
            train_and_evaluate(
                config, topology=Topology(hosts, 0), stop=stop, unfit=unfit
            )
        error = heard.exception(deadline.SECONDS)
    assert error.exit_code == 1
    assert "This machine cannot run the job" in str(error)
    assert not (tmp_path / "job").exists()
    # Nobody comes to hear of it: the reason stays.
    alone = small_job(job_dir=config.job_dir, cluster_timeout_seconds=0.1)
    with pytest.raises(first.UnfitMachineError):
        train_and_evaluate(
            alone, topology=Topology(hosts, 0), stop=stop, unfit=unfit
        )
