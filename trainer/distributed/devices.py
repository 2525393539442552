"""Which devices and peers: the distribution strategy and the chief."""

import contextlib
import dataclasses
import os

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import config as tf_config

from trainer.distributed import allocator, gpus as gpus_lib
from trainer.errors import ConfigError

# Two halves of a batch, each of whose operations keeps to half of the cores,
# are faster on a CPU than a batch whose every operation is dealt out to all of
# them. It is a constant since the order of sums depends on it.
_PARTS = 2


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The devices that a job trains on.

    Attributes:
        strategy: a `tf.distribute.Strategy`.
        device_kind: `"GPU"` or `"CPU"`.
        parts: into how many parts each replica cuts its batch, or each slice
            of that, to compute them abreast.
        gpu: dict, what is recorded of the GPUs of this machine, as from
            `gpus.describe`; None where it has none.
    """

    strategy: tf.distribute.Strategy
    device_kind: str
    parts: int = 1
    gpu: dict | None = None

    @property
    def replica_count(self):
        """Number of replicas on all machines together."""
        return self.strategy.num_replicas_in_sync

    def describe(self):
        """Returns for instance `"4 CPU replicas"`."""
        plural = "" if self.replica_count == 1 else "s"
        return f"{self.replica_count} {self.device_kind} replica{plural}"


def check_workers(config, topology):
    """Refuses what cannot work on several machines, before they meet.

    Raises:
        ConfigError: the replicas are asked for in a way that cannot be had.
    """
    if config.virtual_devices > 1:
        raise ConfigError(
            f"--virtual_devices={config.virtual_devices} does not work on "
            "several machines: TensorFlow gives the CPU of each one replica. "
            "Leave it out."
        )
    config.check_replicas(len(topology.hosts))


def connect(config, topology=None):
    """Returns the `Cluster` of a config. Call it before any TensorFlow op.

    Args:
        config: a `TrainConfig`.
        topology: the `Topology` of several machines, whose other workers call
            this as well; None for this machine alone.

    Raises:
        ConfigError: the devices asked for are not there, or the batch cannot
            be split among the replicas.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    allocator.keep_freed_memory()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.experimental.enable_tensor_float_32_execution(
            gpus_lib.uses_tf32(config)
        )
    parts = _parts_of(config, gpus, topology)
    if parts > 1:
        _share_cores()
    if gpus:
        devices = _gpu_devices(config, gpus)
    elif config.virtual_devices > 1:
        devices = _split_cpu(config.virtual_devices)
    else:
        devices = ["CPU:0"]
    if topology is not None:
        strategy = _multi_worker_strategy(topology, len(gpus))
    elif config.strategy == "none":
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
        device_kind="GPU" if gpus else "CPU",
        parts=parts,
        gpu=gpus_lib.describe(
            gpus[:1] if config.strategy == "none" else gpus,
            strategy.num_replicas_in_sync,
        ),
    )
    config.check_replicas(cluster.replica_count)
    return cluster


@contextlib.contextmanager
def determinism_kept():
    """Leaves TensorFlow no more deterministic than it was before the block.

    It would refuse to draw random numbers without a seed, for as long as the
    process lives. There is no public way to undo what a job asks for. How
    exactly a GPU multiplies is put back as well.
    """
    before = tf_config.is_op_determinism_enabled()
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        yield
    finally:
        if tf.config.experimental.tensor_float_32_execution_enabled() != tf32:
            tf.config.experimental.enable_tensor_float_32_execution(tf32)
        if not before:
            tf_config.disable_op_determinism()


def has_its_threads(config):
    """Whether TensorFlow has the threads in this process that a job gives it.

    Where it ran before the job it keeps those that it has. With others sums
    are rounded in another order.

    Args:
        config: the `TrainConfig` of a job on this machine alone.
    """
    gpus = tf.config.list_physical_devices("GPU")
    return _parts_of(config, gpus) == 1 or _share_cores()


def _parts_of(config, gpus, topology=None):
    """Returns into how many parts a replica cuts its batch, or each slice."""
    slices = config.microbatches * (len(topology.hosts) if topology else 1)
    slice_size = config.batch_size // slices
    if gpus or config.virtual_devices > 1 or slice_size % _PARTS:
        return 1
    return _PARTS


def _share_cores():
    """Gives each part of a batch its share of the cores of this process.

    Returns:
        Whether it has it: in a process where TensorFlow runs it is too late.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        tf.config.threading.set_intra_op_parallelism_threads(
            max(1, cores // _PARTS)
        )
        tf.config.threading.set_inter_op_parallelism_threads(_PARTS)
    except RuntimeError:
        return False
    return True


def _multi_worker_strategy(topology, gpu_count):
    # TensorFlow's coordination service would hold Python's lock until every
    # worker has come, however long that takes, and handle SIGTERM itself.
    # There is no public way to leave it out; peers.py does its work.
    context.context().configure_coordination_service(service_type="")
    communication = tf.distribute.experimental.CommunicationImplementation
    return tf.distribute.MultiWorkerMirroredStrategy(
        # All are called workers; the first one is the chief then.
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(topology.hosts)}),
            task_type="worker",
            task_id=topology.index,
            rpc_layer="grpc",
            num_accelerators={"GPU": gpu_count},
        ),
        # AUTO is not reproducible from run to run (tensorflow#120987).
        tf.distribute.experimental.CommunicationOptions(
            implementation=communication.NCCL
            if gpu_count
            else communication.RING
        ),
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


def _gpu_devices(config, gpus):
    """Returns the names of the GPUs; of a single one's parts if it is split.

    Raises:
        ConfigError: they cannot be split like that.
    """
    limit = config.gpu_memory_limit_gib
    count = max(config.virtual_devices, 1)
    if count > 1 and len(gpus) > 1:
        raise ConfigError(
            f"--virtual_devices={count} splits one device, but this machine "
            f"has {len(gpus)} GPUs; leave it out, keep one of them with "
            "CUDA_VISIBLE_DEVICES=0, or hide all with CUDA_VISIBLE_DEVICES=-1."
        )
    if count > 1 and not limit:
        raise ConfigError(
            f"--virtual_devices={count} splits a GPU, whose parts need a "
            "limit of memory; give --gpu_memory_limit_gib, which they share, "
            "or hide the GPU with CUDA_VISIBLE_DEVICES=-1."
        )
    if not limit:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        return [f"GPU:{index}" for index in range(len(gpus))]
    # TensorFlow refuses to let the memory of a device with a limit grow, and
    # takes all of it at once, but for this variable.
    # https://www.tensorflow.org/guide/gpu#limiting_gpu_memory_growth
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    part = tf.config.LogicalDeviceConfiguration(
        memory_limit=int(limit * 1024 / count)
    )
    for gpu in gpus:
        made = tf.config.get_logical_device_configuration(gpu) or []
        if len(made) == count:
            continue
        try:
            tf.config.set_logical_device_configuration(gpu, [part] * count)
        except RuntimeError as error:
            raise ConfigError(
                f"--gpu_memory_limit_gib={limit:g} came too late: TensorFlow "
                "has already started in this process."
            ) from error
    return [f"GPU:{index}" for index in range(len(gpus) * count)]
