"""What TensorFlow says while it starts, in a process of somebody else."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from tests.tools.project import ROOT
from tests.tools.small_jobs import small_job
from trainer.runtime import chatter

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# The first of them, on each machine.
SAID = "All log messages before absl::InitializeLog"
NOTED = "oneDNN custom operations are on.\n"


@pytest.fixture
def run_python(finished_job, tmp_path):
    """Runs a script of `job_dir` and `flags` in a process of its own."""
    job_dir = shutil.copytree(finished_job, tmp_path / "job")
    flags = small_job(job_dir=str(job_dir)).to_json()

    def run_python(script, **environ):
        inherited = {
            name: value for name, value in os.environ.items() if name != LEVEL
        }
        return subprocess.run(
            [
                *(sys.executable, "-c"),
                "import json, os, sys; job_dir = sys.argv[1]; "
                f"flags = json.loads(sys.argv[2]); {script}; "
                f"print(os.environ.get({LEVEL!r}))",
                *(str(job_dir), json.dumps(flags)),
            ],
            cwd=ROOT,
            env={**inherited, **environ},
            capture_output=True,
            text=True,
            check=True,
        )

    return run_python


@pytest.mark.parametrize(
    "script",
    [
        "import trainer; trainer.load(job_dir).sample(1)",
        "import trainer; trainer.train(**flags)",
    ],
)
def test_a_process_of_somebody_else_hears_no_chatter(run_python, script):
    done = run_python(script)
    assert done.stderr == ""
    # What that process starts has the level that it would have had.
    assert done.stdout.endswith("None\n")


def test_what_the_user_wants_to_hear_is_said(run_python):
    script = "import trainer; trainer.load(job_dir)"
    done = run_python(script, **{LEVEL: "0"})
    assert SAID in done.stderr
    assert done.stdout == "0\n"


def test_a_process_that_has_tensorflow_keeps_its_messages(monkeypatch):
    monkeypatch.delenv(LEVEL, raising=False)
    monkeypatch.setattr(
        chatter, "_quiet_import", lambda: pytest.fail("it was imported before")
    )
    chatter.import_tensorflow()
    assert LEVEL not in os.environ


def test_what_is_no_chatter_is_printed_afterwards(monkeypatch, capfd):
    monkeypatch.setenv(LEVEL, "1")
    with chatter._quiet_import():
        os.write(2, f"{NOTED}Something is wrong.\n".encode())
        assert os.environ[LEVEL] == "1"
    assert capfd.readouterr().err == "Something is wrong.\n"
    assert os.environ[LEVEL] == "1"


def test_where_nothing_can_be_set_aside_all_is_said(
    monkeypatch, tmp_path, capfd
):
    nowhere = str(tmp_path / "missing")
    for owner, name, value in (
        (tempfile, "tempdir", nowhere),
        (sys, "stderr", None),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            with chatter._quiet_import():
                os.write(2, NOTED.encode())
        assert capfd.readouterr().err == NOTED


@pytest.mark.parametrize(("has_gpu", "said"), [(False, ""), (True, "E: {}\n")])
def test_that_there_is_no_gpu_is_news_where_there_is_one(
    monkeypatch, capfd, has_gpu, said
):
    monkeypatch.setattr(chatter.gpu_environment, "has_gpu", lambda: has_gpu)
    error = "failed call to cuInit: CUDA error"
    with chatter._quiet_import():
        os.write(2, f"E: {error}\n".encode())
    assert capfd.readouterr().err == said.format(error)
