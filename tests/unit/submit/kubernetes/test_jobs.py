"""What becomes of a job on Kubernetes: kubectl is the tests' own, or real."""

import json
import os
import shutil
import sys

import pytest

from tests.fakes import gcs, kubernetes_api
from tests.tools.kubernetes_manifests import SUBMIT, dry_run
from tests.tools.recorded_jobs import record
from tests.tools.submit_command import vae_submit
from trainer.submit import waiting

JOB_DIR = "gs://my-bucket/runs/vae"
# A server without TFJobs.
FAKE = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    print(json.dumps(words), file=calls)
if words[0] == "get":
    kind = words[1].partition(".")[0]
    if kind == "tfjobs":
        sys.exit("error: the server doesn't have a resource type \\"tfjobs\\"")
    answers = json.loads((folder / "objects").read_text())
    (folder / "objects").write_text(json.dumps(answers[1:] or answers))
    print(json.dumps({{"items": [
        item for item in answers[0] if item["kind"].lower() + "s" == kind
    ]}}))
elif words[0] == "logs":
    print("Epoch 1\\nEpoch 2")
"""


class Kubectl:
    """A kubectl that has what it is told: at each question the next."""

    def __init__(self, folder):
        self._folder = folder
        script = folder / "kubectl"
        script.write_text(FAKE.format(python=sys.executable))
        script.chmod(0o755)

    def has(self, *answers):
        (self._folder / "objects").write_text(json.dumps(answers))

    def calls(self, verb):
        lines = (self._folder / "calls").read_text().splitlines()
        return [words for words in map(json.loads, lines) if words[0] == verb]


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Kubectl(tmp_path)


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A bucket with the job that `dry_run` sends."""
    with gcs.serve(bucket="my-bucket") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        folder = record(tmp_path / "job", epoch=12, loss=25.1, ends=[None] * 3)
        for path in folder.iterdir():
            server.write(f"runs/vae/{path.name}", path.read_bytes(), "job")
        yield server


def sent(*words, day=1, **status):
    """Returns the object of a job that was sent, as the cluster has it."""
    item = dry_run(*words)[-1]
    item["metadata"]["creationTimestamp"] = f"2026-11-{day:02d}T10:00:00Z"
    return item | {"status": status}


def holds(name, **told):
    return {"conditions": [{"type": name, "status": "True", **told}]}


TOLD = (
    "vae: running\n"
    "Created: 2026-11-01T10:00:00Z\n"
    "Progress: epoch 12 of 30, test loss 25.1, 36 minutes left, interrupted "
    "twice\n"
)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((), {"active": 1, "ready": 1}),
        (
            ("--kind=jobset", "--workers=2"),
            {"replicatedJobsStatus": [{"name": "workers", "ready": 1}]},
        ),
        (("--kind=trainjob",), {"jobsStatus": [{"name": "node", "ready": 1}]}),
    ],
)
def test_status_has_the_state_and_the_progress(kubectl, place, words, status):
    kubectl.has([sent(*words, **status)])
    for which in (["vae"], [f"--job_dir={JOB_DIR}/"]):
        outcome = vae_submit("kubernetes", "status", *which)
        assert outcome == (0, TOLD, "")
    assert "--namespace=team" not in str(kubectl.calls("get"))
    vae_submit("kubernetes", "status", "vae", "--namespace=team")
    assert "--namespace=team" in kubectl.calls("get")[-1]


@pytest.mark.parametrize(
    ("status", "state", "more"),
    [
        ({}, "pending", []),
        ({"active": 2, "ready": 0}, "starting", []),
        (holds("Suspended"), "suspended", []),
        (holds("Complete"), "complete", []),
        (
            holds("Failed", reason="BackoffLimitExceeded", message="No."),
            "failed",
            ["Error: BackoffLimitExceeded: No."],
        ),
    ],
)
def test_a_state_is_the_clusters_own_word(kubectl, place, status, state, more):
    kubectl.has([sent("--queue=team", **status)])
    lines = vae_submit("kubernetes", "status", "vae").out.splitlines()
    assert lines[0] == f"vae: {state}"
    assert lines[2:-1] == [*more, "Queue: team"]


def test_a_job_on_a_volume_of_the_cluster_is_not_looked_for_here(kubectl):
    place = "--job_dir=/data/runs/$a"
    kubectl.has([sent(place, "--pvc=runs:/data", "--name=vae")])
    for which in ("vae", place):
        outcome = vae_submit("kubernetes", "status", which)
        assert outcome.out.splitlines()[-1] == (
            "Progress: /data/runs/$a cannot be seen from here; `vae-submit "
            "kubernetes logs` shows how far the training is."
        )


