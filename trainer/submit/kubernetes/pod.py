"""The pods of a job on Kubernetes: of the trainer, and of TensorBoard."""

import secrets

from trainer.submit.kubernetes import extras

# The --accelerator of clusters with labels of their own.
ANY_GPU = "any"
TENSORBOARD_SUFFIX = "-tensorboard"
_TENSORBOARD_PORT = 6006
# The user of the image. A number, since Kubernetes asks whether it is root's.
_USER = 10001
# The trainer saves within 30 s and sends for 20 s more. A Spot node of Google's
# gives 15 s unless its pool says otherwise, which is a kill like any other.
# https://docs.cloud.google.com/kubernetes-engine/docs/concepts/spot-vms
_GRACE_SECONDS = 90
# The staging folder: three checkpoints, the pictures, and what waits.
_DISK = "10Gi"
# Where the pods of several workers find the secret of the job.
_TOKEN_FOLDER, _TOKEN_KEY = "/etc/vae-trainer", "token"
_TOKEN_BYTES = 32
# By the first field of one.
_KINDS_OF_VOLUMES = {
    "secretName": "secret",
    "claimName": "persistentVolumeClaim",
}


def labels(job, component):
    """Returns what marks the pods of a job, and finds them.

    Args:
        job: a `Job`.
        component: `"trainer"` or `"tensorboard"`.
    """
    return {
        "app.kubernetes.io/name": "vae-trainer",
        "app.kubernetes.io/instance": job.name,
        "app.kubernetes.io/component": component,
    }


def metadata(name, job, component):
    """Returns the `metadata` of an object of a job."""
    return {"name": name, "labels": labels(job, component)}


def trainer(job, settings, container_name, env):
    """Returns the `spec` of a pod that trains.

    Args:
        job: a `Job`.
        settings: a `kubernetes.Settings`.
        container_name: str.
        env: dict of str, variables of the container beside the job's own.
    """
    # The image writes to these alone: to /tmp bucket staging and caches, to
    # /runs the data set that it downloads.
    volumes = {"tmp": ("/tmp", {}), "runs": ("/runs", {})}  # noqa: S108
    volumes |= extras.volumes(settings.claims)
    if job.gpus:
        # NCCL exchanges gradients through it. Containers have 64 MB unless
        # told otherwise, too little for several GPUs without NVLink. It counts
        # as memory of the pod.
        shared = {"medium": "Memory", "sizeLimit": f"{job.gpus}Gi"}
        volumes["shm"] = ("/dev/shm", shared)  # noqa: S108
    flags = job.arguments
    if needs_token(job, settings):
        source = {"secretName": _token_name(job), "defaultMode": 0o440}
        volumes["token"] = (_TOKEN_FOLDER, source)
        flags.insert(0, f"--cluster_token_file={_TOKEN_FOLDER}/{_TOKEN_KEY}")
    memory = _gib(settings.memory_gib or 4 + 6 * job.gpus)
    resources = {
        "requests": {
            "cpu": f"{settings.cpus or 3 * max(job.gpus, 1):g}",
            "memory": memory,
            "ephemeral-storage": _DISK,
        },
        # No limit of CPU: what nobody else wants of the node is used.
        "limits": {"memory": memory, "ephemeral-storage": _DISK},
    }
    if job.gpus:
        resources["limits"]["nvidia.com/gpu"] = str(job.gpus)
    container = {
        "name": container_name,
        "image": job.image,
        "args": [
            _as_it_is(text) for text in (f"--job_dir={job.job_dir}", *flags)
        ],
    }
    if env := {**job.env, **env}:
        container["env"] = [
            {"name": name, "value": _as_it_is(value)}
            for name, value in env.items()
        ]
    pod = _pod(settings, {**container, "resources": resources}, volumes)
    pod["terminationGracePeriodSeconds"] = _GRACE_SECONDS
    pod |= _placement(job, settings)
    return pod


def needs_token(job, settings):
    """Whether the pods of a job know each other by a secret made for it.

    One pod has nobody to know, and a user may have chosen another secret.
    """
    if job.workers == 1:
        return False
    return job.train_config(mounts=settings.claims).has_default_secret


