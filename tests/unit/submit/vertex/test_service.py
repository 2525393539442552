import copy
import json
import threading

import pytest
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from tests.fakes import gcs, vertex_api
from tests.tools.submit_command import SUBMIT, vae_submit
from trainer.errors import ConfigError, ServiceUnavailableError
from trainer.submit.vertex import service

PARENT = "projects/my-project/locations/us-central1"
KINDS = {
    "customJobs": (),
    "hyperparameterTuningJobs": (
        "--tune=learning_rate=1e-4..1e-2:log",
        "--tune=latent_dim=2,20,200",
        "--trials=3",
    ),
}
COMMANDS = {"customJobs": "custom-jobs"}
COMMANDS["hyperparameterTuningJobs"] = "hp-tuning-jobs"


@pytest.fixture
def api(monkeypatch):
    """A service, and an empty bucket of the jobs."""
    with (
        vertex_api.serve() as server,
        gcs.serve(bucket="my-bucket") as bucket,
    ):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.address)
        yield server


@pytest.fixture(params=KINDS)
def collection(request):
    return request.param


def submit(api, *words):
    return vae_submit(*SUBMIT, f"--api_endpoint={api.address}", *words)


def ask(api, action, name):
    endpoint = f"--api_endpoint={api.address}"
    return vae_submit("vertex", action, name, endpoint)


def test_the_service_gets_what_the_dry_run_printed(api, collection):
    words = (
        *KINDS[collection],
        "--workers=4",
        "--gpus=8",
        "--accelerator=NVIDIA_L4",
        "--spot",
        "--timeout_hours=24",
        "--",
        "--epochs=100",
        "--batch_size=4096",
    )
    outcome = submit(api, *words)
    assert outcome.exit_code == 0, outcome.err
    (job,) = api.jobs.values()
    assert api.requests[0][1].startswith(f"/v1/{PARENT}/{collection}")
    sent = type(job)(job)
    sent.name, sent.state = "", 0
    printed = type(job)()
    json_format.ParseDict(
        json.loads(submit(api, "--dry_run", *words).out), printed._pb
    )
    assert sent == printed
    assert len(api.requests) == 1


def test_a_submission_says_where_to_watch(api, collection):
    lines = submit(api, *KINDS[collection]).out.splitlines()
    name = f"{PARENT}/{collection}/1"
    folder = "gs://my-bucket/runs/vae"
    watch = (
        f"--logdir={folder}/logs --reload_interval=60"
        if collection == "customJobs"
        else f"--logdir={folder} --reload_interval=300"
    )
    assert lines == [
        f"Submitted: {name} (pending)",
        "Console: https://console.cloud.google.com/agent-platform/locations/"
        "us-central1/training/1?project=my-project",
        f"Logs: gcloud ai {COMMANDS[collection]} stream-logs {name}",
        f"TensorBoard: tensorboard {watch}",
        f"Status: vae-submit vertex status {name}",
        f"Cancel: vae-submit vertex cancel {name}",
    ]


def test_status_and_cancel_take_the_name_that_the_submission_printed(
    api, collection
):
    name = submit(api, *KINDS[collection]).out.split()[1]
    assert ask(api, "status", name).out.startswith("vae: pending\n")
    assert ask(api, "cancel", name).exit_code == 0
    outcome = ask(api, "status", name)
    assert outcome.out.startswith("vae: cancelling\n")
    assert outcome.exit_code == 0


def test_status_tells_when_and_why_a_job_failed(api):
    name = submit(api).out.split()[1]
    json_format.ParseDict(
        {
            "state": "JOB_STATE_FAILED",
            "startTime": "2026-01-02T03:04:05Z",
            "error": {
                "code": 3,
                "message": "The replica\nworkerpool0-0 exited.",
            },
        },
        api.jobs[name]._pb,
    )
    assert ask(api, "status", name).out == (
        "vae: failed\n"
        "Started: 2026-01-02 03:04:05 UTC\n"
        "Error: The replica workerpool0-0 exited\n"
        "Progress: not started\n"
    )


