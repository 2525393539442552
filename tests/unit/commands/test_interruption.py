"""A stop signal at any stage of a command: one sentence, exit code 75."""

import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.tools.small_jobs import small_job, train_only
from trainer.commands import evaluate, export, gallery, generate
from trainer.data import sources
from trainer.model import inference
from trainer.model.trained import Trained
from trainer.pictures import album
from trainer.runtime.stop_signal import StopSignal

ROOT = pathlib.Path(__file__).parents[3]
SENTENCE = (
    "Interrupted by {}: nothing was lost; run the same command again to go "
    "on.\n"
)
# Where the signal comes: just before this function runs.
STAGES = {
    "evaluate, loading": (evaluate, evaluate, "_load"),
    "evaluate, data": (evaluate, Trained, "data"),
    "evaluate, download": (evaluate, sources, "load"),
    "evaluate, encoding": (evaluate, inference, "encode_many"),
    "generate, loading": (generate, generate, "_load"),
    "generate, data": (generate, Trained, "data"),
    "generate, drawing": (generate, album, "draw"),
    "gallery, loading": (gallery, gallery, "_load"),
    "gallery, data": (gallery, Trained, "data"),
    "gallery, drawing": (gallery, album, "draw"),
    "export, loading": (export, export, "_load"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished job; tests work on copies of it."""
    job_dir = tmp_path_factory.mktemp("interruption") / "job"
    train_only(small_job(job_dir=str(job_dir), max_steps=2))
    return job_dir


def content_of(folder):
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_a_command_and_nothing_was_written(
    stage, finished, tmp_path, monkeypatch, capsys
):
    module, owner, name = STAGES[stage]
    job_dir = shutil.copytree(finished, tmp_path / "job")
    before = content_of(job_dir)
    installed = []
    monkeypatch.setattr(
        StopSignal, "install", lambda stop: installed.append(stop)
    )
    monkeypatch.setattr(StopSignal, "retire", lambda stop: None)
    function = getattr(owner, name)

    def interrupted(*args, **settings):
        installed[0].request("SIGINT")
        return function(*args, **settings)

    monkeypatch.setattr(owner, name, interrupted)
    monkeypatch.setattr(sys, "argv", ["command", f"--job_dir={job_dir}"])
    capsys.readouterr()
    assert module.main() == 75
    out, err = capsys.readouterr()
    assert err == SENTENCE.format("SIGINT")
    assert "tep 2" not in out
    assert content_of(job_dir) == before


def test_a_real_signal_while_tensorflow_loads(finished):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer.commands.evaluate"),
            f"--job_dir={finished}",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    mapped = pathlib.Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + 100
    while "libtensorflow" not in mapped.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (75, "")
    assert err == SENTENCE.format("SIGTERM")
