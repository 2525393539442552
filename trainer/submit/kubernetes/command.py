"""`vae-submit kubernetes`: submit through the user's own kubectl."""

import json

import yaml

from trainer.errors import SubmitError
from trainer.runtime.flags import Usage
from trainer.submit import job as job_lib, known_job, verbs, waiting
from trainer.submit.kubernetes import (
    jobs as kubernetes_jobs,
    kubectl,
    manifests as kubernetes,
    pod as kubernetes_pod,
)

PROGRAM = kubernetes_jobs.Jobs.program
_USAGE = Usage(
    program=PROGRAM,
    about="Checks a training job, and sends it to the cluster that kubectl is "
    "set to. After -- go the flags of the training. `vae-submit kubernetes "
    "status NAME`, `logs NAME`, `cancel NAME` and `list` are about jobs that "
    "were sent.",
    example="""\
vae-submit kubernetes --job_dir=gs://my-bucket/runs/vae \\
  --image=us-central1-docker.pkg.dev/my-project/vae/vae-trainer:1 \\
  --gpus=8 --accelerator=nvidia-l4 --service_account=vae-trainer \\
  -- --batch_size=4096""",
    arguments="[flags] -- [flags of the training]",
)
_TFJOB = (
    "--kind=tfjob: Kubeflow has left TFJob behind with release 1.9 of its "
    "training operator; --kind=trainjob is for what came after it, --kind=job "
    "needs neither."
)
# The conditions of a job that has ended, of any kind.
_ENDED = {"Complete", "Completed", "Succeeded", "Failed"}


def run(words, stop):
    """Runs `vae-submit kubernetes WORDS`.

    Args:
        words: list of str, the command line after `kubernetes`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as its exit code says.
    """
    if words and words[0] in verbs.VERBS:
        verbs.run(kubernetes_jobs.Jobs, words[0], words[1:], stop)
        return
    parsed = job_lib.parse(
        words, _USAGE, kubernetes.Settings, kubernetes.add_flags
    )
    if parsed is None:
        return
    job, settings, flags = parsed
    objects = kubernetes.render(job, settings)
    job_lib.warn(kubernetes.machine_warning(job))
    job_lib.warn(job_lib.image_warning(job.image))
    if settings.kind == "tfjob":
        job_lib.warn(_TFJOB)
    stop.check()
    if flags["dry_run"].value:
        # What is printed ends up in files, where a secret does not belong.
        if kubernetes_pod.needs_token(job, settings):
            job_lib.warn(
                "The Secret of the workers is not printed; make it with "
                f"{kubernetes_pod.how_to_make_token(job, settings)}"
            )
        print(to_yaml(objects), end="")
        return
    _make_room(job, settings, stop)
    if kubernetes_pod.needs_token(job, settings):
        token = kubernetes_pod.token(job)
        kubernetes.place(token, settings)
        objects = [token, *objects]
    _kubectl(settings, stop, "apply", "--filename=-", manifest=to_yaml(objects))
    print(_where_to_watch(job, settings), flush=True)
    if flags["wait"].value:
        sent = known_job.KnownJob(
            name=job.name,
            title=job.name,
            state="submitted",
            kind=settings.kind,
            job_dir=job.job_dir,
        )
        waiting.until_end(kubernetes_jobs.Jobs(flags), sent, stop)


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
    name = f"{kubectl.RESOURCES[settings.kind]}/{job.name}"
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
    names = kubectl.names_of(settings.kind, job.name)
    timeout = f"--timeout={kubectl.REQUEST_SECONDS}s"
    _kubectl(settings, stop, "delete", *names, "--ignore-not-found", timeout)


def _kubectl(settings, stop, *arguments, manifest=""):
    """As `kubectl.ask`, for a job of these settings."""
    return kubectl.ask(
        arguments, stop, settings.namespace, settings.kind, manifest
    )


def _stop_command(job, settings):
    return " ".join(
        [
            f"kubectl delete {kubectl.made_for(settings.kind)}",
            *kubectl.in_namespace(settings.namespace),
            f"--selector=app.kubernetes.io/instance={job.name}",
        ]
    )


def _where_to_watch(job, settings):
    words = kubectl.in_namespace(settings.namespace)
    place = "".join(f" {word}" for word in words)
    name = f"{kubectl.RESOURCES[settings.kind]}/{job.name}"
    selector = (
        f"--selector=app.kubernetes.io/instance={job.name},"
        "app.kubernetes.io/component=trainer"
    )
    lines = [
        f"Submitted: {name}",
        f"Status: {PROGRAM} status {job.name}{place}",
        f"Object: kubectl get {name}{place}",
        f"Pods: kubectl get pods{place} {selector} --watch",
        f"Logs: kubectl logs{place} {selector} --follow --tail=-1 "
        f"--max-log-requests={job.workers}",
    ]
    if job.job_dir.startswith("gs://"):
        lines.append(
            f"TensorBoard: tensorboard --logdir={job.job_dir}/logs "
            "--reload_interval=60"
        )
    if settings.tensorboard:
        lines.append(
            f"TensorBoard on http://localhost:6006: kubectl port-forward{place}"
            f" service/{job.name}-tensorboard 6006"
        )
    return "\n".join([*lines, f"Stop: {_stop_command(job, settings)}"])
