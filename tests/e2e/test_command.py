"""Whole jobs, as their user runs them: a command, its output, its files."""

import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SMALL = (
    "--dataset=synthetic",
    "--train_examples=640",
    "--test_examples=100",
    "--batch_size=32",
    "--latent_dim=8",
    "--summary_steps=5",
)


@pytest.fixture
def start(tmp_path):
    """Starts a job in `tmp_path`/job; returns a `subprocess.Popen`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("TF_CONFIG", "TF_CPP_MIN_LOG_LEVEL")
    }
    environment["KERAS_HOME"] = str(tmp_path / "keras")

    def start(*flags, job_dir=tmp_path / "job"):
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "trainer.task",
                f"--job_dir={job_dir}",
                *flags,
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run(start):
    """Runs a job to its end; returns (exit code, stdout, stderr)."""

    def run(*flags, **settings):
        process = start(*flags, **settings)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    return run


def test_a_job_is_new_then_resumed_then_finished(run, tmp_path):
    code, out, err = run(*SMALL, "--epochs=1")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"New job in {tmp_path / 'job'}."
    code, out, err = run(*SMALL, "--epochs=2")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"Resuming {tmp_path / 'job'} at step 20."
    code, out, err = run(*SMALL, "--epochs=2")
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"Finished: {tmp_path / 'job'} is at step 40."]


def test_the_job_directory_tells_everything(run, tmp_path):
    code, _, _ = run(*SMALL, "--epochs=2", "--virtual_devices=2")
    assert code == 0
    job = tmp_path / "job"
    files = {
        str(path.relative_to(job)).rpartition(".tfevents")[0]
        or str(path.relative_to(job))
        for path in job.rglob("*")
        if path.is_file()
    }
    assert files == {
        "claim.lock",
        "config.json",
        "finished.json",
        "metrics.jsonl",
        "logs/train/events.out",
        "logs/test/events.out",
        "checkpoints/step-0000020/manifest.json",
        "checkpoints/step-0000020/state.npz",
        "checkpoints/step-0000040/manifest.json",
        "checkpoints/step-0000040/state.npz",
        "plots/generated.png",
        "plots/reconstructions.png",
        "plots/losses.png",
    }
    record = json.loads((job / "config.json").read_text())
    assert record["config"]["latent_dim"] == 8
    assert record["data"]["name"] == "synthetic"
    assert len(record["data"]["md5"]) == 4
    assert {"python", "tensorflow", "keras", "vae-trainer"} <= set(
        record["versions"]
    )
    assert record["sessions"][0]["devices"] == "2 CPU replicas"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--epoch=3"], 2, "Unknown command line flag 'epoch'"),
        (["train"], 2, "'train' is not a flag"),
        (["--resume=must"], 2, "--resume=must, but"),
        (["--data_dir=/no/such/folder"], 1, "no folder /no/such/folder"),
        (["--data_url=http://127.0.0.1:9"], 1, "Connection refused"),
        (
            ["--dataset=synthetic", "--virtual_devices=3"],
            2,
            "use --batch_size=126 or 129",
        ),
        (
            ["--dataset=synthetic", "--train_examples=100"],
            2,
            "use at most --batch_size=100",
        ),
    ],
)
def test_an_error_is_one_sentence_with_its_exit_code(run, flags, code, message):
    found, _, err = run(*flags)
    assert found == code
    assert message in err
    assert err.startswith("ERROR: ")
    assert err.count("\n") == 1


def test_help_exits_well(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert "--kl_warmup_epochs" in out


def test_resume_never_refuses_a_folder_with_anything_in_it(run, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "thesis.txt").write_text("precious")
    code, _, err = run(*SMALL, "--resume=never")
    assert code == 2
    assert "is not empty" in err
    assert (tmp_path / "job" / "thesis.txt").read_text() == "precious"


def test_the_notebooks_recipe_collapses_and_says_so(run, fashion_mnist_dir):
    code, out, err = run(
        "--flagfile=configs/seed_notebook.flags",
        f"--data_dir={fashion_mnist_dir}",
        "--test_examples=1000",
        "--max_steps=300",
    )
    assert code == 0
    assert "0 of 200 latent units active" in out
    assert "Posterior collapse: 0 of 200 latent units are active" in err


def test_a_collapse_is_said_and_recorded(run, tmp_path):
    code, _, err = run(
        *SMALL, "--epochs=2", "--beta=100", "--kl_warmup_epochs=0"
    )
    assert code == 0
    assert "Posterior collapse: 0 of 8 latent units are active" in err
    assert "--kl_warmup_epochs=2" in err
    finished = json.loads((tmp_path / "job" / "finished.json").read_text())
    assert finished["collapsed"] is True


def test_fallback_is_recorded_and_kept_when_the_data_comes_back(run, tmp_path):
    flags = (*SMALL[1:], "--epochs=1", "--dataset_fallback=synthetic")
    code, _, err = run(*flags, "--data_url=http://127.0.0.1:9")
    assert code == 0
    assert "Training on SYNTHETIC images instead" in err
    code, out, err = run(*flags, "--epochs=2")
    assert (code, err) == (0, "")
    assert "images of synthetic" in out


def wait_for(process, text):
    """Reads a job's output until a line has `text`; returns what was read."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"the job ended without {text!r}: {lines}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_75(start, run, tmp_path, number):
    flags = (*SMALL, "--epochs=500")
    process = start(*flags)
    wait_for(process, "Epoch 2")
    process.send_signal(number)
    sent = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert time.monotonic() - sent < 30
    name = signal.Signals(number).name
    assert err.startswith(f"ERROR: Interrupted by {name}: everything is saved")
    step = int(err.split("at step ")[1].split(";")[0])
    assert (tmp_path / "job" / "checkpoints" / f"step-{step:07d}").is_dir()
    code, out, _ = run(*SMALL, "--epochs=2")
    assert code == 0
    assert out.startswith(f"Resuming {tmp_path / 'job'} at step {step}.")


def test_a_signal_during_a_download_exits_75(start, tmp_path):
    class Stalling(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "30000000")
            self.end_headers()
            while True:
                self.wfile.write(bytes(1 << 16))
                time.sleep(0.05)

        def log_message(self, *_):
            """Keeps the test's output clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = start(f"--data_url=http://127.0.0.1:{server.server_port}")
        wait_for(process, "New job")
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        server.shutdown()
    assert process.returncode == 75
    assert "Interrupted by SIGTERM" in err
    assert not list((tmp_path / "keras").rglob("*ubyte*"))