def test_what_is_not_there_is_told_from_what_has_not_started(kubectl, place):
    kubectl.has([])
    for verb in ("status", "logs", "cancel"):
        outcome = vae_submit("kubernetes", verb, "night")
        assert (outcome.exit_code, outcome.out) == (1, "")
        assert outcome.err.startswith("ERROR: The cluster knows no job night;")
        # It would be another selector.
        assert vae_submit("kubernetes", verb, "a,b=c").exit_code == 2
    outcome = vae_submit("kubernetes", "status", "--job_dir=gs://my-bucket/no")
    assert outcome == (
        0,
        "The cluster knows no job of gs://my-bucket/no.\n"
        "Progress: not started\n",
        "",
    )


def test_list_has_all_kinds_the_newest_first(kubectl):
    kubectl.has(
        [
            sent("--name=a", **holds("Complete")),
            sent("--name=c", "--kind=jobset", day=3),
            sent("--name=b", day=2, active=1),
        ]
    )
    assert vae_submit("kubernetes", "list").out.splitlines() == [
        "NAME  STATE     TITLE  JOB_DIR",
        f"c     pending   c      {JOB_DIR}",
        f"b     starting  b      {JOB_DIR}",
        f"a     complete  a      {JOB_DIR}",
    ]


def test_logs_are_those_of_the_pods(kubectl):
    kubectl.has([sent(active=1)])
    words = ("logs", "vae", "--follow", "--namespace=team")
    outcome = vae_submit("kubernetes", *words)
    assert outcome == (0, "Epoch 1\nEpoch 2\n", "")
    (call,) = kubectl.calls("logs")
    assert call[1:4] == [
        "--namespace=team",
        "--selector=app.kubernetes.io/name=vae-trainer,app.kubernetes.io/"
        "component=trainer,app.kubernetes.io/instance=vae",
        "--tail=-1",
    ]
    assert call[-1] == "--follow"


def test_cancel_deletes_what_was_made_and_says_what_becomes_of_the_state(
    kubectl,
):
    kubectl.has([sent("--kind=jobset", "--workers=2")])
    outcome = vae_submit("kubernetes", "cancel", "vae")
    assert outcome.out.startswith(
        "Cancelling vae: its pods get SIGTERM, at which the training saves"
    )
    assert outcome.exit_code == 0
    (call,) = kubectl.calls("delete")
    assert call[1:3] == [
        "jobsets.jobset.x-k8s.io,deployments,services,networkpolicies,secrets",
        "--selector=app.kubernetes.io/instance=vae",
    ]
    kubectl.has([sent(**holds("Complete"))])
    outcome = vae_submit("kubernetes", "cancel", "vae")
    assert outcome.err == (
        "ERROR: vae has ended (complete); there is nothing to cancel.\n"
    )
    assert outcome.exit_code == 1
    assert len(kubectl.calls("delete")) == 1


@pytest.fixture
def api(monkeypatch, tmp_path):
    """A server that the real kubectl talks to."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is missing")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with kubernetes_api.serve() as server:
        server.write_config(tmp_path / "config")
        yield server


def test_the_real_kubectl_waits_and_cancels(api, place, monkeypatch):
    monkeypatch.setattr(waiting, "_POLL_SECONDS", 0.01)
    path = "/apis/batch/v1/namespaces/default/jobs/vae"
    show = waiting._Watch.show

    def show_and_go_on(self, job, **how):
        show(self, job, **how)
        if job.state == "submitted":
            api.objects[path]["status"] = {"active": 1, "ready": 1}
        elif job.state == "running":
            api.objects[path]["status"] = holds("Failed", reason="Crash")

    monkeypatch.setattr(waiting._Watch, "show", show_and_go_on)
    outcome = vae_submit(*SUBMIT, "--wait", "--queue=team")
    progress = TOLD.splitlines()[-1].removeprefix("Progress")
    lines = [line[9:] for line in outcome.out.splitlines()[-3:]]
    states = ("submitted", "running", "failed")
    assert lines == [f"{state}{progress}" for state in states]
    assert outcome.exit_code == 1
    api.objects[path]["status"] = {}
    assert vae_submit("kubernetes", "cancel", "vae").exit_code == 0
    assert api.objects == {}
    outcome = vae_submit("kubernetes", "status", "vae")
    assert "The cluster knows no job vae" in outcome.err
