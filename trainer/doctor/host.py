"""Checks of the machine: memory, /dev/shm, cores, threads and the clock."""

import os
import pathlib
import resource
import shutil
import time

import tensorflow as tf

from trainer.doctor import needs, rows

_MEMINFO = pathlib.Path("/proc/meminfo")
_CGROUP = pathlib.Path("/sys/fs/cgroup")
_OWN_CGROUP = pathlib.Path("/proc/self/cgroup")
# What a container needs where GPUs have no NVLink:
# https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
_SHM, _SHM_BYTES = "/dev/shm", 1 << 30  # noqa: S108 - of NCCL, not ours.
# As vae-submit asks for them.
_CORES_A_GPU = 3
_THREADS, _FILES = 1000, 512
_SKEW_SECONDS = 60


def memory(case):
    """Whether the free memory can hold what the job has at least."""
    needed, free, why = _needed_and_free(case)
    told = f"{_gib(free)} free ({why}), the job needs at least {_gib(needed)}"
    if free < needed:
        return rows.failure(
            f"{told}.",
            "Give the machine or the container more memory"
            + ("." if _on_gpu(case) else ", or lower --batch_size."),
        )
    return rows.ok(told)


def fits(case):
    """Whether the free memory can hold what the job has at least."""
    needed, free, _ = _needed_and_free(case)
    return needed <= free


def _needed_and_free(case):
    """Returns bytes that are needed and free, and who says the latter."""
    least = needs.of(case)
    needed = least.on_host if _on_gpu(case) else least.in_all
    return needed, *free_memory()


def gpu_memory(case):
    """Whether each GPU has the memory that a replica needs at least.

    Of the fullest one: which of them is which is not asked.
    """
    least = needs.of(case).on_device
    limit = case.config.gpu_memory_limit_gib
    if limit:
        share = limit * 2**30 / max(case.config.virtual_devices, 1)
        if share < least:
            return rows.failure(
                f"--gpu_memory_limit_gib={limit:g} gives a replica "
                f"{_gib(share)}, which needs at least {_gib(least)}.",
                "Raise it, lower --batch_size or give --microbatches.",
            )
    # Of a slice (MIG) it tells what the whole GPU has.
    listed = [
        gpu
        for gpu in case.gpus or ()
        if gpu.free_bytes is not None and not gpu.is_split
    ]
    if not listed:
        return rows.warning(
            f"A replica needs at least {_gib(least)}, and nvidia-smi does not "
            "say what is free.",
            "Compare it with the memory of the GPU.",
        )
    tightest = min(listed, key=lambda gpu: gpu.free_bytes)
    told = (
        f"{_gib(tightest.free_bytes)} of {_gib(tightest.total_bytes or 0)} "
        "free on "
        f"GPU {tightest.index}, a replica needs at least {_gib(least)}"
    )
    if tightest.free_bytes < least:
        return rows.failure(
            f"{told}.",
            "End what else uses it (nvidia-smi lists that), lower "
            "--batch_size, or give --microbatches.",
        )
    if tightest.free_bytes < (tightest.total_bytes or 0) // 2:
        return rows.warning(
            f"{told}: another program uses it.",
            "End that (nvidia-smi lists it); it takes the job's time too.",
        )
    return rows.ok(told)


