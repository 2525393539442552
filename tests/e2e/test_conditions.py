"""What the world does to a job: full disks, damage, rivals, signals."""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.tools import deadline
from tests.tools.deadline import wait_until
from tests.tools.small_jobs import SMALL, wait_for
from tests.tools.soak import differences
from trainer.runtime.command import LOADING


@pytest.fixture
def tmpfs(tmp_path):
    """Returns a function that mounts a small file system of its own."""
    mounted = []

    def mount(options, folder=tmp_path / "disk"):
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_loses_nothing_that_was_saved(
    run_here, tmpfs, untouched_here
):
    flags = (*SMALL, "--epochs=2", "--checkpoint_steps=4")
    disk = tmpfs("size=5m")
    job = disk / "job"
    code, _, err = run_here(*flags, job_dir=job)
    assert code == 1
    assert err == (
        "ERROR: The disk is full; what was saved before is kept. Free some "
        "space and run the same command again.\n"
    )
    assert list((job / "checkpoints").iterdir())
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    code, out, err = run_here(*flags, job_dir=job)
    assert (code, err) == (0, "")
    assert out.startswith("Resuming")
    assert differences(untouched_here, job) == []


def test_a_read_only_folder_is_said(run_here, tmpfs):
    disk = tmpfs("ro,size=1m")
    code, _, err = run_here(*SMALL, job_dir=disk / "job")
    assert code == 1
    assert err.startswith("ERROR: The file system is read-only")
    assert err.count("\n") == 1


def test_a_job_directory_that_is_a_file_is_said(run_here, job_dir):
    job_dir.write_text("precious")
    code, _, err = run_here(*SMALL, job_dir=job_dir)
    assert code == 1
    assert "is a file. Give another --job_dir." in err
    assert job_dir.read_text() == "precious"


def test_a_second_job_on_the_same_directory_is_refused(
    start, run_here, job_dir
):
    first = start(*SMALL, "--epochs=500", job_dir=job_dir)
    # The state of the first epoch is saved by then: that of the second was
    # handed over, which waits for the one before.
    wait_for(first, "Epoch 3")
    code, _, err = run_here(*SMALL, "--epochs=500", job_dir=job_dir)
    assert code == 1
    assert f"is in use by process {first.pid} on " in err
    assert first.poll() is None
    # The kernel releases the claim of a process that was killed.
    first.kill()
    first.communicate()
    code, out, _ = run_here(*SMALL, "--epochs=1", job_dir=job_dir)
    assert code == 0
    assert out.startswith("Resuming")


@pytest.fixture
def finished(untouched_here, job_dir):
    """A job of two epochs, saved at steps 20 and 40, that has ended."""
    return shutil.copytree(untouched_here, job_dir)


def test_a_job_with_a_damaged_checkpoint_still_equals_the_untouched_one(
    run_here, finished, untouched_here
):
    path = finished / "checkpoints" / "step-0000040" / "state.npz"
    path.write_bytes(path.read_bytes()[:100])
    code, out, err = run_here(*SMALL, "--epochs=2", job_dir=finished)
    assert code == 0
    assert "The checkpoint of step 40 is damaged" in err
    assert out.startswith(f"Resuming {finished} at step 20.")
    assert differences(untouched_here, finished) == ["damaged"]


def test_all_checkpoints_damaged_stops_the_job(run_here, finished):
    before = (finished / "metrics.jsonl").read_bytes()
    for path in finished.glob("checkpoints/*/state.npz"):
        path.write_bytes(b"")
    code, _, err = run_here(*SMALL, "--epochs=3", job_dir=finished)
    assert code == 1
    assert "Every checkpoint" in err
    assert "nothing was changed" in err
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_the_record_of_a_newer_version_is_refused(run_here, finished):
    record = json.loads((finished / "config.json").read_text())
    record["format"] = 99
    record["versions"]["vae-trainer"] = "9.1.0"
    (finished / "config.json").write_text(json.dumps(record))
    code, _, err = run_here(*SMALL, "--epochs=3", job_dir=finished)
    assert code == 2
    assert "has format 99, written by vae-trainer 9.1.0" in err
    (finished / "config.json").unlink()
    code, _, err = run_here(*SMALL, "--epochs=3", job_dir=finished)
    assert code == 1
    assert "holds checkpoints of steps 20, 40 but no config.json" in err


