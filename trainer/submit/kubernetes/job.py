"""The forms that a job has on Kubernetes: a Job, a JobSet, a TFJob."""

from trainer.submit.kubernetes import kubectl, pod as kubernetes_pod

_PORT = 2222
# Crashes, of all workers together, after which the job is given up. What the
# trainer wants to be run again for does not count.
_MOST_CRASHES = 5
_WORKERS = "workers"


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
            f"{pod_names.format(index)}:{_PORT}" for index in range(job.workers)
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
    # workers again at once, in place of a minute in which they find out. The
    # time of --timeout_hours begins anew with that.
    spec = _job_spec(job, settings, pod_names, 0)
    jobset = {
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
    return [jobset]


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
FORMS = {"job": _job, "jobset": _jobset, "tfjob": _tfjob}
