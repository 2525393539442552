"""Submitting through kubectl: one of the tests' own, and the real one."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.fakes import kubernetes_api
from tests.tools.kubernetes_manifests import (
    SUBMIT,
    VERSIONS,
    check,
    dry_run,
    pod_template,
)
from tests.tools.submit_command import vae_submit

FAKE = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
verb = sys.argv[1]
with (folder / "calls").open("a") as calls:
    print(json.dumps([sys.argv[1:], sys.stdin.read()]), file=calls)
answers = json.loads((folder / "answers").read_text())
code, out, err = answers.get(verb, (0, "", ""))
print(out, end="")
print(err, end="", file=sys.stderr)
sys.exit(code)
"""


class Kubectl:
    """A kubectl that remembers its calls, and answers as it is told."""

    def __init__(self, folder):
        self._folder = folder
        script = folder / "kubectl"
        script.write_text(FAKE.format(python=sys.executable))
        script.chmod(0o755)
        self.answer()

    def answer(self, **answers):
        (self._folder / "answers").write_text(json.dumps(answers))

    def calls(self):
        """Returns what it was asked: (words, standard input) each."""
        path = self._folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def verbs(self):
        return [words[0] for words, _ in self.calls()]


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Kubectl(tmp_path)


def ended(condition, status="True"):
    conditions = [{"type": condition, "status": status}]
    return (0, json.dumps({"status": {"conditions": conditions}}), "")


def test_kubectl_gets_what_the_dry_run_printed(kubectl):
    words = ("--workers=2", "--namespace=team", "--", "--epochs=3")
    outcome = vae_submit(*SUBMIT, *words)
    assert outcome.exit_code == 0, outcome.err
    (get, nothing), (apply, manifest) = kubectl.calls()
    assert get[:2] == ["get", "jobs.batch/vae"]
    assert nothing == ""
    assert apply[:2] == ["apply", "--filename=-"]
    for call in (get, apply):
        assert "--namespace=team" in call
    secret, *others = yaml.safe_load_all(manifest)
    assert secret["kind"] == "Secret"
    printed = vae_submit(*SUBMIT, "--dry_run", *words).out
    assert others == list(yaml.safe_load_all(printed))


def test_the_secret_of_several_pods_is_new_and_goes_to_the_cluster_alone(
    kubectl,
):
    tokens = set()
    for _ in range(2):
        outcome = vae_submit(*SUBMIT, "--workers=2", "--namespace=team")
        words, manifest = kubectl.calls()[-1]
        secret = next(yaml.safe_load_all(manifest))
        check(secret, VERSIONS[0])
        token = secret["stringData"]["token"]
        assert re.fullmatch("[0-9a-f]{64}", token)
        # Not where other users of the machine see it, nor in a log.
        assert token not in f"{words}{outcome.out}{outcome.err}"
        tokens.add(token)
    assert len(tokens) == 2
    assert secret["metadata"]["namespace"] == "team"
    volume = pod_template(dry_run("--workers=2")[-1])["spec"]["volumes"][-1]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_a_dry_run_says_how_to_make_the_secret_and_prints_none():
    outcome = vae_submit(*SUBMIT, "--dry_run", "--workers=2")
    assert "kind: Secret" not in outcome.out
    assert outcome.err == (
        "WARNING: The Secret of the workers is not printed; make it with "
        "kubectl create secret generic vae-token "
        '--from-literal=token="$(openssl rand -hex 32)"\n'
    )


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--workers=2", "--", "--cluster_secret=none"),
        ("--workers=2", "--", "--cluster_secret=job_dir"),
        ("--workers=2", "--", "--cluster_token_file=/x/token"),
    ],
)
def test_no_secret_is_made_where_none_is_needed_or_another_was_chosen(
    kubectl, words
):
    assert vae_submit(*SUBMIT, *words).exit_code == 0
    assert "Secret" not in kubectl.calls()[-1][1]
    assert "/etc/vae-trainer" not in kubectl.calls()[-1][1]


