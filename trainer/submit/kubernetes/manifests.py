"""A job as Kubernetes takes it: a Job or the like, and TensorBoard.

Kubernetes 1.31 is the first that has all of its fields without being asked.
"""

import dataclasses
import re

from trainer.errors import ConfigError
from trainer.submit import job as job_lib, machines
from trainer.submit.kubernetes import (
    extras,
    job as kubernetes_job,
    pod as kubernetes_pod,
)

_LABEL_LENGTH = 63
# Cores or GiB of a pod: more than a machine has, and written without an
# exponent. Kubernetes counts cores in thousandths, and bytes here in MiB.
_MOST_OF_POD, _LEAST_OF_POD = 100_000.0, 0.001
# Google Kubernetes Engine labels its nodes with the names that Vertex AI has,
# in small letters.
# https://docs.cloud.google.com/kubernetes-engine/docs/concepts/gpus
_ACCELERATORS = {
    name.lower().replace("_", "-"): name for name in machines.ACCELERATORS
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how Kubernetes runs a job; each is the flag of its name.

    Raises:
        ConfigError: a setting cannot be.
    """

    kind: str
    namespace: str
    service_account: str
    cpus: float
    memory_gib: float
    node_selector: list[str]
    tensorboard: bool
    queue: str
    pvc: list[str]
    labels: list[str]

    def __post_init__(self):
        for name in ("namespace", "service_account", "queue"):
            value = getattr(self, name)
            if value and not re.fullmatch(
                "[a-z0-9]([-a-z0-9]*[a-z0-9])?", value
            ):
                raise ConfigError(
                    f"--{name}={value} is not a name in Kubernetes, which has "
                    "small letters, digits and - only."
                )
        for name in ("cpus", "memory_gib"):
            value = getattr(self, name)
            if 0 < value < _LEAST_OF_POD:
                raise ConfigError(
                    f"--{name}={value} is less than Kubernetes counts; the "
                    f"least is {_LEAST_OF_POD}, and 0 leaves it to the command."
                )
        for text in self.node_selector:
            if not re.fullmatch(r"[\w./-]+=[\w.-]*", text, re.ASCII):
                raise ConfigError(
                    f"--node_selector={text} is not of the form KEY=VALUE, "
                    "for instance topology.kubernetes.io/zone=us-central1-a."
                )
        _ = self.claims, self.own_labels

    @property
    def claims(self):
        """The claims of volumes by the path at which pods have them, a dict.

        Raises:
            ConfigError: a claim cannot be.
        """
        return extras.parse_claims(self.pvc)

    @property
    def own_labels(self):
        """The labels of the user's own, a dict.

        Raises:
            ConfigError: a label cannot be.
        """
        return extras.parse_labels(self.labels)


def add_flags(flags):
    """Adds the flags of `Settings` to `Flags`."""
    title = "Kubernetes"
    flags.add(
        "kind",
        "job",
        "job: Kubernetes' own; jobset: JobSet, which starts all workers again "
        "at once; trainjob: TrainJob of Kubeflow Trainer 2.2, for clusters "
        "that have it; tfjob: TFJob, which Kubeflow has left behind",
        title=title,
        choices=tuple(kubernetes_job.FORMS),
    )
    for name, text in {
        "namespace": "where it runs; that of kubectl's context if not given",
        "service_account": "Kubernetes service account that may use the "
        "bucket; that of the namespace if not given",
    }.items():
        flags.add(name, "", text, title=title, unit="name")
    for name, unit, text in (
        ("cpus", "cores", "CPU of each pod; 0: 3, or 3 for each GPU"),
        ("memory_gib", "gib", "memory of each pod; 0: 4, and 6 for each GPU"),
    ):
        flags.add(
            name,
            0.0,
            text,
            title=title,
            unit=unit,
            minimum=0,
            maximum=_MOST_OF_POD,
        )
    flags.add(
        "node_selector",
        [],
        "a label of the nodes to run on; may be repeated. On Google Kubernetes "
        "Engine --accelerator and --spot add theirs",
        title=title,
        unit="key=value",
    )
    flags.add(
        "tensorboard", True, "run TensorBoard beside the job", title=title
    )
    flags.add(
        "queue",
        "",
        "the LocalQueue of Kueue in which the job waits for its turn",
        title=title,
        unit="name",
    )
    flags.add(
        "pvc",
        [],
        "a PersistentVolumeClaim and the path at which the pods have it: for "
        "data, or for --job_dir; may be repeated",
        title=title,
        unit="name:path",
    )
    flags.add(
        "labels",
        [],
        "a label of all that is made for the job; may be repeated",
        title=title,
        unit="key=value",
    )


def render(job, settings):
    """Returns what Kubernetes calls a job.

    Args:
        job: a `Job`.
        settings: a `Settings`.

    Returns:
        A list of dict, the objects in JSON's names; the last is the job. The
        Secret of a job that `pod.needs_token` is not among them.

    Raises:
        ConfigError: the training would refuse its flags, or Kubernetes cannot
            run the job as described.
    """
    job.train_config(mounts=settings.claims)
    if not (
        re.fullmatch(r"gs://[^/]+/.+", job.job_dir)
        or job_lib.is_below(job.job_dir, settings.claims)
    ):
        raise ConfigError(
            f"--job_dir={job.job_dir} does not outlive the pods of the job; "
            "give gs://BUCKET/FOLDER, or a folder on a volume of --pvc."
        )
    _check_accelerator(job)
    _check_name(job, settings)
    objects = [
        kubernetes_pod.network_policy(job),
        *kubernetes_job.FORMS[settings.kind](job, settings),
    ]
    if settings.queue:
        kubernetes_job.queue(objects[-1], settings.queue)
    if settings.tensorboard:
        objects = [*kubernetes_pod.tensorboard(job, settings), *objects]
    for item in objects:
        place(item, settings)
    return objects


def place(item, settings):
    """Puts an object of a job where it belongs, with the user's labels."""
    if settings.namespace:
        item["metadata"]["namespace"] = settings.namespace
    extras.add_labels(item, settings.own_labels)


def machine_warning(job):
    """Returns what could not be checked of the GPUs of a job, or None."""
    if job.accelerator in ("", kubernetes_pod.ANY_GPU):
        return None
    name = _ACCELERATORS.get(job.accelerator, job.accelerator)
    if machines.knows(name, job.gpus):
        return None
    meant = (
        machines.nearest_gpus(name)
        if name in machines.ACCELERATORS
        else machines.nearest(name, _ACCELERATORS)
    )
    return machines.not_checked(
        f"--accelerator={job.accelerator} with --gpus={job.gpus}",
        "the cluster",
        meant,
    )


def _check_accelerator(job):
    if job.accelerator and not re.fullmatch(
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?", job.accelerator
    ):
        raise ConfigError(
            f"--accelerator={job.accelerator} is not what Google Kubernetes "
            f"Engine calls a GPU; use one of {', '.join(_ACCELERATORS)}, or "
            f"--accelerator={kubernetes_pod.ANY_GPU} and a --node_selector "
            "where nodes are not labelled by Google."
        )


def _check_name(job, settings):
    if not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", job.name):
        raise ConfigError(
            f"--name={job.name} cannot be a host name; give --name=NAME with "
            "small letters, digits and - only, beginning with a letter."
        )
    added = kubernetes_job.longest_suffix(settings.kind, job.workers)
    if settings.tensorboard:
        added = max(added, kubernetes_pod.TENSORBOARD_SUFFIX, key=len)
    most = _LABEL_LENGTH - len(added)
    if len(job.name) > most:
        raise ConfigError(
            f"--name={job.name} has {len(job.name)} characters, which with "
            f"{added} is too long for a host name; the most is {most}."
        )
