"""Checks of the devices: they are there, they multiply, they exchange."""

import time

import numpy as np
import tensorflow as tf

from trainer.doctor import rows
from trainer.runtime import gpu_environment

_SIDE = 512
# What a GPU is timed on: 137 billion operations, about 10 ms of an L4.
_TIMED_SIDE, _TIMED = 4096, 3
_REDUCED_BYTES = {"GPU": 64 << 20, "CPU": 4 << 20}
_ROUNDS = 5
_SHOWN = 200  # Characters of an error of TensorFlow.


def there(case):
    """Whether TensorFlow sees every GPU of the machine."""
    seen = tf.config.list_physical_devices("GPU")
    if not gpu_environment.has_gpu():
        return rows.ok(case.cluster.describe())
    if not seen:
        return rows.failure(
            "An NVIDIA driver is here, but TensorFlow finds no GPU.",
            'Install its CUDA libraries: pip install "vae-trainer[gpu]"; '
            "TF_CPP_MIN_LOG_LEVEL=0 shows which of them is missing.",
        )
    listed = case.gpus
    # Of one that is split, a process sees a single instance.
    # https://docs.nvidia.com/datacenter/tesla/mig-user-guide/
    is_split = listed and any(gpu.is_split for gpu in listed)
    if listed and not is_split and len(listed) > len(seen):
        return rows.failure(
            f"nvidia-smi lists {len(listed)} GPUs, but TensorFlow sees "
            f"{len(seen)}.",
            "A GPU may have failed: look at `nvidia-smi -q` and `dmesg`, or "
            "take another machine.",
        )
    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in seen
    ]
    counts = ", ".join(
        f"{names.count(name)} x {name}" for name in dict.fromkeys(names)
    )
    if len(set(names)) > 1:
        return rows.warning(
            f"{counts}: GPUs of several models.",
            "The slowest sets the pace; keep those of one model with "
            "CUDA_VISIBLE_DEVICES.",
        )
    return rows.ok(f"{case.cluster.describe()}: {counts}")


def multiplies(device, case):
    """Whether a device multiplies and adds as NumPy does.

    Whole numbers below 2^10 are exact in TensorFloat-32 too, and so are their
    sums below 2^24 in float32.

    Args:
        device: str, such as `"GPU:0"`.
        case: a `Case`, whose devices are set up before the first is used.
    """
    kind = case.cluster.device_kind
    random = np.random.default_rng(0)
    left, right = random.integers(-8, 9, (2, _SIDE, _SIDE)).astype(np.float32)
    try:
        with tf.device(device):
            # The comparison is a kernel of TensorFlow's own, the product one
            # of cuBLAS: a driver may have the one and not the other.
            product = tf.nn.relu(tf.constant(left) @ tf.constant(right) - 1)
            product = product.numpy()
    except tf.errors.OpError as error:
        return rows.failure(
            f"It does not compute ({error.message.splitlines()[0][:_SHOWN]}).",
            "Update NVIDIA's driver if the row above speaks of it, end what "
            "else uses the device, or take another machine.",
        )
    wrong = int((product != np.maximum(left @ right - 1, 0)).sum())
    if wrong:
        return rows.failure(
            f"{wrong:,} of {_SIDE**2:,} products are wrong.",
            "Take another machine, and report this one to its owner.",
        )
    if kind != "GPU":
        return rows.ok("multiplies as NumPy does")
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    return rows.ok(
        f"multiplies as NumPy does, {_teraflops(device):.0f} TFLOP/s of "
        f"float32{' (TF32 allowed)' if tf32 else ''}"
    )


def _teraflops(device):
    with tf.device(device):
        square = tf.ones([_TIMED_SIDE, _TIMED_SIDE])
        tf.reduce_sum(square @ square).numpy()
        started = time.perf_counter()
        product = square
        for _ in range(_TIMED):
            product = square @ (product * 0)
        tf.reduce_sum(product).numpy()
        seconds = time.perf_counter() - started
    return 2 * _TIMED_SIDE**3 * _TIMED / seconds / 1e12


def all_reduce(case):
    """Whether the replicas of this machine add up, and how fast."""
    cluster = case.cluster
    strategy, replicas = cluster.strategy, cluster.replica_count
    if replicas == 1:
        return rows.ok("one replica, which has nobody to add up with")
    count = _REDUCED_BYTES[cluster.device_kind] // 4

    @tf.function
    def reduced(value):
        def of_replica():
            context = tf.distribute.get_replica_context()
            mine = value * tf.cast(
                context.replica_id_in_sync_group + 1, tf.float32
            )
            total = context.all_reduce("SUM", tf.fill([count], mine))
            return tf.stack([tf.reduce_min(total), tf.reduce_max(total)])

        return strategy.experimental_local_results(strategy.run(of_replica))

    one = tf.constant(1.0)
    expected = replicas * (replicas + 1) / 2
    for extremes in reduced(one):
        if set(extremes.numpy()) != {expected}:
            return rows.failure(
                f"The sum over {replicas} replicas is {extremes.numpy()}, not "
                f"{expected:g}.",
                "Run with NCCL_DEBUG=INFO, or take another machine.",
            )
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        for extremes in reduced(one):
            extremes.numpy()
    seconds = (time.perf_counter() - started) / _ROUNDS
    # What each link carries: 2 (n - 1) / n of the bytes.
    # https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md
    carried = 2 * (replicas - 1) / replicas * count * 4
    return rows.ok(
        f"{replicas} replicas add {count * 4 >> 20} MiB in "
        f"{1000 * seconds:.1f} ms, bus bandwidth "
        f"{carried / seconds / 1e9:.1f} GB/s"
    )
