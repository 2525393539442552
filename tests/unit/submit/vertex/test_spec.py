import json
import pathlib
import re
import shlex

import pytest
import yaml

from tests.tools.submit_command import SUBMIT, vae_submit

FILES = sorted(
    (pathlib.Path(__file__).parents[4] / "deploy" / "vertex").iterdir()
)
GPUS = ("--gpus=8", "--accelerator=NVIDIA_L4")


def dry_run(*words):
    outcome = vae_submit(*SUBMIT, "--dry_run", *words)
    assert (outcome.exit_code, outcome.err) == (0, "")
    return json.loads(outcome.out)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_to_apply_by_hand_is_what_its_command_renders(path):
    # Whoever forgets to put in the name of a bucket is told so.
    text = path.read_text().replace("BUCKET", "my-bucket")
    command = re.search(r"# +vae-submit (.*?)\n[^#]", text, re.DOTALL)[1]
    words = shlex.split(command.replace("\\\n#", " "))
    # A project's ID is in small letters.
    words = [w.replace("--project=PROJECT", "--project=p") for w in words]
    words.insert(words.index("--"), "--dry_run")
    spec = json.loads(vae_submit(*words).out)
    written = yaml.safe_load(text)
    # gcloud's file for a custom job has no more than the jobSpec.
    assert written == spec.get("jobSpec", spec)


def test_one_machine_is_one_pool():
    spec = dry_run(*GPUS, "--", "--epochs=3", "--batch_size=4096")
    assert spec["displayName"] == "vae"
    (pool,) = spec["jobSpec"]["workerPoolSpecs"]
    assert pool["replicaCount"] == 1
    assert pool["machineSpec"] == {
        "machineType": "g2-standard-96",
        "acceleratorType": "NVIDIA_L4",
        "acceleratorCount": 8,
    }
    assert pool["containerSpec"]["args"] == [
        "--job_dir=gs://my-bucket/runs/vae",
        "--epochs=3",
        "--batch_size=4096",
    ]


def test_a_flag_file_of_this_machine_becomes_flags(tmp_path):
    path = tmp_path / "some.flags"
    path.write_text("--latent_dim=2\n--nodeterministic\n")
    spec = dry_run("--", f"--flagfile={path}", "--learning_rate", "1e-4")
    assert spec["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"] == [
        "--job_dir=gs://my-bucket/runs/vae",
        "--latent_dim=2",
        "--learning_rate=0.0001",
        "--nodeterministic",
    ]


def test_several_machines_are_a_chief_and_equal_workers():
    spec = dry_run(*GPUS, "--workers=4")["jobSpec"]
    chief, workers = spec["workerPoolSpecs"]
    assert (chief["replicaCount"], workers["replicaCount"]) == (1, 3)
    assert {**chief, "replicaCount": 3} == workers


def test_a_lost_worker_restarts_them_all_and_retries_stay_on():
    for workers, all_restart in ((1, False), (2, True)):
        spec = dry_run(f"--workers={workers}")["jobSpec"]["scheduling"]
        assert spec["restartJobOnWorkerRestart"] is all_restart
        assert spec["disableRetries"] is False


def test_no_gpu_is_a_machine_without_an_accelerator():
    (pool,) = dry_run()["jobSpec"]["workerPoolSpecs"]
    assert pool["machineSpec"] == {"machineType": "n2-standard-8"}


def test_every_setting_has_its_place():
    tensorboard = "projects/my-project/locations/us-central1/tensorboards/12"
    spec = dry_run(
        "--name=night",
        "--spot",
        "--timeout_hours=1.5",
        "--machine_type=e2-highmem-16",
        "--service_account=trainer@my-project.iam.gserviceaccount.com",
        "--network=projects/12345/global/networks/vpc",
        f"--tensorboard={tensorboard}",
    )
    assert spec["displayName"] == "night"
    job = spec["jobSpec"]
    assert job["scheduling"]["strategy"] == "SPOT"
    assert job["scheduling"]["timeout"] == "5400s"
    machine = job["workerPoolSpecs"][0]["machineSpec"]
    assert machine["machineType"] == "e2-highmem-16"
    assert job["serviceAccount"].startswith("trainer@")
    assert job["network"] == "projects/12345/global/networks/vpc"
    assert job["tensorboard"] == tensorboard