def test_a_torn_last_row_does_not_show(
    run_here, one_epoch_here, job_dir, untouched_here
):
    shutil.copytree(one_epoch_here, job_dir)
    with (job_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 25, "epoch": 2, "spl')
    events = max((job_dir / "logs" / "train").iterdir())
    with events.open("ab") as file:
        file.write(b"\x20\x00\x00\x00\x00\x00\x00\x00half a record")
    code, _, _ = run_here(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 0
    assert differences(untouched_here, job_dir) == []


def catches(process, number):
    """Whether a process has a handler of its own for a signal."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)[1], 16)
    return bool(caught >> (number - 1) & 1)


def test_a_signal_before_tensorflow_has_loaded_exits_75(start, job_dir):
    process = start(*SMALL, job_dir=job_dir)
    wait_until(lambda: catches(process, signal.SIGTERM), "signal handler")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=deadline.SECONDS)
    assert process.returncode == 75
    # The signal may come just before TensorFlow is loaded, or meanwhile.
    assert err.removeprefix(f"{LOADING}\n") == (
        "Interrupted by SIGTERM: nothing was lost; run the same command again "
        "to go on.\n"
    )


@pytest.mark.parametrize("command", ["generate", "evaluate", "export"])
def test_commands_read_any_checkpoint(run_here, finished, command):
    before = {path for path in finished.rglob("*") if path.is_file()}

    def ask(*flags):
        return run_here(*flags, job_dir=finished, command=f"vae-{command}")

    few = {"evaluate": ["--importance_samples=2"]}.get(command, [])
    for wanted, step in (("last", 40), ("20", 20)):
        code, out, err = ask(f"--checkpoint={wanted}", *few)
        assert (code, err) == (0, "")
        assert f"tep {step}" in out
    code, _, err = ask("--checkpoint=33")
    assert code == 1
    assert "it has those of steps 20, 40" in err
    code, _, err = ask("--epochs=3")
    assert code == 2
    made = {path for path in finished.rglob("*") if path.is_file()} - before
    assert {path.name for path in made} == {
        "generate": {
            "generated.png",
            "reconstructions.png",
            "interpolations.png",
            "traversals.png",
            "manifold.png",
            "classes.png",
            "latent_map.png",
        },
        "evaluate": {"evaluation.json"},
        # The end of the job has exported the model before.
        "export": {"README.md", "draws.png"},
    }[command]


@pytest.mark.slow
def test_a_signal_at_the_very_end_does_not_replace_the_exit_code(
    start, job_dir
):
    process = start(*SMALL, "--max_steps=2", job_dir=job_dir)
    wait_for(process, "Finished")
    # Python takes a while to end with TensorFlow loaded.
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    process.communicate()
    assert process.returncode in (0, 75)


def test_a_closed_terminal_saves_a_job_whose_reader_has_gone(start, job_dir):
    # As a job in a terminal has it, where the tests do not: under nohup.
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = start(*SMALL, "--epochs=500", job_dir=job_dir)
    signal.signal(signal.SIGHUP, ours)
    wait_for(process, "New job in")
    process.stdout.close()
    # That the reader has gone shows at the next line; the job goes on.
    checkpoints = job_dir / "checkpoints"
    wait_until(lambda: checkpoints.is_dir() and any(checkpoints.iterdir()))
    shutil.rmtree(job_dir / "logs")
    process.send_signal(signal.SIGHUP)
    loading, *warnings, last = process.stderr.read().splitlines()
    assert loading == LOADING
    assert process.wait(deadline.SECONDS) == 75
    assert re.fullmatch(
        r"Interrupted by SIGHUP: everything is saved at step \d+; run the same "
        "command again to go on.",
        last,
    )
    assert [line for line in warnings if "written again" not in line] == [
        "WARNING: Nothing more can be written to stdout (Broken pipe): its "
        "lines end here, and the work goes on."
    ]
    assert (job_dir / "logs" / "train").is_dir()
