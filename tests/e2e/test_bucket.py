"""Whole jobs whose job directory is in a bucket, and what goes wrong there."""

import json
import signal
import time

import pytest

import trainer
from tests.fakes import gcs
from tests.tools import deadline, pages
from tests.tools.idx import write_idx_folder
from tests.tools.job_places import BucketPlace
from tests.tools.small_jobs import SMALL, wait_for
from tests.tools.soak import differences
from trainer.job_dir.bucket.claim import STALE_SECONDS
from trainer.model.weights import variables_of
from trainer.runtime.command import LOADING

TWO_EPOCHS = (*SMALL, "--epochs=2")
IMPATIENT = "--storage_timeout_seconds=3"


@pytest.fixture
def server():
    with gcs.serve(bucket="bucket") as server:
        yield server


@pytest.fixture
def place(server, tmp_path):
    """Where a test's job goes in the bucket."""
    return BucketPlace(server, tmp_path / "job")


@pytest.fixture
def run_there(run, place):
    """Runs a process on the job in the bucket; as `run`."""

    def run_there(*flags):
        return run(*flags, job_dir=place.location, **place.environment)

    return run_there


@pytest.fixture
def run_from_here(run_here, place):
    """Runs a command on the job in the bucket; as `run_here`."""

    def run_from_here(*flags, **settings):
        return run_here(
            *flags, job_dir=place.location, **place.environment, **settings
        )

    return run_from_here


def move_to_another_machine(place):
    class Always:
        def random(self):
            return 0.0

    place.move(Always())


def test_a_job_in_a_bucket_equals_one_on_the_disk(
    run_there, run_from_here, place, server, untouched
):
    code, out, err = run_there(*TWO_EPOCHS)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "New job in gs://bucket/job."
    assert "Pictures: gs://bucket/job/plots" in out
    assert "job/claim.json" not in server.objects()
    assert differences(untouched, place.fetch()) == []
    move_to_another_machine(place)
    code, out, err = run_from_here(*TWO_EPOCHS)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Finished: gs://bucket/job is at step 40."


def test_a_resume_is_not_disturbed_by_what_commands_have_written(
    run_from_here, place, server, untouched_here, monkeypatch
):
    assert run_from_here(*SMALL, "--epochs=1")[0] == 0
    few = "--importance_samples=2"
    code, out, err = run_from_here(few, command="vae-evaluate")
    assert (code, err) == (0, "")
    assert "Step 20 of gs://bucket/job" in out
    evaluation = server.objects()["job/evaluation.json"]
    assert json.loads(evaluation)["step"] == 20
    code, out, err = run_from_here("--rows=3", command="vae-generate")
    assert (code, err) == (0, "")
    assert "job/plots/step-0000020/traversals.png" in server.objects()
    server.delete("job/export/saved_model/1/saved_model.pb")
    code, out, err = run_from_here(command="vae-export")
    assert (code, err) == (0, "")
    assert "job/export/saved_model/1/saved_model.pb" in server.objects()
    card = server.objects()["job/export/README.md"].decode()
    for link in pages.links_in(card):
        assert f"job/export/{link}" in server.objects()
    assert "log p(x), K =" in card
    # Somebody has edited it, and put it back.
    server.write("job/export/README.md", b"edited")
    code, out, err = run_from_here(command="vae-export")
    assert (code, err) == (0, "")
    assert (
        "gs://bucket/job/export/README.md is not of this job, and is left."
    ) in out
    assert server.objects()["job/export/README.md"] == b"edited"
    server.delete("job/export/README.md")
    code, out, err = run_from_here(command="vae-gallery")
    assert (code, err) == (0, "")
    page = server.objects()["job/gallery.html"]
    assert b"This job is not finished" not in page
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    vae = trainer.load("gs://bucket/job", 20)
    variables = variables_of(vae, None)
    assert "decoder/decoder_dense/kernel" in variables

    code, out, err = run_from_here(*TWO_EPOCHS)
    assert (code, err) == (0, "")
    assert out.startswith("Resuming gs://bucket/job at step 20.")
    assert differences(untouched_here, place.fetch()) == []
    assert server.objects()["job/evaluation.json"] == evaluation
    assert run_from_here(few, command="vae-evaluate")[0] == 0
    assert json.loads(server.objects()["job/evaluation.json"])["step"] == 40


def test_data_comes_from_a_bucket_once_and_verified(
    run_from_here, place, server, tmp_path
):
    write_idx_folder(tmp_path / "idx", train=64, test=10)
    for path in (tmp_path / "idx").iterdir():
        server.write(f"data/{path.name}", path.read_bytes())
    flags = (*SMALL[3:], "--dataset=idx", "--data_dir=gs://bucket/data")
    code, out, err = run_from_here(*flags, "--max_steps=2")
    assert (code, err) == (0, "")
    assert "Training on 64 images of idx" in out
    server.reset_counters()
    assert run_from_here(*flags, "--max_steps=3")[0] == 0
    asked = [path for method, path in server.requests if "data/" in path]
    assert not any("alt=media" in path for path in asked)
    server.corrupt("data/train-images-idx3-ubyte.gz")
    move_to_another_machine(place)
    code, _, err = run_from_here(*flags, "--max_steps=4")
    assert code == 1
    assert "train-images-idx3-ubyte.gz does not have the checksum" in err


