"""`vae-submit kubernetes`: submit a job through the user's own kubectl."""

import json
import re
import shutil
import subprocess

import yaml

from trainer.errors import ServiceUnavailableError, SubmitError
from trainer.runtime.flags import Usage
from trainer.submit import job as job_lib, request
from trainer.submit.kubernetes import (
    manifests as kubernetes,
    pod as kubernetes_pod,
)

_USAGE = Usage(
    program="vae-submit kubernetes",
    about="Checks a training job, and sends it to the cluster that kubectl is "
    "set to. After -- go the flags of the training.",
    example="""\
vae-submit kubernetes --job_dir=gs://my-bucket/runs/vae \\
  --image=us-central1-docker.pkg.dev/my-project/vae/vae-trainer:1 \\
  --gpus=8 --accelerator=nvidia-l4 --service_account=vae-trainer \\
  -- --batch_size=4096""",
    arguments="[flags] -- [flags of the training]",
)
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


def run(words, stop):
    """Runs `vae-submit kubernetes WORDS`.

    Args:
        words: list of str, the command line after `kubernetes`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as its exit code says.
    """
    parsed = job_lib.parse(
        words, _USAGE, kubernetes.Settings, kubernetes.add_flags
    )
    if parsed is None:
        return
    job, settings, flags = parsed
    objects = kubernetes.render(job, settings)
    job_lib.warn(kubernetes.machine_warning(job))
    job_lib.warn(job_lib.image_warning(job.image))
    stop.check()
    if flags["dry_run"].value:
        # What is printed ends up in files, where a secret does not belong.
        if kubernetes_pod.needs_token(job):
            job_lib.warn(
                "The Secret of the workers is not printed; make it with "
                f"{kubernetes_pod.how_to_make_token(job, settings)}"
            )
        print(to_yaml(objects), end="")
        return
    _make_room(job, settings, stop)
    if kubernetes_pod.needs_token(job):
        objects = [kubernetes_pod.token(job, settings), *objects]
    _kubectl(settings, stop, "apply", "--filename=-", manifest=to_yaml(objects))
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


def _make_room(job, settings, stop):
    """Deletes an earlier job of this name that has ended.

    A job in Kubernetes cannot be changed, and applying it again does nothing
    once it has ended; but the same command has to go on with the training.

    Raises:
        SubmitError: there is one, and it has not ended.
    """
    name = f"{_RESOURCES[settings.kind]}/{job.name}"
    found = _kubectl(
        settings, stop, "get", name, "--ignore-not-found", "--output=json"
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
    timeout = f"--timeout={_REQUEST_SECONDS}s"
    _kubectl(settings, stop, "delete", name, timeout)


def _kubectl(settings, stop, *arguments, manifest=""):
    """Returns what kubectl printed, which reads a manifest.

    Raises:
        ServiceUnavailableError: it cannot reach the cluster for now, or the
            stop signal came before it ended.
        SubmitError: there is no kubectl, or it or the cluster refused.
    """
    program = shutil.which("kubectl")
    if not program:
        raise SubmitError(
            "There is no kubectl on this machine; install it (https://"
            "kubernetes.io/docs/tasks/tools), or give --dry_run and apply what "
            "it prints elsewhere."
        )
    command = [
        program,
        *arguments,
        *_namespace(settings),
        f"--request-timeout={_REQUEST_SECONDS}s",
    ]

    def call():
        done = subprocess.run(  # noqa: S603
            command,
            # Never the terminal: a prompt for a password would wait for ever.
            input=manifest,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise _refusal(settings, arguments[0], done.stderr)
        return done.stdout

    return request.ask("kubectl", call, stop)


def _refusal(settings, verb, stderr):
    """Returns our error for what kubectl said when it failed."""
    lines = [line for line in stderr.splitlines() if not _CHATTER.match(line)]
    said = " ".join(lines).removeprefix("error: ").rstrip(". ")
    said = said or "it does not say why"
    if _UNKNOWN_KIND.search(stderr) and settings.kind in _OPERATORS:
        return SubmitError(
            f"The cluster does not have {_OPERATORS[settings.kind]} ({said}); "
            "install it there, or leave out --kind."
        )
    if _OUT_OF_REACH.search(stderr):
        return ServiceUnavailableError(
            f"kubectl cannot reach the cluster ({said}); look at `kubectl "
            "config current-context`, and try again."
        )
    return SubmitError(f"kubectl {verb} was refused: {said}.")


def _namespace(settings):
    return [f"--namespace={settings.namespace}"] if settings.namespace else []


def _stop_command(job, settings):
    return " ".join(
        [
            f"kubectl delete {_RESOURCES[settings.kind]},deployments,services,"
            "networkpolicies,secrets",
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
