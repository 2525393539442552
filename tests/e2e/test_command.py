"""Whole jobs, as their user runs them: a command, its output, its files."""

import http.server
import json
import shutil
import signal
import threading
import time

import pytest

from tests.tools import deadline
from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL, wait_for
from trainer.runtime.command import LOADING


def test_a_job_that_has_finished_is_resumed_for_more_and_then_has_finished(
    run_here, one_epoch_here, job_dir
):
    shutil.copytree(one_epoch_here, job_dir)
    code, out, err = run_here(*SMALL, "--epochs=2", job_dir=job_dir)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"Resuming {job_dir} at step 20."
    code, out, err = run_here(*SMALL, "--epochs=2", job_dir=job_dir)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"Finished: {job_dir} is at step 40."]


def test_the_job_directory_tells_everything(untouched):
    job_dir = untouched
    files = {
        str(path.relative_to(job_dir)).rpartition(".tfevents")[0]
        or str(path.relative_to(job_dir))
        for path in job_dir.rglob("*")
        if path.is_file()
    }
    assert files == {
        "claim.lock",
        "config.json",
        "finished.json",
        "goodput.json",
        "metrics.jsonl",
        "logs/train/events.out",
        "logs/test/events.out",
        "logs/test/projector_config.pbtxt",
        "logs/test/projector/metadata.tsv",
        "logs/test/projector/posterior_means.bytes",
        "logs/test/projector/sprite.png",
        "checkpoints/step-0000020/manifest.json",
        "checkpoints/step-0000020/state.npz",
        "checkpoints/step-0000040/manifest.json",
        "checkpoints/step-0000040/state.npz",
        "plots/generated.png",
        "plots/reconstructions.png",
        "plots/losses.png",
        "export/encoder.keras",
        "export/decoder.keras",
        "export/saved_model/1/fingerprint.pb",
        "export/saved_model/1/saved_model.pb",
        "export/saved_model/1/variables/variables.index",
        "export/saved_model/1/variables/variables.data-00000-of-00001",
    }
    record = json.loads((job_dir / "config.json").read_text())
    assert record["config"]["latent_dim"] == 8
    assert record["data"]["name"] == "synthetic"
    assert len(record["data"]["md5"]) == 4
    assert {"python", "tensorflow", "keras", "vae-trainer"} <= set(
        record["versions"]
    )
    assert record["sessions"][0]["devices"] == "1 CPU replica"


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
def test_an_error_is_one_sentence_with_its_exit_code(
    run_here, flags, code, message, job_dir
):
    found, _, err = run_here(*flags, job_dir=job_dir)
    assert found == code
    assert message in err
    assert err.startswith("ERROR: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--epoch=3"],
        ["--epochs=0"],
        ["--dataset=idx"],
        ["--virtual_devices=3"],
        ["--train_examples=100"],
        ["--strategy=multi_worker"],
    ],
)
def test_wrong_flags_leave_nothing_on_the_disk(run, job_dir, flags):
    assert run(*flags, job_dir=job_dir)[0] == 2
    assert not job_dir.exists()


def test_the_printed_config_starts_the_same_job(run, job_dir, tmp_path):
    code, printed, err = run(*SMALL, "--print_config", job_dir=job_dir)
    assert (code, err) == (0, "")
    assert not job_dir.exists()
    path = tmp_path / "printed.flags"
    path.write_text(printed)
    again = run("--print_config", f"--flagfile={path}", job_dir="elsewhere")
    assert again == (0, printed, "")


def test_help_exits_well(run, job_dir):
    code, out, err = run("--help", job_dir=job_dir)
    assert (code, err) == (0, "")
    assert "--kl_warmup_epochs" in out


def test_resume_never_refuses_a_folder_with_anything_in_it(run_here, job_dir):
    job_dir.mkdir()
    (job_dir / "thesis.txt").write_text("precious")
    code, _, err = run_here(*SMALL, "--resume=never", job_dir=job_dir)
    assert code == 2
    assert "is not empty" in err
    assert (job_dir / "thesis.txt").read_text() == "precious"


def test_resume_never_starts_in_a_folder_that_is_empty(run_here, job_dir):
    job_dir.mkdir()
    flags = (*SMALL, "--max_steps=2", "--resume=never")
    assert run_here(*flags, job_dir=job_dir)[0] == 0
    code, _, err = run_here(*flags, job_dir=job_dir)
    assert code == 2
    assert "is not empty" in err


