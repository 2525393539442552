"""The forms that a job has on Kubernetes: Job, JobSet, TrainJob, TFJob."""

from trainer.submit.kubernetes import kubectl, pod as kubernetes_pod

_PORT = 2222
# Crashes, of all workers together, after which the job is given up. What the
# trainer wants to be run again for does not count.
_MOST_CRASHES = 5
_WORKERS = "workers"
# What Kubeflow Trainer looks for: a replicated job, and a container, of this
# name, in a job with this label.
_NODE, _TRAINER_VERSION = "node", "trainer.kubeflow.org/v1alpha1"
_TRAINER_STEP = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}


def longest_suffix(kind, workers):
    """Returns what the longest name made from that of a job ends in.

    Args:
        kind: str, a key of `FORMS`.
        workers: int.
    """
    return {
        "job": f"-{workers - 1}",
        # JobSet counts the random letters of a pod's name as well.
        "jobset": f"-{_WORKERS}-0-{workers - 1}-xxxxx",
        "trainjob": f"-{_NODE}-0-{workers - 1}-xxxxx",
        "tfjob": f"-worker-{workers - 1}",
    }[kind]


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
            "ports": [{"name": "workers", "port": _PORT}],
        },
    }


def _job(job, settings):
    pod_names = f"{job.name}-{{}}.{job.name}"
    spec = _job_spec(job, settings, pod_names, _MOST_CRASHES)
    objects = []
    if job.workers > 1:
        spec["template"]["spec"]["subdomain"] = job.name
        objects.append(_meeting_place(job))
    return [
        *objects,
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": kubernetes_pod.metadata(job.name, job, "trainer"),
            "spec": spec,
        },
    ]


def _job_spec(job, settings, pod_names, backoff_limit, container="trainer"):
    """Returns the `spec` of a Job.

    When a worker of several dies, the others exit with 75 within a minute.
    The Job makes all of them again, the dead one counted or not, each under
    the host name that it had, and they wait for each other. So no index has a
    limit of its own (backoffLimitPerIndex): none can go on without the rest.
    """
    env = {}
    if job.workers > 1:
        env["WORKER_HOSTS"] = ",".join(
            f"{pod_names.format(index)}:{_PORT}" for index in range(job.workers)
        )
    spec = {
        "backoffLimit": backoff_limit,
        # A pod that still saves has the bucket and the host name.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules(container)},
        "template": {
            "metadata": {"labels": kubernetes_pod.labels(job, "trainer")},
            "spec": {
                "restartPolicy": "Never",
                **kubernetes_pod.trainer(job, settings, container, env),
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


def _failure_rules(container):
    """Returns what a failed pod means; the first rule that fits decides.

    A crash, or a lack of memory (137), fits none, and counts.
    https://kubernetes.io/docs/tasks/job/pod-failure-policy/
    """
    code = {"containerName": container, "operator": "In"}
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
    jobset = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": kubernetes_pod.metadata(job.name, job, "trainer"),
        "spec": _jobset_spec(job, settings, _WORKERS, "trainer"),
    }
    return [jobset]


def _jobset_spec(job, settings, workers, container):
    """Returns the `spec` of a JobSet.

    Args:
        job: a `Job`.
        settings: a `kubernetes.Settings`.
        workers: str, the name of its replicated job.
        container: str, the name of the container that trains.
    """
    pod_names = f"{job.name}-{workers}-0-{{}}.{job.name}"
    # The first crash ends its Job, which the JobSet answers by starting all
    # workers again at once, in place of a minute in which they find out. The
    # time of --timeout_hours begins anew with that.
    spec = _job_spec(job, settings, pod_names, 0, container)
    return {
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
            {"name": workers, "replicas": 1, "template": {"spec": spec}}
        ],
    }


def _trainjob(job, settings):
    """Returns a TrainJob, after the TrainingRuntime that it refers to.

    Kubeflow Trainer has no runtime for TensorFlow (kubeflow/trainer#2699), and
    a TrainJob cannot say what a failure means, so it comes with a runtime of
    its own. The JobSet that Trainer makes of both has the name of the job.
    https://github.com/kubeflow/trainer/tree/v2.2.0/pkg/apis/trainer/v1alpha1
    """
    jobset = _jobset_spec(job, settings, _NODE, _NODE)
    (workers,) = jobset["replicatedJobs"]
    workers["template"] = {
        "metadata": {"labels": _TRAINER_STEP},
        **workers["template"],
    }
    (container,) = workers["template"]["spec"]["template"]["spec"]["containers"]
    # Trainer puts these in. Who looks at the job sees what it runs.
    trainer = {"numNodes": job.workers, "image": job.image}
    trainer["args"] = container.pop("args")
    runtime = {
        "apiVersion": _TRAINER_VERSION,
        "kind": "TrainingRuntime",
        "metadata": kubernetes_pod.metadata(job.name, job, "trainer"),
        "spec": {
            "mlPolicy": {"numNodes": job.workers},
            "template": {"spec": jobset},
        },
    }
    reference = {
        "apiGroup": _TRAINER_VERSION.partition("/")[0],
        "kind": "TrainingRuntime",
        "name": job.name,
    }
    trainjob = {
        "apiVersion": _TRAINER_VERSION,
        "kind": "TrainJob",
        "metadata": kubernetes_pod.metadata(job.name, job, "trainer"),
        "spec": {"runtimeRef": reference, "trainer": trainer},
    }
    return [runtime, trainjob]


def _tfjob(job, settings):
    """Returns a TFJob, whose operator sets TF_CONFIG.

    It starts a pod again after the codes 128 to 255 alone, so that 75 would be
    its end; the variable makes the trainer say 134 instead. It counts no
    crashes there (kubeflow/trainer#2045): --timeout_hours is what ends a job
    that always crashes.
    https://kubeflow.org/docs/components/training/tftraining/
    """
    env = {"RUN_AGAIN_AS_ABORT": "1"}
    # The operator looks for a container of this name.
    pod = kubernetes_pod.trainer(job, settings, "tensorflow", env)
    policy = {"cleanPodPolicy": "Running"}
    if job.timeout_hours:
        policy["activeDeadlineSeconds"] = _seconds(job.timeout_hours)
    tfjob = {
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
    return [tfjob]


def queue(item, name):
    """Has a job wait in a queue of Kueue, which starts it when it is due.

    https://kueue.sigs.k8s.io/docs/tasks/run/jobs/

    Args:
        item: dict, a job of any of the `FORMS`.
        name: str, of the LocalQueue.
    """
    labels = item["metadata"]["labels"]
    item["metadata"]["labels"] = {**labels, kubectl.QUEUE_LABEL: name}
    spec = item["spec"]
    policy = spec["runPolicy"] if item["kind"] == "TFJob" else spec
    policy["suspend"] = True


def _seconds(hours):
    return max(1, round(hours * 3600))


# What renders each: a function of a `Job` and a `kubernetes.Settings` that
# returns a list of dict, the job as the last.
FORMS = {
    "job": _job,
    "jobset": _jobset,
    "trainjob": _trainjob,
    "tfjob": _tfjob,
}
