"""A job as Kubernetes takes it: a Job, a JobSet or a TFJob, and TensorBoard.

Kubernetes 1.31 is the first that has all of its fields without being asked.
"""

import dataclasses
import math
import re

from absl import flags

from trainer.errors import ConfigError
from trainer.submit import kubernetes_pod, machines

KINDS = ("job", "jobset", "tfjob")
PORT = 2222
# Crashes, of all workers together, after which the job is given up. What the
# trainer wants to be run again for does not count.
_MOST_CRASHES = 5
_WORKERS = "workers"
_LABEL_LENGTH = 63
_ANY = "any"
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

    def __post_init__(self):
        for name in ("namespace", "service_account"):
            value = getattr(self, name)
            if value and not re.fullmatch(
                "[a-z0-9]([-a-z0-9]*[a-z0-9])?", value
            ):
                raise ConfigError(
                    f"--{name}={value} is not a name in Kubernetes, which has "
                    "small letters, digits and - only."
                )
        for name in ("cpus", "memory_gib"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"--{name} is not a finite number.")
        for text in self.node_selector:
            if not re.fullmatch(r"[\w./-]+=[\w.-]*", text, re.ASCII):
                raise ConfigError(
                    f"--node_selector={text} is not of the form KEY=VALUE, "
                    "for instance topology.kubernetes.io/zone=us-central1-a."
                )


def define_flags(flag_values):
    """Defines the flags of `Settings`."""
    flags.DEFINE_enum(
        "kind",
        KINDS[0],
        KINDS,
        "job: Kubernetes' own; jobset: JobSet, which starts all workers again "
        "at once; tfjob: TFJob of Kubeflow's training operator, release 1.9",
        flag_values=flag_values,
    )
    for name, text in {
        "namespace": "default: that of kubectl's context",
        "service_account": "Kubernetes service account that may use the "
        "bucket; default: that of the namespace",
    }.items():
        flags.DEFINE_string(name, "", text, flag_values=flag_values)
    for name, text in {
        "cpus": "CPU cores that each pod asks for; 0: 3, or 3 for each GPU",
        "memory_gib": "memory of each pod in GiB; 0: 4, and 6 for each GPU",
    }.items():
        flags.DEFINE_float(
            name, 0.0, text, flag_values=flag_values, lower_bound=0
        )
    flags.DEFINE_multi_string(
        "node_selector",
        [],
        "KEY=VALUE, a label of the nodes to run on; may be repeated. On Google "
        "Kubernetes Engine --accelerator and --spot add theirs",
        flag_values=flag_values,
    )
    flags.DEFINE_boolean(
        "tensorboard",
        True,
        "run TensorBoard beside the job",
        flag_values=flag_values,
    )


def render(job, settings):
    """Returns what Kubernetes calls a job.

    Args:
        job: a `Job`.
        settings: a `Settings`.

    Returns:
        A list of dict, the objects in JSON's names; the last is the job.

    Raises:
        ConfigError: the training would refuse its flags, or Kubernetes cannot
            run the job as described.
    """
    job.train_config()
    if not re.fullmatch(r"gs://[^/]+/.+", job.job_dir):
        raise ConfigError(
            f"--job_dir={job.job_dir} does not outlive the pods of the job; "
            "give gs://BUCKET/FOLDER."
        )
    _check_accelerator(job)
    _check_name(job, settings)
    objects = []
    if settings.tensorboard:
        objects += kubernetes_pod.tensorboard(job, settings)
    if settings.kind == "job" and job.workers > 1:
        objects.append(_meeting_place(job))
    form = {"job": _job, "jobset": _jobset, "tfjob": _tfjob}[settings.kind]
    objects.append(form(job, settings))
    if settings.namespace:
        for item in objects:
            item["metadata"]["namespace"] = settings.namespace
    return objects


def _check_accelerator(job):
    if job.accelerator in ("", _ANY):
        return
    if job.accelerator not in _ACCELERATORS:
        raise ConfigError(
            f"--accelerator={job.accelerator} is not one of "
            f"{', '.join(_ACCELERATORS)}; give --accelerator={_ANY} and a "
            "--node_selector where nodes are not labelled by Google."
        )
    counts = machines.gpu_counts(_ACCELERATORS[job.accelerator])
    if job.gpus not in counts:
        raise ConfigError(
            f"No machine has {job.gpus} {job.accelerator} in Google's table of "
            f"{machines.DATE} ({machines.SOURCE}); use --gpus="
            f"{' or '.join(map(str, counts))}."
        )


def _check_name(job, settings):
    if not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", job.name):
        raise ConfigError(
            f"--name={job.name} cannot be a host name; give --name=NAME with "
            "small letters, digits and - only, beginning with a letter."
        )
    last = job.workers - 1
    # What the longest name made from it ends in. JobSet counts the random
    # letters of a pod's name as well.
    added = {
        "job": f"-{last}",
        "jobset": f"-{_WORKERS}-0-{last}-xxxxx",
        "tfjob": f"-worker-{last}",
    }[settings.kind]
    if settings.tensorboard:
        added = max(added, kubernetes_pod.TENSORBOARD_SUFFIX, key=len)
    most = _LABEL_LENGTH - len(added)
    if len(job.name) > most:
        raise ConfigError(
            f"--name={job.name} has {len(job.name)} characters, which with "
            f"{added} is too long for a host name; the most is {most}."
        )