@pytest.mark.slow
def test_the_notebooks_recipe_collapses_and_says_so(
    run_here, fashion_mnist_dir, job_dir
):
    code, out, err = run_here(
        f"--flagfile={ROOT / 'configs' / 'seed_notebook.flags'}",
        f"--data_dir={fashion_mnist_dir}",
        "--test_examples=1000",
        "--max_steps=150",
        job_dir=job_dir,
    )
    assert code == 0
    assert "0 of 200 latent units active" in out
    assert "Posterior collapse: 0 of 200 latent units active" in err


def test_a_collapse_is_said_and_recorded(run_here, job_dir):
    code, _, err = run_here(
        *SMALL,
        "--epochs=2",
        "--beta=100",
        "--kl_warmup_epochs=0",
        job_dir=job_dir,
    )
    assert code == 0
    assert "Posterior collapse: 0 of 8 latent units active" in err
    assert "--kl_warmup_epochs=2" in err
    finished = json.loads((job_dir / "finished.json").read_text())
    assert finished["collapsed"] is True


@pytest.mark.slow
def test_fallback_is_recorded_and_kept_when_the_data_comes_back(
    run_here, job_dir
):
    flags = (*SMALL[1:], "--epochs=1", "--dataset_fallback=synthetic")
    code, _, err = run_here(
        *flags, "--data_url=http://127.0.0.1:9", job_dir=job_dir
    )
    assert code == 0
    assert "Training on SYNTHETIC images instead" in err
    code, out, err = run_here(*flags, "--epochs=2", job_dir=job_dir)
    assert (code, err) == (0, "")
    assert "images of synthetic" in out


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
)
def test_a_signal_saves_and_exits_75(
    start, run_here, job_dir, tmp_path, number
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = start(
        *SMALL, "--epochs=500", job_dir=job_dir, TMPDIR=str(temporary)
    )
    wait_for(process, "Epoch 2")
    process.send_signal(number)
    _, err = process.communicate(timeout=deadline.SECONDS)
    assert process.returncode == 75
    name = signal.Signals(number).name
    loading, last = err.splitlines()
    assert loading == LOADING
    assert last.startswith(f"Interrupted by {name}: everything is saved")
    step = int(err.split("at step ")[1].split(";")[0])
    # At once: not when an epoch or all of them have ended.
    assert step < 500 * 20
    assert (job_dir / "checkpoints" / f"step-{step:07d}").is_dir()
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    code, out, _ = run_here(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 0
    assert out.startswith(f"Resuming {job_dir} at step {step}.")


def test_a_signal_during_a_download_exits_75(start, job_dir, tmp_path):
    came = threading.Event()

    class Stalling(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            came.set()
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
        process = start(
            f"--data_url=http://127.0.0.1:{server.server_port}",
            job_dir=job_dir,
            KERAS_HOME=str(tmp_path / "keras"),
        )
        assert came.wait(deadline.SECONDS)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=deadline.SECONDS)
        server.shutdown()
    assert process.returncode == 75
    # Nothing has begun yet.
    assert "New job" not in out
    assert "Interrupted by SIGTERM" in err
    assert not list((tmp_path / "keras").rglob("*ubyte*"))


@pytest.mark.slow
def test_a_machine_is_examined_before_it_trains(run_here, job_dir):
    flags = ("--doctor", *SMALL, "--epochs=1")
    elsewhere = ("--data_dir=/no/such/folder", "--dataset=prepared")
    code, out, err = run_here(*flags, *elsewhere, job_dir=job_dir)
    assert code == 1
    assert "failure  data                " in out
    assert "/no/such/folder" in out
    assert "this machine cannot run the job (exit code 1)" in err
    assert not job_dir.exists()
    code, out, err = run_here(*flags, job_dir=job_dir)
    assert code == 0, out + err
    examined, _, trained = out.partition(f"New job in {job_dir}.")
    assert "ok       job                 a new job" in examined
    assert "0 failures" in examined
    assert "Finished at step 20" in trained
    # It is no setting of the job.
    assert "doctor" not in (job_dir / "config.json").read_text()