def token(job):
    """Returns the Secret of a job that needs one; another at each call."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(_token_name(job), job, "trainer"),
        "type": "Opaque",
        "stringData": {_TOKEN_KEY: secrets.token_hex(_TOKEN_BYTES)},
    }


def how_to_make_token(job, settings):
    """Returns the command that makes such a Secret by hand."""
    place = f" --namespace={settings.namespace}" if settings.namespace else ""
    return (
        f"kubectl create secret generic {_token_name(job)}{place} "
        f'--from-literal={_TOKEN_KEY}="$(openssl rand -hex {_TOKEN_BYTES})"'
    )


def network_policy(job):
    """Returns the NetworkPolicy of a job: its pods alone may reach its pods.

    TensorFlow's port asks nobody for a password, nor does TensorBoard's.
    `kubectl port-forward` comes from within the pod, and is not kept out.
    https://kubernetes.io/docs/concepts/services-networking/network-policies/
    """
    pods = {"matchLabels": labels(job, "trainer")}
    del pods["matchLabels"]["app.kubernetes.io/component"]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(job.name, job, "trainer"),
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": pods}]}],
        },
    }


def tensorboard(job, settings):
    """Returns the objects that show the curves of a job.

    Args:
        job: a `Job`.
        settings: a `kubernetes.Settings`.

    Returns:
        A list of dict: a Deployment, and a Service for the cluster alone.
    """
    name = job.name + TENSORBOARD_SUFFIX
    selector = labels(job, "tensorboard")
    container = {
        "name": "tensorboard",
        "image": job.image,
        # The fast loader takes no credentials from a metadata server
        # (tensorflow/tensorboard#5850).
        "command": [
            "tensorboard",
            _as_it_is(f"--logdir={job.job_dir}/logs"),
            "--reload_interval=60",
            "--load_fast=false",
            "--host=0.0.0.0",
            f"--port={_TENSORBOARD_PORT}",
        ],
        "ports": [{"name": "http", "containerPort": _TENSORBOARD_PORT}],
        "resources": {
            "requests": {"cpu": "250m", "memory": "1Gi"},
            "limits": {"memory": "2Gi"},
        },
    }
    volumes = {"tmp": ("/tmp", {})}  # noqa: S108
    if not job.job_dir.startswith("gs://"):
        volumes |= extras.volumes(settings.claims)
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(name, job, "tensorboard"),
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {"labels": selector},
                    "spec": _pod(settings, container, volumes),
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(name, job, "tensorboard"),
            "spec": {
                "type": "ClusterIP",
                "selector": selector,
                "ports": [
                    {
                        "name": "http",
                        "port": _TENSORBOARD_PORT,
                        "targetPort": "http",
                    }
                ],
            },
        },
    ]


def _pod(settings, container, volumes):
    """Returns the `spec` of a pod that may do as little as possible."""
    container = {
        **container,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": name, "mountPath": path}
            for name, (path, _) in volumes.items()
        ],
    }
    pod = {
        # Nothing here talks to Kubernetes. Google's credentials come from the
        # node's metadata server, which asks for the account's token itself.
        # https://docs.cloud.google.com/kubernetes-engine/docs/concepts/workload-identity
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {
                "name": name,
                _KINDS_OF_VOLUMES.get(
                    next(iter(source), ""), "emptyDir"
                ): source,
            }
            for name, (_, source) in volumes.items()
        ],
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    return pod


def _token_name(job):
    return f"{job.name}-token"


def _placement(job, settings):
    """Returns the fields of a pod that say on which nodes it may run."""
    selector, tolerations = {}, []
    if job.gpus:
        if job.accelerator != ANY_GPU:
            selector["cloud.google.com/gke-accelerator"] = job.accelerator
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists"})
    if job.spot:
        selector["cloud.google.com/gke-spot"] = "true"
        tolerations.append(
            {
                "key": "cloud.google.com/gke-spot",
                "operator": "Equal",
                "value": "true",
            }
        )
    selector |= dict(text.split("=", 1) for text in settings.node_selector)
    placement = {}
    if selector:
        placement["nodeSelector"] = selector
    if tolerations:
        placement["tolerations"] = [
            {**toleration, "effect": "NoSchedule"} for toleration in tolerations
        ]
    if job.workers > 1:
        # Workers without GPUs would fit on one node, and share its cores.
        placement["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels(job, "trainer")},
            }
        ]
    return placement


def _as_it_is(text):
    """Returns a word or a value in which Kubernetes replaces nothing.

    It puts the value of a variable in the place of $(NAME), and $ in that of
    $$: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#entrypoint
    """
    return text.replace("$", "$$")


def _gib(amount):
    return f"{round(amount * 1024)}Mi" if amount % 1 else f"{amount:.0f}Gi"