def test_status_lists_trials_best_first(api):
    name = submit(api, *KINDS["hyperparameterTuningJobs"]).out.split()[1]
    trials = [
        {
            "id": str(number),
            "state": state,
            "parameters": [
                {"parameterId": "learning_rate", "value": rate},
                {"parameterId": "latent_dim", "value": "20"},
                {"parameterId": "epochs", "value": 30.0},
            ],
            "finalMeasurement": {
                "metrics": [
                    {"metricId": "total_loss", "value": loss} for loss in losses
                ]
            },
        }
        for number, state, rate, losses in (
            (1, "ACTIVE", 0.005, []),
            (2, "SUCCEEDED", 0.01, [31.5]),
            (3, "SUCCEEDED", 0.001, [25.25]),
            (4, "REQUESTED", 0.002, []),
        )
    ]
    json_format.ParseDict(
        {"state": "JOB_STATE_RUNNING", "trials": trials}, api.jobs[name]._pb
    )
    rest = "latent_dim=20, epochs=30"
    assert ask(api, "status", name).out.splitlines() == [
        "vae: running",
        f"Trial 3: test loss 25.2500, learning_rate=0.001, {rest} (succeeded)",
        f"Trial 2: test loss 31.5000, learning_rate=0.01, {rest} (succeeded)",
        f"Trial 1: learning_rate=0.005, {rest} (active)",
        f"Trial 4: learning_rate=0.002, {rest} (requested)",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--", "--epoch=3"],
        ["--", "train"],
        ["train"],
        ["--gpus=8", "--accelerator=NVIDIA_L4", "--", "--batch_size=100"],
        ["--", "--data_dir=/data"],
        ["--image="],
        ["--gpus=3", "--accelerator=NVIDIA_L4", "--", "--batch_size=96"],
        ["--accelerator=NVIDIA_T4", "--gpus=1"],
        ["--machine_type=a2-highgpu-1g"],
        ["--tune=learning_rate=0..1", "--trials=3"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_sends_nothing(api, words):
    assert submit(api, *words).exit_code == 2
    assert api.requests == []


def misspell(spec):
    spec["jobSpec"]["schedulin"] = spec["jobSpec"].pop("scheduling")


def wrong_enum(spec):
    spec["jobSpec"]["scheduling"]["strategy"] = "CHEAP"


def wrong_gpu(spec):
    machine = spec["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]
    machine.update(acceleratorType="NVIDIA_L5", acceleratorCount=1)


def wrong_type(spec):
    spec["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] = "two"


def wrong_structure(spec):
    spec["jobSpec"]["workerPoolSpecs"] = "none"


def no_pool(spec):
    del spec["jobSpec"]["workerPoolSpecs"]


def no_image(spec):
    del spec["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["imageUri"]


def no_container(spec):
    del spec["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]


def wrong_machine(spec):
    machine = spec["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]
    machine["machineType"] = "g2-standard-8"


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (misspell, "schedulin"),
        (wrong_enum, "CHEAP"),
        (wrong_gpu, "NVIDIA_L5"),
        (wrong_type, "two"),
        (wrong_structure, "none"),
        (no_pool, "has no workerPoolSpecs"),
        (no_image, "has no image"),
        (no_container, "has no image"),
        (wrong_machine, "does not go with no GPU"),
    ],
)
def test_a_wrong_spec_is_found_before_anything_is_sent(
    api, stop, plant, message
):
    right = json.loads(submit(api, "--dry_run").out)
    target = ("my-project", "us-central1", api.address, stop)
    wrong = copy.deepcopy(right)
    plant(wrong)
    with pytest.raises(ConfigError) as error:
        service.create(service.CUSTOM_JOB, wrong, *target)
    assert message in str(error.value)
    assert api.requests == []
    service.create(service.CUSTOM_JOB, right, *target)
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "exit_code", "message"),
    [
        (400, 2, "refuses the job as described: The server's words"),
        (401, 1, "run `gcloud auth application-default login`"),
        (403, 1, "Permission denied (The server's words); ask for the role"),
        (404, 1, "does not find it (The server's words); look at the project"),
        (409, 1, "said no (409: The server's words)"),
        (429, 1, "quota of the project is used up (The server's words)"),
        (500, 75, "try again"),
        (503, 75, "a problem of its own (503: The server's words)"),
        (504, 75, "look whether the job is there"),
    ],
)
def test_a_refusal_is_one_sentence_and_is_not_repeated(
    api, status, exit_code, message
):
    api.failure = (status, "The server's\nwords.")
    for action in ("submit", "status", "cancel"):
        api.requests.clear()
        outcome = (
            submit(api)
            if action == "submit"
            else ask(api, action, f"{PARENT}/customJobs/1")
        )
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
        assert (outcome.exit_code, outcome.out) == (exit_code, "")
        assert len(api.requests) == 1


def test_a_signal_while_the_service_is_asked_does_not_wait_for_it(api, stop):
    spec = json.loads(submit(api, "--dry_run").out)
    hung = threading.Event()

    def hang(method, path, body):
        stop.request("SIGTERM")
        hung.wait(100)
        return 503, {}

    api.answer = hang
    with pytest.raises(ServiceUnavailableError, match="before Vertex AI answ"):
        service.create(
            service.CUSTOM_JOB,
            spec,
            *("my-project", "us-central1", api.address),
            stop,
        )
    hung.set()


def test_a_service_out_of_reach_can_be_tried_again():
    with vertex_api.serve() as api:
        pass
    outcome = submit(api)
    assert outcome.err.startswith("ERROR: Vertex AI cannot be reached")
    assert outcome.exit_code == 75


def test_a_local_endpoint_never_sees_credentials(api):
    submit(api)
    assert api.credentials == [None]


def test_missing_credentials_are_one_sentence(monkeypatch, tmp_path):
    missing = str(tmp_path / "missing.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", missing)
    outcome = vae_submit(*SUBMIT)
    assert "run `gcloud auth application-default login`" in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.exit_code == 1


@pytest.mark.parametrize(
    "words",
    [
        ["1234"],
        [],
        [f"{PARENT}/models/1"],
        ["projects/p/locations/example.com#/customJobs/1"],
        ["a", "b"],
        ["--job=1"],
    ],
)
def test_what_is_no_name_of_a_job_is_refused(words):
    for action in ("status", "cancel"):
        assert vae_submit("vertex", action, *words).exit_code == 2


def test_every_kind_of_job_is_one_of_the_client():
    for kind in (service.CUSTOM_JOB, service.TUNING_JOB):
        assert (
            kind.job_spec in getattr(aiplatform_v1, kind.message)()._meta.fields
        )