def _meeting_place(job):
    """Returns the Service that gives the pods of a Job their host names.

    https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": kubernetes_pod.metadata(job.name, job, "trainer"),
        "spec": {
            "clusterIP": "None",
            # The chief looks itself up before it is ready for anything.
            "publishNotReadyAddresses": True,
            "selector": kubernetes_pod.labels(job, "trainer"),
            "ports": [{"name": "workers", "port": PORT}],
        },
    }


def _job(job, settings):
    metadata = kubernetes_pod.metadata(job.name, job, "trainer")
    pod_names = f"{job.name}-{{}}.{job.name}"
    spec = _job_spec(job, settings, pod_names, _MOST_CRASHES)
    if job.workers > 1:
        spec["template"]["spec"]["subdomain"] = job.name
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": spec,
    }


def _job_spec(job, settings, pod_names, backoff_limit):
    """Returns the `spec` of a Job.

    When a worker of several dies, the others exit with 75 within a minute.
    The Job makes all of them again, the dead one counted or not, each under
    the host name that it had, and they wait for each other. So no index has a
    limit of its own (backoffLimitPerIndex): none can go on without the rest.
    """
    env = {}
    if job.workers > 1:
        env["WORKER_HOSTS"] = ",".join(
            f"{pod_names.format(index)}:{PORT}" for index in range(job.workers)
        )
    spec = {
        "backoffLimit": backoff_limit,
        # A pod that still saves has the bucket and the host name.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules()},
        "template": {
            "metadata": {"labels": kubernetes_pod.labels(job, "trainer")},
            "spec": {
                "restartPolicy": "Never",
                **kubernetes_pod.trainer(job, settings, "trainer", env),
            },
        },
    }
    if job.timeout_hours:
        spec["activeDeadlineSeconds"] = _seconds(job.timeout_hours)
    if job.workers > 1:
        spec["completionMode"] = "Indexed"
        spec["completions"] = spec["parallelism"] = job.workers
        # A worker ends with 0 only after the chief has said that all is done.
        # One that is lost just then would wait for the others for ever.
        spec["successPolicy"] = {"rules": [{"succeededCount": 1}]}
    return spec


def _failure_rules():
    """Returns what a failed pod means; the first rule that fits decides.

    A crash, or a lack of memory (137), fits none, and counts.
    https://kubernetes.io/docs/tasks/job/pod-failure-policy/
    """
    code = {"containerName": "trainer", "operator": "In"}
    return [
        # Evicted, or its node was taken away, whatever code it ended with.
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {"action": "Ignore", "onExitCodes": {**code, "values": [75]}},
        # Wrong flags, or a failure that would come again.
        {"action": "FailJob", "onExitCodes": {**code, "values": [1, 2]}},
    ]


def _jobset(job, settings):
    pod_names = f"{job.name}-{_WORKERS}-0-{{}}.{job.name}"
    # The first crash ends its Job, which the JobSet answers by starting all
    # workers again at once, in place of a minute in which they find out.
    spec = _job_spec(job, settings, pod_names, 0)
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": kubernetes_pod.metadata(job.name, job, "trainer"),
        "spec": {
            "network": {
                "enableDNSHostnames": True,
                "subdomain": job.name,
                "publishNotReadyAddresses": True,
            },
            "failurePolicy": {
                "maxRestarts": _MOST_CRASHES,
                "rules": [
                    {
                        "name": "permanent",
                        "action": "FailJobSet",
                        "onJobFailureReasons": [
                            "PodFailurePolicy",
                            "DeadlineExceeded",
                        ],
                    }
                ],
            },
            "replicatedJobs": [
                {"name": _WORKERS, "replicas": 1, "template": {"spec": spec}}
            ],
        },
    }


def _tfjob(job, settings):
    """Returns a TFJob, whose operator sets TF_CONFIG.

    It starts a pod again after the codes 128 to 255 alone, so that 75 would be
    its end; the variable makes the trainer say 134 instead. It counts no
    crashes there (kubeflow/training-operator#2045): --timeout_hours is what
    ends a job that always crashes.
    https://www.kubeflow.org/docs/components/trainer/legacy-v1/user-guides/tensorflow/
    """
    env = {"RUN_AGAIN_AS_ABORT": "1"}
    # The operator looks for a container of this name.
    pod = kubernetes_pod.trainer(job, settings, "tensorflow", env)
    policy = {"cleanPodPolicy": "Running"}
    if job.timeout_hours:
        policy["activeDeadlineSeconds"] = _seconds(job.timeout_hours)
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": kubernetes_pod.metadata(job.name, job, "trainer"),
        "spec": {
            "runPolicy": policy,
            "tfReplicaSpecs": {
                "Worker": {
                    "replicas": job.workers,
                    "restartPolicy": "ExitCode",
                    "template": {
                        "metadata": {
                            "labels": kubernetes_pod.labels(job, "trainer")
                        },
                        "spec": pod,
                    },
                }
            },
        },
    }


def _seconds(hours):
    return max(1, round(hours * 3600))
