"""What becomes of a job of Slurm: its programs are the tests' own."""

import json
import os
import sys

import pytest

from tests.tools.recorded_jobs import record
from tests.tools.submit_command import vae_submit
from trainer.submit import waiting
from trainer.submit.slurm import jobs as slurm_jobs

# The last answer of a program stays.
FAKE = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__)
with (here.parent / "calls").open("a") as calls:
    print(json.dumps([here.name, *sys.argv[1:]]), file=calls)
answers = json.loads((here.parent / f"{{here.name}}.json").read_text())
out, err, code = answers[0]
(here.parent / f"{{here.name}}.json").write_text(
    json.dumps(answers[1:] or answers)
)
print(out, end="")
print(err, end="", file=sys.stderr)
sys.exit(code)
"""
NO_BOOKS = ("", "Slurm accounting storage is disabled\n", 1)
ODD = "/shared/it's |50%| \\ é"


class Slurm:
    """Programs that answer as they are told, one answer after the other."""

    def __init__(self, folder):
        self._folder = folder
        self.answer("squeue", "")
        self.answer("sacct", NO_BOOKS)
        self.answer("scancel", "")

    def answer(self, program, *answers):
        path = self._folder / program
        path.write_text(FAKE.format(python=sys.executable))
        path.chmod(0o755)
        answers = [
            (each, "", 0) if isinstance(each, str) else each for each in answers
        ]
        path.with_name(f"{program}.json").write_text(json.dumps(answers))

    def calls(self, program):
        path = self._folder / "calls"
        calls = map(json.loads, path.read_text().splitlines())
        return [words for name, *words in calls if name == program]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Slurm(tmp_path)


def line(number, state, job_dir="", reason="None", name="vae"):
    comment = slurm_jobs.comment(str(job_dir)) if job_dir else "mine"
    return f"{number}|{state}|{reason}|2026-11-30T10:00:00|{comment}|{name}\n"


def test_status_has_the_state_and_the_progress(slurm, tmp_path):
    folder = record(tmp_path / "job", epoch=12, loss=25.1, ends=[None] * 3)
    slurm.answer(
        "squeue",
        line(7, "FAILED", folder)
        + line(9, "PENDING", folder, "BeginTime", "night | day")
        + line(8, "RUNNING", name="other"),
    )
    told = (
        "night | day: pending\n"
        "Submitted: 2026-11-30 10:00:00\n"
        "Reason: BeginTime\n"
        "Progress: epoch 12 of 30, test loss 25.1, 36 minutes left, "
        "interrupted twice\n"
    )
    for words in (["9"], ["night | day"], [f"--job_dir={folder}/"]):
        outcome = vae_submit("slurm", "status", *words)
        assert outcome == (0, told, "")
    outcome = vae_submit("slurm", "status", "other")
    assert outcome == (
        0,
        "other: running\nSubmitted: 2026-11-30 10:00:00\n",
        "",
    )


def test_what_is_not_there_is_told_from_what_has_not_started(slurm, tmp_path):
    for verb in ("status", "logs", "cancel"):
        outcome = vae_submit("slurm", verb, "vae")
        assert outcome.err == (
            "ERROR: Slurm knows no job vae; `vae-submit slurm list` shows "
            "those that it knows.\n"
        )
        assert (outcome.exit_code, outcome.out) == (1, "")
    place = f"--job_dir={tmp_path}/none"
    assert vae_submit("slurm", "status", place) == (
        0,
        f"Slurm knows no job of {tmp_path}/none.\nProgress: not started\n",
        "",
    )
    assert vae_submit("slurm", "cancel", place).exit_code == 1
    slurm.answer("squeue", line(9, "PENDING", f"{tmp_path}/none"))
    assert vae_submit("slurm", "status", "9").out.endswith(
        "Progress: not started\n"
    )


def test_a_damaged_job_directory_hides_no_state(slurm, tmp_path):
    folder = record(tmp_path / "job", epoch=1, loss=9.0, ends=[None])
    (folder / "config.json").write_text("{")
    slurm.answer("squeue", line(9, "RUNNING", folder))
    outcome = vae_submit("slurm", "status", "9")
    assert outcome.exit_code == 0
    assert outcome.out.startswith("vae: running\n")
    assert outcome.err.startswith("WARNING: The progress is not known: ")


def test_list_has_the_jobs_of_the_trainer_those_in_the_books_as_well(slurm):
    slurm.answer("squeue", line(9, "RUNNING", ODD) + line(8, "RUNNING"))
    slurm.answer(
        "sacct",
        line(7, "CANCELLED by 1000", "/a", name="old")
        + line(9, "RUNNING", ODD)
        + line("6_1", "RUNNING", "/b"),
    )
    assert vae_submit("slurm", "list").out.splitlines() == [
        "NAME  STATE      TITLE  JOB_DIR",
        f"9     running    vae    {ODD}",
        "7     cancelled  old    /a",
    ]
    assert vae_submit("slurm", "list", "9").exit_code == 2
    # A terminal is told nothing by it.
    slurm.answer("squeue", line(9, "RUNNING", "/a", name="\x1b[2Jnight"))
    for words in (["list"], ["status", "9"]):
        out = vae_submit("slurm", *words).out
        assert "\\x1b[2Jnight" in out
        assert "\x1b" not in out


def test_cancel_says_what_becomes_of_the_state(slurm):
    slurm.answer("squeue", line(9, "RUNNING", ODD) + line(7, "FAILED", ODD))
    outcome = vae_submit("slurm", "cancel", f"--job_dir={ODD}")
    assert outcome.exit_code == 0
    assert outcome.out.startswith("Cancelling 9: Slurm sends SIGTERM, at which")
    assert slurm.calls("scancel") == [["9"]]
    for found, code, message in (
        (line(9, "COMPLETED"), 1, "ERROR: 9 has ended (completed); there is"),
        (
            line(9, "RUNNING") + line(8, "PENDING"),
            2,
            "ERROR: 2 of these jobs have not ended; give one of their names: "
            "9, 8.",
        ),
    ):
        slurm.answer("squeue", found)
        outcome = vae_submit("slurm", "cancel", "vae")
        assert outcome.exit_code == code
        assert outcome.err.startswith(message)
    assert len(slurm.calls("scancel")) == 1


def test_logs_prints_the_log_and_follows_it_to_the_end(
    slurm, tmp_path, monkeypatch
):
    monkeypatch.setattr(slurm_jobs, "_FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(slurm_jobs, "_ASK_SECONDS", 0.0)
    log = tmp_path / "slurm 9.log"
    slurm.answer("squeue", line(9, "RUNNING"))
    slurm.answer("scontrol", f"JobId=9 JobName=vae\n   StdOut={log}\n")
    outcome = vae_submit("slurm", "logs", "9")
    assert f"has written nothing yet ({log} is not there)" in outcome.err
    assert outcome.exit_code == 1
    log.write_text("Epoch 1\n")
    assert vae_submit("slurm", "logs", "9") == (0, "Epoch 1\n", "")
    slurm.answer("squeue", *[line(9, "RUNNING")] * 3, line(9, "COMPLETED"))
    assert vae_submit("slurm", "logs", "9", "--follow").out == "Epoch 1\n"
    # The controller has forgotten it.
    slurm.answer("scontrol", ("", "Invalid job id specified\n", 1))
    slurm.answer("squeue", "")
    slurm.answer("sacct", line(9, "COMPLETED"), f"{tmp_path}\n")
    (tmp_path / "slurm-9.log").write_text("the books\n")
    assert vae_submit("slurm", "logs", "9").out == "the books\n"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("squeue: error: Unable to contact slurm controller (x)", 75),
        ("squeue: error: slurm_load_jobs error: Access denied", 1),
    ],
)
def test_a_slurm_that_does_not_answer_knows_no_less(slurm, said, code):
    slurm.answer("squeue", ("", said, 1))
    for verb in ("status", "logs", "cancel"):
        outcome = vae_submit("slurm", verb, "9")
        assert (outcome.exit_code, outcome.out) == (code, "")
        assert outcome.err.count("\n") == 1


@pytest.fixture
def submit(slurm, tmp_path, monkeypatch):
    """Submits a job and waits; no look takes longer than it must."""
    monkeypatch.setattr(waiting, "_POLL_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vae-train").touch(mode=0o755)
    slurm.answer("sbatch", "9\n")
    words = (
        f"--venv={tmp_path}",
        f"--job_dir={tmp_path}/job",
        "--wait",
        "--name=vae",
    )
    return lambda: vae_submit("slurm", *words)


def test_waiting_prints_what_changes_and_ends_as_the_job_does(
    slurm, submit, tmp_path
):
    place = f"{tmp_path}/job"
    slurm.answer(
        "squeue",
        line(9, "PENDING", place),
        ("", "squeue: error: Unable to contact slurm controller", 1),
        *[line(9, "RUNNING", place)] * 2,
        line(9, "COMPLETED", place),
    )
    outcome = submit()
    lines = [text[9:] for text in outcome.out.splitlines()[-4:]]
    assert lines == [
        "submitted: not started",
        "pending: not started",
        "running: not started",
        "completed: not started",
    ]
    assert outcome.err.count("controller cannot be reached") == 1
    assert outcome.exit_code == 0

    record(tmp_path / "job", epoch=12, loss=25.1, ends=[None, "failed"])
    slurm.answer("squeue", line(9, "FAILED", place))
    outcome = submit()
    assert outcome.exit_code == 1
    assert outcome.out.splitlines()[-1].endswith(
        "failed: epoch 12 of 30, test loss 25.1, 36 minutes left, interrupted "
        "once, failed once"
    )
    assert outcome.err == (
        "ERROR: vae has ended: failed; vae-submit slurm logs 9 shows its "
        "output.\n"
    )
    slurm.answer("squeue", "")
    outcome = submit()
    assert outcome.err.startswith("ERROR: Slurm does not know vae any more")
    assert outcome.exit_code == 1


def test_ctrl_c_ends_the_waiting_and_not_the_job(
    slurm, submit, monkeypatch, tmp_path
):
    slurm.answer("squeue", line(9, "RUNNING"))
    looks = []

    def look(self, job, stop):
        looks.append(job)
        stop.request("SIGINT")
        return job

    monkeypatch.setattr(slurm_jobs.Jobs, "get", look)
    outcome = submit()
    assert outcome.exit_code == 75
    assert outcome.err == (
        "SIGINT has ended the waiting, not the job, which goes on; vae-submit "
        "slurm status 9 says how it stands, and vae-submit slurm cancel 9 "
        "stops it.\n"
    )
    assert len(looks) == 1
    assert not (tmp_path / "calls").read_text().count("scancel")
