"""What becomes of a job on Vertex AI."""

import os
import re

import pytest
from google.cloud import aiplatform_v1

from tests.fakes import gcs, vertex_api
from tests.tools.recorded_jobs import record
from tests.tools.submit_command import SUBMIT, vae_submit
from trainer.submit import waiting

JOB_DIR = "gs://my-bucket/runs/vae"
WHERE = ("--project=my-project", "--region=us-central1")
NAME = "projects/my-project/locations/us-central1/customJobs/{}"
PROGRESS = "epoch 12 of 30, test loss 25.1, 36 minutes left, interrupted twice"
SEARCH = ("--tune=latent_dim=2,20", "--trials=2")


@pytest.fixture
def api(monkeypatch, tmp_path):
    """A service, and the bucket of the job that `SUBMIT` sends."""
    with (
        vertex_api.serve() as server,
        gcs.serve(bucket="my-bucket") as bucket,
    ):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.address)
        folder = record(tmp_path / "job", epoch=12, loss=25.1, ends=[None] * 3)
        for path in folder.iterdir():
            bucket.write(f"runs/vae/{path.name}", path.read_bytes(), "job")
        yield server


def submit(api, *words):
    outcome = vae_submit(*SUBMIT, f"--api_endpoint={api.address}", *words)
    assert outcome.exit_code == 0, outcome.err
    for number, job in enumerate(api.jobs.values()):
        job.create_time = f"2026-11-{number + 1:02d}T10:00:00Z"


def ask(api, *words):
    return vae_submit("vertex", *words, f"--api_endpoint={api.address}")


def become(api, number, state):
    job = api.jobs[NAME.format(number)]
    job.state = aiplatform_v1.JobState[f"JOB_STATE_{state}"]


def test_status_has_the_state_and_the_progress(api):
    submit(api)
    submit(api, "--name=night", f"--job_dir={JOB_DIR}/night")
    for which in ([NAME.format(1)], ["vae", *WHERE]):
        assert ask(api, "status", *which) == (
            0,
            "vae: pending\nCreated: 2026-11-01 10:00:00 UTC\n"
            f"Progress: {PROGRESS}\n",
            "",
        )
    outcome = ask(api, "status", f"--job_dir={JOB_DIR}/night/", *WHERE)
    assert outcome.out.splitlines() == [
        "night: pending",
        "Created: 2026-11-02 10:00:00 UTC",
        "Progress: not started",
    ]


def test_a_search_has_no_progress_of_its_own(api):
    submit(api, *SEARCH)
    outcome = ask(api, "status", f"--job_dir={JOB_DIR}", *WHERE)
    assert "Progress" not in outcome.out
    assert outcome.out.startswith("vae: pending\n")


def test_what_is_not_there_is_told_from_what_has_not_started(api):
    for verb in ("status", "logs", "cancel"):
        outcome = ask(api, verb, "night", *WHERE)
        assert outcome.err.startswith("ERROR: Vertex AI knows no job night;")
        assert (outcome.exit_code, outcome.out) == (1, "")
        outcome = ask(api, verb, "night")
        assert "For the name night, give --project and --reg" in outcome.err
        assert outcome.exit_code == 2
    assert ask(api, "status", 'a" OR "b', *WHERE).exit_code == 2
    assert ask(api, "list", "--project=p", "--region=x.com#").exit_code == 2
    outcome = ask(api, "status", "--job_dir=gs://my-bucket/none", *WHERE)
    assert outcome == (
        0,
        "Vertex AI knows no job of gs://my-bucket/none.\n"
        "Progress: not started\n",
        "",
    )


def test_list_has_trainings_and_searches_the_newest_first(api):
    submit(api)
    submit(api, *SEARCH)
    submit(api, "--name=night")
    become(api, 1, "FAILED")
    lines = ask(api, "list", *WHERE).out.splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["NAME", "STATE", "TITLE", "JOB_DIR"],
        [NAME.format(3), "pending", "night", JOB_DIR],
        [
            NAME.format(2).replace("customJ", "hyperparameterTuningJ"),
            *("pending", "vae", JOB_DIR),
        ],
        [NAME.format(1), "failed", "vae", JOB_DIR],
    ]


def test_cancel_says_what_becomes_of_the_state(api):
    submit(api)
    become(api, 1, "SUCCEEDED")
    submit(api)
    outcome = ask(api, "cancel", "vae", *WHERE)
    assert outcome.out.startswith(f"Cancelling {NAME.format(2)}: a training ")
    assert outcome.exit_code == 0
    become(api, 2, "CANCELLED")
    outcome = ask(api, "cancel", NAME.format(2))
    assert outcome.err == (
        f"ERROR: {NAME.format(2)} has ended (cancelled); there is nothing to "
        "cancel.\n"
    )
    assert outcome.exit_code == 1


def test_logs_are_those_that_gcloud_shows(api, tmp_path, monkeypatch):
    submit(api)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = ask(api, "logs", NAME.format(1))
    assert outcome.err.startswith("ERROR: There is no gcloud on this machine;")
    assert outcome.exit_code == 1
    program = tmp_path / "gcloud"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    assert ask(api, "logs", NAME.format(1)) == (
        0,
        f"ai custom-jobs stream-logs {NAME.format(1)}\n",
        "",
    )
    program.write_text("#!/bin/sh\necho 'ERROR: no rights.' >&2\nexit 1\n")
    outcome = ask(api, "logs", NAME.format(1))
    assert outcome.err == (
        "ERROR: gcloud did not show the logs: ERROR: no rights.\n"
    )
    assert outcome.exit_code == 1


@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED"])
def test_waiting_ends_as_the_job_does(api, monkeypatch, end):
    monkeypatch.setattr(waiting, "_POLL_SECONDS", 0.01)
    states = iter(["RUNNING", "RUNNING", end])
    answer = api.answer

    def go_on(method, path, body):
        if method == "GET":
            become(api, 1, next(states))
        return answer(method, path, body)

    api.answer = go_on
    outcome = vae_submit(*SUBMIT, f"--api_endpoint={api.address}", "--wait")
    assert [line[9:] for line in outcome.out.splitlines()[-3:]] == [
        f"pending: {PROGRESS}",
        f"running: {PROGRESS}",
        f"{end.lower()}: {PROGRESS}",
    ]
    assert outcome.exit_code == (end == "FAILED")


def test_a_gpu_that_the_client_does_not_know_is_not_called_wrong(api):
    words = ("--accelerator=NVIDIA_L5", "--gpus=1", "--machine_type=g5-x-8")
    outcome = vae_submit(*SUBMIT, f"--api_endpoint={api.address}", *words)
    assert "WARNING: --machine_type=g5-x-8 is not in" in outcome.err
    assert "does not know --accelerator=NVIDIA_L5; correct" in outcome.err
    assert (outcome.exit_code, api.requests) == (2, [])