def test_a_killed_job_goes_on_on_another_machine(
    start, run_there, place, untouched
):
    process = start(
        *SMALL, "--epochs=2", "--checkpoint_steps=4", "--steps_per_call=1",
        job_dir=place.location, **place.environment,
    )  # fmt: skip
    wait_for(process, "Epoch 1")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=deadline.SECONDS)
    assert process.returncode == 75
    step = int(err.split("at step ")[1].split(";")[0])
    move_to_another_machine(place)
    code, out, err = run_there(*SMALL, "--epochs=2")
    assert (code, err) == (0, "")
    assert out.startswith(f"Resuming gs://bucket/job at step {step}.")
    assert differences(untouched, place.fetch()) == []


def test_the_second_signal_exits_at_once_and_damages_nothing(
    start, run_there, place, server, untouched
):
    # With this it would be hours until the job gives up by itself.
    patient = "--storage_timeout_seconds=10000"
    process = start(
        *TWO_EPOCHS, patient, job_dir=place.location, **place.environment
    )
    wait_for(process, "Epoch 1")
    server.hold("^POST /upload")
    process.send_signal(signal.SIGTERM)
    deadline.wait_until(lambda: server.held, "upload")
    # Two that come within a second are taken for one.
    time.sleep(3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=deadline.SECONDS)
    assert process.returncode == 75
    server.release()
    move_to_another_machine(place)
    code, _, err = run_there(*TWO_EPOCHS)
    assert (code, err) == (0, "")
    assert differences(untouched, place.fetch()) == []


@pytest.mark.slow
def test_an_outage_exits_75_and_the_next_start_sends_the_rest(
    start, run_there, place, server, untouched
):
    process = start(
        *TWO_EPOCHS, IMPATIENT, job_dir=place.location, **place.environment
    )
    wait_for(process, "Epoch 1")
    server.outage(True)
    _, err = process.communicate(timeout=deadline.SECONDS)
    assert process.returncode == 75, err
    loading, last = err.splitlines()
    assert loading == LOADING
    assert "Not everything is in gs://bucket/job" in last
    server.outage(False)
    code, out, err = run_there(*TWO_EPOCHS)
    assert (code, err) == (0, "")
    assert "New job" not in out
    assert differences(untouched, place.fetch()) == []


def test_a_bucket_that_is_not_there_is_said(run_here, tmp_path, server):
    variables = {
        "STORAGE_EMULATOR_HOST": server.address,
        "XDG_CACHE_HOME": str(tmp_path),
    }
    code, _, err = run_here(
        *SMALL, job_dir="gs://no-such-bucket/a", **variables
    )
    assert code == 1
    assert err.startswith("ERROR: There is no bucket no-such-bucket")
    assert err.count("\n") == 1
    server.fail(403, times=99)
    code, out, err = run_here(*SMALL, job_dir="gs://bucket/a", **variables)
    assert code == 1
    assert "Permission denied" in err
    assert "New job" not in out


def test_could_not_look_is_never_nothing_there(run_from_here, server):
    assert run_from_here(*SMALL, "--epochs=1")[0] == 0
    before = server.objects()
    server.fail(503, times=None, match="GET .*/o\\?")
    code, out, err = run_from_here(*TWO_EPOCHS, IMPATIENT)
    assert code == 75
    assert "The bucket could not be reached when listing" in err
    assert "New job" not in out
    server.forget_faults()
    after = server.objects()
    after.pop("job/claim.json", None)
    assert after == before


def test_a_job_that_lost_its_claim_stops(start, place, server):
    process = start(
        *SMALL, "--epochs=5000", job_dir=place.location, **place.environment
    )
    wait_for(process, "Epoch 1")
    server.write("job/claim.json", json.dumps({"holder": "b"}).encode())
    _, err = process.communicate(timeout=deadline.SECONDS)
    assert process.returncode == 1
    assert "The claim on gs://bucket/job was taken by another job" in err
    assert server.objects()["job/claim.json"] == b'{"holder": "b"}'


def test_a_live_job_elsewhere_is_not_disturbed(
    start, run_from_here, place, server
):
    process = start(
        *SMALL, "--epochs=5000", job_dir=place.location, **place.environment
    )
    wait_for(process, "Epoch 1")
    move_to_another_machine(place)
    server.clock_offset_seconds -= STALE_SECONDS + 1
    code, out, err = run_from_here(*SMALL, "--epochs=5000")
    assert code == 1
    assert "was claimed" in out
    assert "gs://bucket/job is in use by process" in err
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=deadline.SECONDS)
    assert process.returncode == 75