def test_a_submission_says_where_to_watch(kubectl):
    lines = vae_submit(
        *SUBMIT, "--workers=2", "--kind=jobset", "--namespace=team"
    ).out.splitlines()
    pods = (
        "--namespace=team --selector=app.kubernetes.io/instance=vae,"
        "app.kubernetes.io/component=trainer"
    )
    assert lines == [
        "Submitted: jobsets.jobset.x-k8s.io/vae",
        "Status: vae-submit kubernetes status vae --namespace=team",
        "Object: kubectl get jobsets.jobset.x-k8s.io/vae --namespace=team",
        f"Pods: kubectl get pods {pods} --watch",
        f"Logs: kubectl logs {pods} --follow --tail=-1 --max-log-requests=2",
        "TensorBoard: tensorboard --logdir=gs://my-bucket/runs/vae/logs "
        "--reload_interval=60",
        "TensorBoard on http://localhost:6006: kubectl port-forward "
        "--namespace=team service/vae-tensorboard 6006",
        "Stop: kubectl delete jobsets.jobset.x-k8s.io,deployments,services,"
        "networkpolicies,secrets --namespace=team "
        "--selector=app.kubernetes.io/instance=vae",
    ]


@pytest.mark.parametrize(
    "condition", ["Complete", "Completed", "Succeeded", "Failed"]
)
def test_a_job_that_has_ended_makes_room_for_the_same_command(
    kubectl, condition
):
    kubectl.answer(get=ended(condition))
    assert vae_submit(*SUBMIT).exit_code == 0
    assert kubectl.verbs() == ["get", "delete", "apply"]
    assert kubectl.calls()[1][0][1] == "jobs.batch/vae"


@pytest.mark.parametrize(
    "found",
    [(0, "{}", ""), ended("Running"), ended("Failed", "False")],
    ids=["new", "running", "not failed"],
)
def test_a_job_that_has_not_ended_is_left_alone(kubectl, found):
    kubectl.answer(get=found)
    outcome = vae_submit(*SUBMIT)
    assert outcome.err == (
        "ERROR: jobs.batch/vae is there and has not ended; wait for it, give "
        "another --name, or stop it: kubectl delete jobs.batch,deployments,"
        "services,networkpolicies,secrets "
        "--selector=app.kubernetes.io/instance=vae\n"
    )
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert kubectl.verbs() == ["get"]


@pytest.mark.parametrize("verb", ["get", "delete", "apply"])
@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (
            "E1123 15:16:04.1 1 memcache.go:265] dial tcp\n"
            "The connection to the server 10.0.0.1 was refused - "
            "did you specify the right host or port?",
            75,
            "cannot reach the cluster (The connection to the server 10.0.0.1",
        ),
        ("Unable to connect to the server: EOF", 75, "and try again"),
        ("Unable to connect to the server: dial: i/o timeout", 75, "timeout"),
        ("Error from server (ServiceUnavailable): later", 75, "later"),
        ("error: timed out waiting for the condition", 75, "timed out"),
        (
            "Unable to connect to the server: x509: certificate has expired",
            1,
            "was refused: Unable to connect to the server: x509",
        ),
        (
            'Error from server (Forbidden): User "me" cannot do that',
            1,
            "was refused: Error from server (Forbidden)",
        ),
        (
            "error: You must be logged in to the server (Unauthorized)",
            1,
            "was refused: You must be logged in",
        ),
        (
            "Error from server (BadRequest): strict decoding error: unknown "
            'field "spec.a"',
            1,
            "strict decoding error",
        ),
        ("", 1, "it does not say why"),
    ],
)
def test_a_refusal_is_one_sentence(kubectl, verb, said, code, message):
    kubectl.answer(**{"get": ended("Failed"), verb: (1, "", said)})
    outcome = vae_submit(*SUBMIT)
    assert message in outcome.err
    assert outcome.err.startswith("ERROR: kubectl ")
    assert outcome.err.count("\n") == 1
    assert (outcome.exit_code, outcome.out) == (code, "")
    assert kubectl.verbs()[-1] == verb


@pytest.mark.parametrize(
    ("kind", "said", "message"),
    [
        (
            "jobset",
            'error: the server doesn\'t have a resource type "jobsets"',
            "The cluster does not have JobSet (https://jobset",
        ),
        (
            "trainjob",
            'error: the server doesn\'t have a resource type "trainjobs"',
            "does not have Kubeflow Trainer 2.2 (https://www.kubeflow.org/",
        ),
        (
            "tfjob",
            'error: resource mapping not found for "vae": no matches for kind '
            '"TFJob" in version "kubeflow.org/v1"',
            "does not have Kubeflow's training operator, release 1.9 (",
        ),
    ],
)
def test_a_kind_that_the_cluster_does_not_have_is_named(
    kubectl, kind, said, message
):
    kubectl.answer(get=(1, "", said))
    outcome = vae_submit(*SUBMIT, f"--kind={kind}")
    assert message in outcome.err
    assert outcome.exit_code == 1