def shared_memory(case):
    """Whether NCCL has room to exchange gradients in."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    try:
        size = shutil.disk_usage(_SHM).total
    except FileNotFoundError:
        size = 0
    told = f"{size >> 20:,} MiB"
    if gpus > 1 and size < _SHM_BYTES:
        return rows.warning(
            f"{told} for {gpus} GPUs, which exchange gradients there where "
            "they have no NVLink.",
            "Start the container with --shm-size=1g, or mount an emptyDir of "
            "medium Memory.",
        )
    return rows.ok(told if gpus > 1 else f"{told}, which one device needs not")


def cores(case):
    """Whether there are cores and threads to feed the devices."""
    del case
    gpus = len(tf.config.list_physical_devices("GPU"))
    count = _cores()
    told = f"{count:g} core{'s' * (count != 1)}"
    threads, files = _threads(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= threads < _THREADS:
        return rows.failure(
            f"{told}, but only {threads:,} threads are left to this user or "
            f"container; TensorFlow wants some {_THREADS:,}.",
            "Raise the limit (ulimit -u, or --pids-limit of the container).",
        )
    if 0 <= files < _FILES:
        return rows.failure(
            f"{told}, but a process may open {files:,} files only.",
            f"Raise the limit: ulimit -n {4 * _FILES}.",
        )
    if count < _CORES_A_GPU * gpus:
        return rows.warning(
            f"{told} for {gpus} GPU{'s' * (gpus != 1)}, fewer than "
            f"{_CORES_A_GPU} for each.",
            "The GPUs may wait for their batches; take more cores.",
        )
    return rows.ok(f"{told}, limits of threads and files are wide enough")


def clock(case):
    """Whether the clock is not behind the files of this package."""
    del case
    written = max(
        path.stat().st_mtime
        for path in pathlib.Path(rows.__file__).parents[1].rglob("*.py")
    )
    now = time.time()
    told = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now + _SKEW_SECONDS < written:
        return rows.failure(
            f"It shows {told}, which is before vae-trainer was installed.",
            "Set the clock (timedatectl set-ntp true); signing in to a bucket "
            "fails with a wrong one.",
        )
    return rows.ok(told)


def free_memory(meminfo=_MEMINFO, groups=None):
    """Returns the bytes that a new process can have, and what says so.

    Args:
        meminfo: `pathlib.Path` of what Linux says of its memory.
        groups: list of `pathlib.Path`, the control groups that limit this
            process; None for those that it is in.
    """
    kibibytes = next(
        int(line.split()[1])
        for line in meminfo.read_text().splitlines()
        if line.startswith("MemAvailable:")
    )
    free, why = kibibytes << 10, "MemAvailable"
    for group in control_groups() if groups is None else groups:
        limit = _number(group / "memory.max")
        used = _number(group / "memory.current")
        if limit is None or used is None:
            continue
        # The kernel takes the pages of files back when memory is wanted. So
        # does Kubernetes count:
        # https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
        left = max(limit - used + _inactive_file(group), 0)
        if left < free:
            free, why = left, "the container's limit"
    return free, why


def control_groups(root=_CGROUP, own=_OWN_CGROUP):
    """Returns the folders of the control groups that limit this process.

    In a container that is mostly the root. Slurm and systemd give a process
    one further down, and each above it has limits as well.
    https://docs.kernel.org/admin-guide/cgroup-v2.html

    Args:
        root: `pathlib.Path` of all groups.
        own: `pathlib.Path` of what says in which this process is.

    Returns:
        A list of `pathlib.Path`, from its own to the root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    paths = [line[3:] for line in lines if line.startswith("0::/")]
    group = root / (paths[0].lstrip("/") if paths else "")
    # Of a group outside of a container's own only ".." is told.
    if ".." in group.parts or not group.is_dir():
        return [root]
    return [group, *(up for up in group.parents if up.is_relative_to(root))]


def _inactive_file(group):
    """Returns the bytes of files that a control group keeps in memory."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next(
        (
            int(n)
            for name, n in map(str.split, lines)
            if name == "inactive_file"
        ),
        0,
    )


def _on_gpu(case):
    return case.cluster.device_kind == "GPU"


def _cores():
    """Returns how many cores this process may use, an int or a float."""
    count = len(os.sched_getaffinity(0))
    for group in control_groups():
        try:
            quota, period = (group / "cpu.max").read_text().split()
        except (OSError, ValueError):  # No such limit, or none of this form.
            continue
        if quota != "max":
            count = min(count, int(quota) / int(period))
    return count


def _threads():
    """Returns how many threads may still be started; -1 without a limit."""
    # That of the superuser is none.
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0] if os.getuid() else -1
    left = [soft] if soft >= 0 else []
    for group in control_groups():
        limit, used = (_number(group / f"pids.{n}") for n in ("max", "current"))
        if limit is not None and used is not None:
            left.append(limit - used)
    return min(left, default=-1)


def _number(path):
    """Returns the number in a file of a control group; None without one."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _gib(count):
    return f"{count / 2**30:.2f} GiB"
