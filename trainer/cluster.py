"""Which devices and peers: the distribution strategy and the chief."""

import dataclasses
import json
import os

import tensorflow as tf

from trainer.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The devices that a job trains on.

    Attributes:
        strategy: a `tf.distribute.Strategy`.
        is_chief: whether this process writes the job directory.
        device_kind: `"GPU"` or `"CPU"`.
    """

    strategy: tf.distribute.Strategy
    is_chief: bool
    device_kind: str

    @property
    def replica_count(self):
        """Number of replicas on all machines together."""
        return self.strategy.num_replicas_in_sync

    def describe(self):
        """Returns for instance `"4 CPU replicas"`."""
        plural = "" if self.replica_count == 1 else "s"
        return f"{self.replica_count} {self.device_kind} replica{plural}"


def connect(config):
    """Returns the `Cluster` of a config. Call it before any TensorFlow op.

    Raises:
        ConfigError: the devices asked for are not there, or the batch cannot
            be split among the replicas.
    """
    _refuse_several_machines(config)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    if config.virtual_devices and gpus:
        raise ConfigError(
            f"--virtual_devices={config.virtual_devices} splits the CPU, but "
            f"this machine has {len(gpus)} GPU(s); leave it out, or hide the "
            "GPUs with CUDA_VISIBLE_DEVICES=-1."
        )
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    devices = (
        _split_cpu(config.virtual_devices)
        if config.virtual_devices > 1
        else [f"GPU:{index}" for index in range(len(gpus))] or ["CPU:0"]
    )
    if config.strategy == "none":
        strategy = tf.distribute.OneDeviceStrategy(devices[0])
    else:
        # The default on CPU devices is a collective whose keys are global to
        # the process, so that two strategies of other sizes fail; on GPUs it
        # is NCCL.
        strategy = tf.distribute.MirroredStrategy(
            devices, None if gpus else tf.distribute.ReductionToOneDevice()
        )
    cluster = Cluster(
        strategy=strategy,
        is_chief=True,
        device_kind="GPU" if gpus else "CPU",
    )
    _check_batch_size(config.batch_size, cluster.replica_count)
    return cluster


def _refuse_several_machines(config):
    try:
        tf_config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        peers = sum(
            len(hosts) for hosts in tf_config.get("cluster", {}).values()
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"TF_CONFIG is not the JSON of a cluster ({error}); unset it to "
            "train on this machine alone."
        ) from error
    if peers > 1 or config.strategy == "multi_worker":
        raise ConfigError(
            "Training on several machines is not in this version "
            f"(--strategy={config.strategy}, TF_CONFIG names {peers} tasks); "
            "unset TF_CONFIG and use --strategy=auto."
        )


def _split_cpu(count):
    """Returns the names of `count` logical CPU devices, making them first."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    made = tf.config.get_logical_device_configuration(cpu) or []
    if len(made) < count:
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
        except RuntimeError as error:
            raise ConfigError(
                f"--virtual_devices={count} came too late: TensorFlow has "
                "already started in this process."
            ) from error
    return [f"CPU:{index}" for index in range(count)]


def _check_batch_size(batch_size, replica_count):
    if batch_size % replica_count == 0:
        return
    below = batch_size // replica_count * replica_count
    sizes = [size for size in (below, below + replica_count) if size]
    counts = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
    raise ConfigError(
        f"--batch_size={batch_size} cannot be split evenly among "
        f"{replica_count} replicas; use --batch_size="
        f"{' or '.join(map(str, sizes))}, or one of "
        f"{', '.join(map(str, counts))} replicas."
    )