@pytest.mark.parametrize(
    "words", [["--", "--epoch=3"], ["--kind=pod"], ["--job_dir=runs/vae"]]
)
def test_a_wrong_command_line_sends_nothing(kubectl, words):
    assert vae_submit(*SUBMIT, *words).exit_code == 2
    assert kubectl.calls() == []


def test_a_dry_run_needs_no_kubectl(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vae_submit(*SUBMIT, "--dry_run").exit_code == 0
    outcome = vae_submit(*SUBMIT)
    assert outcome.err.startswith("ERROR: There is no kubectl on this machine")
    assert outcome.exit_code == 1


@pytest.fixture
def api(monkeypatch, tmp_path):
    """A server that the real kubectl talks to."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is missing")
    # It keeps there what a server said that it has.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with kubernetes_api.serve() as server:
        server.write_config(tmp_path / "config")
        yield server


APPS = "/apis/apps/v1/namespaces/default/deployments"
SERVICES = "/api/v1/namespaces/default/services"
SECRETS = "/api/v1/namespaces/default/secrets"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
JOBS = "/apis/batch/v1/namespaces/default/jobs"


def test_the_real_kubectl_submits_and_submits_again(api):
    assert vae_submit(*SUBMIT, "--workers=2").exit_code == 0
    posts = [SECRETS, APPS, SERVICES, POLICIES, SERVICES, JOBS]
    assert api.requests == [("POST", path) for path in posts]
    api.requests.clear()
    outcome = vae_submit(*SUBMIT, "--workers=2")
    assert "is there and has not ended" in outcome.err
    assert api.requests == []
    failed = [{"type": "Failed", "status": "True"}]
    api.objects[f"{JOBS}/vae"]["status"] = {"conditions": failed}
    outcome = vae_submit(*SUBMIT, "--workers=2")
    assert outcome.exit_code == 0, outcome.err
    # All but the job and its secret is as it was.
    assert api.requests == [
        ("DELETE", f"{JOBS}/vae"),
        ("PATCH", f"{SECRETS}/vae-token"),
        ("POST", JOBS),
    ]


def test_a_trainjob_that_has_ended_goes_with_its_runtime(api):
    base = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/default"
    words = ("--kind=trainjob", "--notensorboard")
    assert vae_submit(*SUBMIT, *words).exit_code == 0
    failed = [{"type": "Failed", "status": "True"}]
    job = api.objects[f"{base}/trainjobs/vae"]
    job["status"] = {"conditions": failed}
    api.requests.clear()
    outcome = vae_submit(*SUBMIT, *words)
    assert outcome.exit_code == 0, outcome.err
    assert api.requests == [
        ("DELETE", f"{base}/trainjobs/vae"),
        ("DELETE", f"{base}/trainingruntimes/vae"),
        ("POST", f"{base}/trainingruntimes"),
        ("POST", f"{base}/trainjobs"),
    ]


def test_the_printed_commands_are_ones_that_the_real_kubectl_takes(api):
    lines = vae_submit(*SUBMIT, "--kind=jobset").out.splitlines()
    commands = dict(line.split(": ", 1) for line in lines)
    for name in ("Object", "Logs", "Stop"):
        subprocess.run(
            shlex.split(commands[name]), check=True, capture_output=True
        )
    assert api.objects == {}


@pytest.mark.parametrize(
    ("failure", "code"),
    [((403, "Forbidden"), 1), ((503, "ServiceUnavailable"), 75)],
)
def test_what_the_real_kubectl_says_is_understood(api, failure, code):
    api.failure = failure
    outcome = vae_submit(*SUBMIT)
    assert "its own words" in outcome.err
    assert outcome.err.count("\n") == 1
    assert (outcome.exit_code, outcome.out) == (code, "")


def test_a_kind_that_the_server_does_not_have_is_not_sent(api):
    outcome = vae_submit(*SUBMIT, "--kind=tfjob")
    assert "The cluster does not have Kubeflow's training" in outcome.err
    assert outcome.exit_code == 1
    assert api.requests == []


def test_a_cluster_out_of_reach_can_be_tried_again(api, tmp_path):
    with kubernetes_api.serve() as gone:
        gone.write_config(tmp_path / "config")
    outcome = vae_submit(*SUBMIT)
    assert outcome.err.startswith("ERROR: kubectl cannot reach the cluster (")
    assert outcome.err.count("\n") == 1
    assert (outcome.exit_code, outcome.out) == (75, "")
