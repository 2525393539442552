"""`vae-submit kubernetes`: submit a job through the user's own kubectl."""

import json
import re
import shutil
import subprocess

import yaml

from trainer.errors import ServiceUnavailableError, SubmitError
from trainer.submit import job as job_lib
from trainer.submit.kubernetes import manifests as kubernetes

PROGRAM = "vae-submit kubernetes"
_RESOURCES = {
    "job": "jobs.batch",
    "jobset": "jobsets.jobset.x-k8s.io",
    "tfjob": "tfjobs.kubeflow.org",
}
_OPERATORS = {
    "jobset": "JobSet (https://jobset.sigs.k8s.io)",
    "tfjob": "Kubeflow's training operator, release 1.9",
}
# The conditions of a Job, a JobSet and a TFJob that has ended.
_ENDED = {"Complete", "Completed", "Succeeded", "Failed"}
_REQUEST_SECONDS = 60
# What kubectl says when another try may do; a wrong certificate will not.
_OUT_OF_REACH = re.compile(
    "connection to the server .* was refused|i/o timeout|no such host|"
    "Unable to connect to the server(?!: (x509|tls: failed to verify))|"
    "connection (refused|reset)|TLS handshake timeout|deadline exceeded|"
    r"timed out|currently unable to handle|\(ServiceUnavailable\)|"
    r"\(TooManyRequests\)|\(InternalError\)",
    re.IGNORECASE,
)
# What libraries of kubectl log before it speaks itself.
_CHATTER = re.compile(r"[EIW]\d{4} ")
_UNKNOWN_KIND = re.compile("no matches for kind|have a resource type")


def run(words):
    """Runs `vae-submit kubernetes WORDS`.

    Args:
        words: list of str, the command line after `kubernetes`.

    Raises:
        TrainerError: as its exit code says.
    """
    parsed = job_lib.parse(
        words, PROGRAM, kubernetes.Settings, kubernetes.define_flags
    )
    if parsed is None:
        return
    job, settings, flag_values = parsed
    manifest = to_yaml(kubernetes.render(job, settings))
    job_lib.warn(job_lib.image_warning(job.image))
    if flag_values["dry_run"].value:
        print(manifest, end="")
        return
    _make_room(job, settings)
    _kubectl(settings, "apply", "--filename=-", manifest=manifest)
    print(_where_to_watch(job, settings))


def to_yaml(objects):
    """Returns objects as the documents of a YAML file.

    Args:
        objects: list of dict, of JSON values.
    """
    # Through JSON, because YAML would write an object that is in two places as
    # an anchor, which nobody wants to read.
    return yaml.safe_dump_all(
        json.loads(json.dumps(objects)), sort_keys=False, width=1000
    )


def _make_room(job, settings):
    """Deletes an earlier job of this name that has ended.

    A job in Kubernetes cannot be changed, and applying it again does nothing
    once it has ended; but the same command has to go on with the training.

    Raises:
        SubmitError: there is one, and it has not ended.
    """
    name = f"{_RESOURCES[settings.kind]}/{job.name}"
    found = _kubectl(
        settings, "get", name, "--ignore-not-found", "--output=json"
    )
    if not found.strip():
        return
    conditions = json.loads(found).get("status", {}).get("conditions", ())
    if not any(
        condition["type"] in _ENDED and condition["status"] == "True"
        for condition in conditions
    ):
        raise SubmitError(
            f"{name} is there and has not ended; wait for it, give another "
            f"--name, or stop it: {_stop_command(job, settings)}"
        )
    _kubectl(settings, "delete", name, f"--timeout={_REQUEST_SECONDS}s")


def _kubectl(settings, *arguments, manifest=""):
    """Returns what kubectl printed, which reads a manifest.

    Raises:
        ServiceUnavailableError: it cannot reach the cluster for now.
        SubmitError: there is no kubectl, or it or the cluster refused.
    """
    program = shutil.which("kubectl")
    if not program:
        raise SubmitError(
            "There is no kubectl on this machine; install it (https://"
            "kubernetes.io/docs/tasks/tools), or give --dry_run and apply what "
            "it prints elsewhere."
        )
    done = subprocess.run(  # noqa: S603
        [
            program,
            *arguments,
            *_namespace(settings),
            f"--request-timeout={_REQUEST_SECONDS}s",
        ],
        # Never the terminal: a prompt for a password would wait for ever.
        input=manifest,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    lines = [
        line for line in done.stderr.splitlines() if not _CHATTER.match(line)
    ]
    said = " ".join(lines).removeprefix("error: ").rstrip(". ")
    said = said or "it does not say why"
    if _UNKNOWN_KIND.search(done.stderr) and settings.kind in _OPERATORS:
        raise SubmitError(
            f"The cluster does not have {_OPERATORS[settings.kind]} ({said}); "
            "install it there, or leave out --kind."
        )
    if _OUT_OF_REACH.search(done.stderr):
        raise ServiceUnavailableError(
            f"kubectl cannot reach the cluster ({said}); look at `kubectl "
            "config current-context`, and try again."
        )
    raise SubmitError(f"kubectl {arguments[0]} was refused: {said}.")


def _namespace(settings):
    return [f"--namespace={settings.namespace}"] if settings.namespace else []


def _stop_command(job, settings):
    return " ".join(
        [
            f"kubectl delete {_RESOURCES[settings.kind]},deployments,services",
            *_namespace(settings),
            f"--selector=app.kubernetes.io/instance={job.name}",
        ]
    )


def _where_to_watch(job, settings):
    place = "".join(f" {word}" for word in _namespace(settings))
    name = f"{_RESOURCES[settings.kind]}/{job.name}"
    selector = (
        f"--selector=app.kubernetes.io/instance={job.name},"
        "app.kubernetes.io/component=trainer"
    )
    lines = [
        f"Submitted: {name}",
        f"Status: kubectl get {name}{place}",
        f"Pods: kubectl get pods{place} {selector} --watch",
        f"Logs: kubectl logs{place} {selector} --follow --tail=-1 "
        f"--max-log-requests={job.workers}",
        f"TensorBoard: tensorboard --logdir={job.job_dir}/logs "
        "--reload_interval=60",
    ]
    if settings.tensorboard:
        lines.append(
            f"TensorBoard on http://localhost:6006: kubectl port-forward{place}"
            f" service/{job.name}-tensorboard 6006"
        )
    return "\n".join([*lines, f"Stop: {_stop_command(job, settings)}"])