def test_waiting_for_machines_is_flex_start():
    spec = dry_run(*GPUS, "--max_wait_hours=2", "--timeout_hours=168")
    scheduling = spec["jobSpec"]["scheduling"]
    assert scheduling["strategy"] == "FLEX_START"
    assert scheduling["maxWaitDuration"] == "7200s"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--region=us central1"], "is not the ID of a region"),
        (["--project="], "is not the ID of a project"),
        (["--job_dir=runs/vae"], "does not outlive the machines"),
        (["--job_dir=gs://"], "names no bucket"),
        (["--image=vae-trainer:1"], "names no registry"),
        (["--network=default"], "projects/PROJECT_NUMBER/global/networks/NAME"),
        (["--tensorboard=12"], "locations/us-central1/tensorboards/NUMBER"),
        (
            ["--tensorboard=projects/p/locations/europe-west4/tensorboards/12"],
            "must be in the region of the job",
        ),
        (
            ["--tensorboard=projects/p/locations/us-central1/tensorboards/12"],
            "--tensorboard needs --service_account",
        ),
        (["--max_wait_hours=2"], "--max_wait_hours is for jobs with one of"),
        ([*GPUS, "--max_wait_hours=2", "--spot"], "leave one of them out"),
        (
            [*GPUS, "--max_wait_hours=2", "--timeout_hours=169"],
            "the most is 168",
        ),
        ([*GPUS, "--machine_type=g2-standard-8"], "use one of g2-standard-96"),
        (
            ["--gpus=3", "--accelerator=NVIDIA_L4", "--", "--batch_size=96"],
            "No machine has 3 NVIDIA_L4",
        ),
    ],
)
def test_what_vertex_cannot_run_is_refused(words, message):
    outcome = vae_submit(*SUBMIT, "--dry_run", *words)
    assert message in outcome.err
    assert outcome.exit_code == 2
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--machine_type=c4-standard-8"], "--machine_type=c4-standard-8"),
        (
            # The API has it, the table does not.
            [
                *("--accelerator=NVIDIA_TESLA_P100", "--gpus=1"),
                "--machine_type=n1-standard-8",
            ],
            "--accelerator=NVIDIA_TESLA_P100 with --gpus=1",
        ),
        (
            [
                *("--accelerator=NVIDIA_TESLA_T4", "--gpus=3"),
                *("--machine_type=n1-standard-8", "--", "--batch_size=96"),
            ],
            "--accelerator=NVIDIA_TESLA_T4 with --gpus=3",
        ),
    ],
)
def test_a_machine_that_the_table_does_not_have_is_a_warning(words, what):
    outcome = vae_submit(*SUBMIT, "--dry_run", *words)
    assert outcome.err.startswith(
        f"WARNING: {what} is not in this version's table of machines (the "
        "nearest in it: "
    )
    assert outcome.err.endswith(", so it is not checked; Vertex AI decides.\n")
    assert outcome.exit_code == 0
    (pool,) = json.loads(outcome.out)["jobSpec"]["workerPoolSpecs"]
    given = dict(word.split("=") for word in words if "=" in word)
    machine = pool["machineSpec"]
    assert machine["machineType"] == given["--machine_type"]
    assert machine.get("acceleratorType") == given.get("--accelerator")


def test_an_image_that_may_change_is_a_warning():
    image = "--image=docker.io/me/vae-trainer"
    outcome = vae_submit(*SUBMIT, "--dry_run", image)
    assert outcome.exit_code == 0
    assert outcome.err.startswith("WARNING: --image=docker.io/me/vae-trainer ")
