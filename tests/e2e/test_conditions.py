"""What the world does to a job: full disks, damage, rivals, signals."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.tools.small_jobs import SMALL, wait_for
from tests.tools.soak import differences


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


def test_a_full_disk_loses_nothing_that_was_saved(run, tmpfs, untouched):
    flags = (*SMALL, "--epochs=2", "--checkpoint_steps=4")
    disk = tmpfs("size=5m")
    job = disk / "job"
    code, _, err = run(*flags, job_dir=job)
    assert code == 1
    assert err == (
        "ERROR: The disk is full; what was saved before is kept. Free some "
        "space and run the same command again.\n"
    )
    assert list((job / "checkpoints").iterdir())
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    code, out, err = run(*flags, job_dir=job)
    assert (code, err) == (0, "")
    assert out.startswith("Resuming")
    assert differences(untouched, job) == []


def test_a_read_only_folder_is_said(run, tmpfs):
    disk = tmpfs("ro,size=1m")
    code, _, err = run(*SMALL, job_dir=disk / "job")
    assert code == 1
    assert err.startswith("ERROR: The file system is read-only")
    assert err.count("\n") == 1


def test_a_job_directory_that_is_a_file_is_said(run, job_dir):
    job_dir.write_text("precious")
    code, _, err = run(*SMALL, job_dir=job_dir)
    assert code == 1
    assert "is a file. Give another --job_dir." in err
    assert job_dir.read_text() == "precious"


def test_a_second_job_on_the_same_directory_is_refused(start, run, job_dir):
    first = start(*SMALL, "--epochs=500", job_dir=job_dir)
    wait_for(first, "Epoch 1")
    code, _, err = run(*SMALL, "--epochs=500", job_dir=job_dir)
    assert code == 1
    assert f"is in use by process {first.pid} on " in err
    assert first.poll() is None
    # The kernel releases the claim of a process that was killed.
    first.kill()
    first.communicate()
    code, out, _ = run(*SMALL, "--epochs=1", job_dir=job_dir)
    assert code == 0
    assert out.startswith("Resuming")


def test_a_job_with_a_damaged_checkpoint_still_equals_the_untouched_one(
    run, job_dir, untouched
):
    code, _, _ = run(
        *SMALL, "--epochs=1", "--checkpoint_steps=8", job_dir=job_dir
    )
    assert code == 0
    path = job_dir / "checkpoints" / "step-0000020" / "state.npz"
    path.write_bytes(path.read_bytes()[:100])
    code, out, err = run(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 0
    assert "The checkpoint of step 20 is damaged" in err
    assert out.startswith(f"Resuming {job_dir} at step 16.")
    assert differences(untouched, job_dir) == ["damaged"]


def test_all_checkpoints_damaged_stops_the_job(run, job_dir):
    run(*SMALL, "--epochs=1", job_dir=job_dir)
    before = (job_dir / "metrics.jsonl").read_bytes()
    for path in job_dir.glob("checkpoints/*/state.npz"):
        path.write_bytes(b"")
    code, _, err = run(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 1
    assert "Every checkpoint" in err
    assert "nothing was changed" in err
    assert (job_dir / "metrics.jsonl").read_bytes() == before


def test_the_record_of_a_newer_version_is_refused(run, job_dir):
    run(*SMALL, "--epochs=1", job_dir=job_dir)
    record = json.loads((job_dir / "config.json").read_text())
    record["format"] = 99
    record["versions"]["vae-trainer"] = "9.1.0"
    (job_dir / "config.json").write_text(json.dumps(record))
    code, _, err = run(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 2
    assert "has format 99, written by vae-trainer 9.1.0" in err
    (job_dir / "config.json").unlink()
    code, _, err = run(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 1
    assert "holds checkpoints of steps 20 but no config.json" in err


def test_a_torn_last_row_does_not_show(run, job_dir, untouched):
    run(*SMALL, "--epochs=1", job_dir=job_dir)
    with (job_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 25, "epoch": 2, "spl')
    events = max((job_dir / "logs" / "train").iterdir())
    with events.open("ab") as file:
        file.write(b"\x20\x00\x00\x00\x00\x00\x00\x00half a record")
    code, _, _ = run(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 0
    assert differences(untouched, job_dir) == []


def test_the_second_signal_exits_at_once_and_damages_nothing(
    start, run, job_dir, untouched
):
    process = start(
        *SMALL, "--epochs=500", "--steps_per_call=100000", job_dir=job_dir
    )
    wait_for(process, "Epoch 1")
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.01)
    sent = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert time.monotonic() - sent < 5
    code, _, _ = run(*SMALL, "--epochs=2", job_dir=job_dir)
    assert code == 0


def test_a_signal_before_tensorflow_has_loaded_exits_75(start, job_dir):
    process = start(*SMALL, job_dir=job_dir)
    time.sleep(0.8)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert err == (
        "Interrupted by SIGTERM: nothing was lost; run the same command again "
        "to go on.\n"
    )


@pytest.mark.parametrize("command", ["generate", "evaluate", "export"])
def test_commands_read_any_checkpoint(run, tmp_path, untouched, command):
    job_dir = shutil.copytree(untouched, tmp_path / "job")
    before = {path for path in job_dir.rglob("*") if path.is_file()}

    def ask(*flags):
        module = f"trainer.commands.{command}"
        return run(*flags, job_dir=job_dir, module=module)

    for wanted, step in (("last", 40), ("20", 20)):
        code, out, err = ask(f"--checkpoint={wanted}")
        assert (code, err) == (0, "")
        assert f"tep {step}" in out
    code, _, err = ask("--checkpoint=33")
    assert code == 1
    assert "it has those of steps 20, 40" in err
    code, _, err = ask("--epochs=3")
    assert code == 2
    made = {path for path in job_dir.rglob("*") if path.is_file()} - before
    assert {path.name for path in made} == {
        "generate": {
            "generated.png",
            "reconstructions.png",
            "interpolations.png",
            "traversals.png",
            "manifold.png",
            "classes.png",
        },
        "evaluate": {"evaluation.json"},
        "export": set(),  # The end of the job has exported them before.
    }[command]


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
