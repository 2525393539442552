"""Broken machines: each is found, and each sentence says what to do."""

import dataclasses
import errno
import math
import os
import shutil
import socket
import subprocess
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.fakes import gcs_bucket
from tests.tools.datasets import prepare
from tests.tools.gpu_machines import EIGHT_H100, ONE_L4, TWO_MIG, stub
from tests.tools.images import write_classes
from tests.tools.small_jobs import small_job
from trainer.distributed import gpus as gpus_lib
from trainer.distributed.topology import Topology
from trainer.doctor import (
    accelerators,
    bucket as bucket_lib,
    facts,
    folders,
    host,
    needs,
    network,
    pace,
    resume,
    rows,
    smi,
    software,
)
from trainer.doctor.case import Case
from trainer.doctor.pace import Pace
from trainer.errors import StorageUnavailableError
from trainer.job_dir.bucket import claim
from trainer.runtime import gpu_environment

GIB = 1 << 30
LEAST = needs.Needs(2 * GIB, GIB, 3 * GIB, GIB, 5 * GIB)


@pytest.fixture
def new_case(console, stop, tmp_path):
    """Makes the `Case` of a small job, with what is `made` of it."""

    def make(topology=None, made=None, **settings):
        settings = {"job_dir": str(tmp_path / "job"), **settings}
        return Case(
            small_job(**settings), topology, stop, console, dict(made or {})
        )

    return make


@pytest.fixture
def least(monkeypatch):
    monkeypatch.setattr(needs, "of", lambda case: LEAST)


@pytest.fixture
def driver(monkeypatch):
    """A machine with an NVIDIA driver, which TensorFlow may have."""
    monkeypatch.setattr(gpu_environment, "has_gpu", lambda: True)


def cluster(kind, replicas):
    return types.SimpleNamespace(
        device_kind=kind,
        replica_count=replicas,
        gpu=None,
        describe=lambda: f"{replicas} {kind} replicas",
    )


def told(check, case):
    """Returns what a check says of a broken machine, and its state."""
    row = rows.look("it", lambda: check(case))
    return row.state, f"{row.found} {row.advice}".strip()


def listed(count, free=20 * GIB, total=24 * GIB):
    return [smi.Gpu(n, "NVIDIA L4", total, free, False) for n in range(count)]


# Software and devices.


def test_python_is_too_old(new_case, monkeypatch):
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.9.18")
    assert told(software.python, new_case()) == (
        "failure",
        "3.9.18, but vae-trainer wants 3.10 to 3.13. Make a virtual "
        "environment with one of these.",
    )


@pytest.mark.parametrize(
    ("machine", "version", "state", "sentence"),
    [
        (
            ONE_L4,
            "470.82.01",
            "failure",
            "470.82.01 is too old for CUDA 12, which wants 525 or later. "
            "Update NVIDIA's driver, or take a newer image of the machine.",
        ),
        (
            EIGHT_H100,
            "535.104.05",
            "warning",
            "535.104.05 alone cannot compile TensorFlow's kernels for this "
            "GPU, which wants the driver of CUDA 12.5: 555 or later. Update "
            "NVIDIA's driver, or take a newer image of the machine; or see "
            "below whether the GPU multiplies, with NVIDIA's package "
            "cuda-compat.",
        ),
    ],
)
def test_the_driver_is_too_old(
    new_case, driver, monkeypatch, tmp_path, machine, version, state, sentence
):
    stub(monkeypatch, tmp_path, machine)
    monkeypatch.setattr(gpus_lib, "driver_version", lambda: version)
    assert told(software.driver, new_case()) == (state, sentence)
    # One that is as old serves a GPU that needs nothing compiled.
    monkeypatch.setattr(gpus_lib, "driver_version", lambda: "535.104.05")
    stub(monkeypatch, tmp_path, ONE_L4)
    assert told(software.driver, new_case()) == ("ok", "535.104.05")


def test_there_is_a_device_without_a_driver(new_case, monkeypatch, tmp_path):
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    (tmp_path / "0000:02:00.0").mkdir()
    assert smi.has_nvidia_device(tmp_path)
    (device / "class").write_text("0x0c0330\n")
    assert not smi.has_nvidia_device(tmp_path)
    monkeypatch.setattr(smi, "has_nvidia_device", lambda: True)
    state, sentence = told(software.driver, new_case())
    assert state == "failure"
    assert "but no driver" in sentence
    assert "--gpus all" in sentence


def test_a_gpu_is_missing(new_case, driver, monkeypatch, tmp_path):
    stub(monkeypatch, tmp_path, dataclasses.replace(ONE_L4, count=7))
    monkeypatch.setattr(smi, "visible", lambda: listed(8))
    assert told(accelerators.there, new_case()) == (
        "failure",
        "nvidia-smi lists 8 GPUs, but TensorFlow sees 7. A GPU may have "
        "failed: look at `nvidia-smi -q` and `dmesg`, or take another machine.",
    )


def test_tensorflow_finds_none(new_case, driver, monkeypatch, tmp_path):
    stub(monkeypatch, tmp_path, dataclasses.replace(ONE_L4, count=0))
    state, sentence = told(accelerators.there, new_case())
    assert state == "failure"
    assert sentence.startswith("An NVIDIA driver is here, but TensorFlow")
    assert 'pip install "vae-trainer[gpu]"' in sentence


def test_all_gpus_are_there(new_case, driver, monkeypatch, tmp_path):
    stub(monkeypatch, tmp_path, TWO_MIG)
    split = [dataclasses.replace(gpu, is_split=True) for gpu in listed(3)]
    monkeypatch.setattr(smi, "visible", lambda: split)
    made = {"the device": cluster("GPU", 2)}
    assert told(accelerators.there, new_case(made=made)) == (
        "ok",
        "2 GPU replicas: 2 x NVIDIA A100-SXM4-40GB MIG 3g.20gb",
    )


def test_nvidia_smi_hangs_fails_or_answers(monkeypatch, new_case):
    def answer(done):
        def run(command, **settings):
            if isinstance(done, Exception):
                raise done
            return done

        monkeypatch.setattr(smi.subprocess, "run", run)
        return rows.look("", lambda: rows.ok(str(smi.visible({})))).found

    monkeypatch.setattr(smi.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert answer(subprocess.TimeoutExpired("nvidia-smi", 20)) == (
        "nvidia-smi gave no answer in 20 seconds; a GPU hangs: restart the "
        "machine, or take another."
    )
    failed = subprocess.CompletedProcess([], 9, "", "\nNVML: Unknown Error\n")
    assert answer(failed).startswith("nvidia-smi fails (NVML: Unknown Error)")
    text = "0, NVIDIA L4, 23034, 22000, [N/A]\n1, Tesla T4, [N/A], 9, Enabled\n"
    answer(subprocess.CompletedProcess([], 0, text, ""))
    first = smi.Gpu(0, "NVIDIA L4", 23034 << 20, 22000 << 20, False)
    second = smi.Gpu(1, "Tesla T4", None, 9 << 20, True)
    assert smi.visible({}) == [first, second]
    assert smi.visible({"CUDA_VISIBLE_DEVICES": "1"}) == [second]
    assert smi.visible({"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}) is None


def test_a_device_multiplies_wrongly(new_case, monkeypatch):
    case = new_case(made={"the device": cluster("CPU", 1)})
    relu = tf.nn.relu

    def flipped(values):
        right = relu(values).numpy()
        right[3, 4] += 1
        return tf.constant(right)

    monkeypatch.setattr(tf.nn, "relu", flipped)
    row = accelerators.multiplies("CPU:0", case)
    assert (row.state, row.found) == (
        "failure",
        "1 of 262,144 products are wrong.",
    )
    assert "another machine" in row.advice


def test_a_device_computes_nothing(new_case, monkeypatch):
    def refuse(values):
        raise tf.errors.InternalError(
            None, None, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION\nat line 3"
        )

    monkeypatch.setattr(tf.nn, "relu", refuse)
    case = new_case(made={"the device": cluster("CPU", 1)})
    row = accelerators.multiplies("CPU:0", case)
    assert row.state == "failure"
    assert row.found == (
        "It does not compute (CUDA_ERROR_UNSUPPORTED_PTX_VERSION)."
    )
    assert "driver" in row.advice


def test_virtual_devices_are_not_for_several_machines(new_case):
    case = new_case(Topology(("a:1", "b:1"), 0), virtual_devices=2)
    state, sentence = told(accelerators.there, case)
    assert state == "failure"
    assert "does not work on several machines" in sentence


def test_one_replica_of_several_gpus_adds_up_with_nobody(new_case):
    case = new_case(made={"the device": cluster("GPU", 1)})
    case.made["the device"].strategy = None
    assert told(accelerators.all_reduce, case)[0] == "ok"


def test_replicas_add_up_wrongly(new_case):
    case = new_case(virtual_devices=2)
    assert told(accelerators.all_reduce, case)[0] == "ok"
    case.made["the device"] = dataclasses.replace(
        case.cluster, strategy=_Forgetful(case.cluster.strategy)
    )
    state, sentence = told(accelerators.all_reduce, case)
    assert state == "failure"
    assert sentence.startswith("The sum over 2 replicas is [1. 1.], not 3.")


class _Forgetful:
    """A strategy that runs the first replica alone."""

    num_replicas_in_sync = 2

    def __init__(self, strategy):
        self._one = tf.distribute.OneDeviceStrategy("CPU:0")
        self.run = self._one.run
        self.experimental_local_results = self._one.experimental_local_results


# The machine.


@pytest.mark.parametrize(
    ("kind", "free", "expected"),
    [
        (
            "CPU",
            2 * GIB,
            "2.00 GiB free (the container's limit), the job needs at least "
            "3.00 GiB. Give the machine or the container more memory, or "
            "lower --batch_size.",
        ),
        (
            "GPU",
            GIB // 2,
            "0.50 GiB free (the container's limit), the job needs at least "
            "1.00 GiB. Give the machine or the container more memory.",
        ),
    ],
)
def test_there_is_too_little_memory(
    new_case, least, monkeypatch, kind, free, expected
):
    monkeypatch.setattr(
        host, "free_memory", lambda: (free, "the container's limit")
    )
    made = {
        "the device": cluster(kind, 1),
        "the schedule": types.SimpleNamespace(total_steps=1),
    }
    case = new_case(made=made)
    assert told(host.memory, case) == ("failure", expected)
    # TensorFlow ends the process where a step finds no memory on a CPU.
    assert told(pace.hours, case) == (
        "failure",
        "Not looked at, since enough memory cannot be had.",
    )


def test_the_limit_of_a_container_counts(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   4096 kB\n")
    job = tmp_path / "slurm" / "job_7"
    job.mkdir(parents=True)

    def free():
        groups = host.control_groups(tmp_path, tmp_path / "own")
        return host.free_memory(meminfo, groups)

    assert free() == (4 << 20, "MemAvailable")
    (tmp_path / "own").write_text("0::/slurm/job_7\n")
    (job / "memory.max").write_text("max\n")
    (job / "memory.current").write_text("1000\n")
    assert free() == (4 << 20, "MemAvailable")
    # The limit of a group above its own, as Slurm sets it for all tasks.
    (job.parent / "memory.max").write_text("3000\n")
    (job.parent / "memory.current").write_text("1000\n")
    assert free() == (2000, "the container's limit")
    # Files that it has read count, but need not stay.
    (job.parent / "memory.stat").write_text("anon 9\ninactive_file 600\n")
    assert free() == (2600, "the container's limit")
    (tmp_path / "own").write_text("0::/../elsewhere\n")
    assert free() == (4 << 20, "MemAvailable")


@pytest.mark.parametrize(
    ("free", "settings", "state", "message"),
    [
        (GIB, {}, "failure", "1.00 GiB of 24.00 GiB free on GPU 0, a replica"),
        (9 * GIB, {}, "warning", "another program uses it"),
        (
            20 * GIB,
            {"gpu_memory_limit_gib": 1.5},
            "failure",
            "--gpu_memory_limit_gib=1.5 gives a replica 1.50 GiB, which needs "
            "at least 2.00 GiB. Raise it,",
        ),
        (20 * GIB, {}, "ok", "20.00 GiB of 24.00 GiB free"),
    ],
)
def test_a_gpu_has_too_little_memory(
    new_case, least, monkeypatch, free, settings, state, message
):
    monkeypatch.setattr(smi, "visible", lambda: listed(2, free))
    found, sentence = told(host.gpu_memory, new_case(**settings))
    assert found == state
    assert message in sentence


def test_what_a_slice_of_a_gpu_has_free_is_not_known(
    new_case, least, monkeypatch
):
    split = [dataclasses.replace(gpu, is_split=True) for gpu in listed(1)]
    monkeypatch.setattr(smi, "visible", lambda: split)
    state, sentence = told(host.gpu_memory, new_case())
    assert state == "warning"
    assert "nvidia-smi does not say what is free" in sentence


def test_shared_memory_is_small(new_case, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(total=64 << 20)
    monkeypatch.setattr(host.shutil, "disk_usage", lambda path: usage)
    assert told(host.shared_memory, new_case())[0] == "ok"
    stub(monkeypatch, tmp_path, EIGHT_H100)
    assert told(host.shared_memory, new_case()) == (
        "warning",
        "64 MiB for 8 GPUs, which exchange gradients there where they have no "
        "NVLink. Start the container with --shm-size=1g, or mount an emptyDir "
        "of medium Memory.",
    )


def test_threads_are_few(new_case, monkeypatch, tmp_path):
    monkeypatch.setattr(host, "control_groups", lambda: [tmp_path])
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda pid: {0, 1})
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "pids.max").write_text("500\n")
    (tmp_path / "pids.current").write_text("100\n")
    state, sentence = told(host.cores, new_case())
    assert state == "failure"
    assert "only 400 threads are left" in sentence
    (tmp_path / "pids.max").write_text("max\n")
    monkeypatch.setattr(host.os, "getuid", lambda: 0)
    stub(monkeypatch, tmp_path, ONE_L4)
    assert told(host.cores, new_case()) == (
        "warning",
        "1.5 cores for 1 GPU, fewer than 3 for each. The GPUs may wait for "
        "their batches; take more cores.",
    )


def test_the_clock_is_wrong(new_case, monkeypatch):
    monkeypatch.setattr(host.time, "time", lambda: 86400.0)
    state, sentence = told(host.clock, new_case())
    assert state == "failure"
    assert sentence.startswith("It shows 1970-01-02 00:00:00 UTC, which is")


# Folders.


def test_the_disk_is_full(new_case, least, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=GIB)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage)
    state, sentence = told(folders.job_folder, new_case())
    assert state == "failure"
    assert "has 1.0 GiB free, the job takes at least 5.00 GiB. Free" in sentence


def test_checkpoints_that_will_go_are_room(
    new_case, least, monkeypatch, tmp_path
):
    usage = shutil.disk_usage("/")._replace(free=LEAST.on_disk - 1000)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(folders, "_write_speed", lambda *args: 1e9)
    step = tmp_path / "job" / "checkpoints" / "step-0000020"
    step.mkdir(parents=True)
    assert told(folders.job_folder, new_case())[0] == "failure"
    (step / "state.npz").write_bytes(bytes(1000))
    assert told(folders.job_folder, new_case())[0] == "ok"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "has no room for 32 MiB (No space left on device)."),
        (errno.EDQUOT, "has no room for 32 MiB (Disk quota exceeded)."),
        (errno.EROFS, "cannot be written (Read-only file system). Give a"),
        (errno.EACCES, "cannot be written (Permission denied). Give a"),
    ],
)
def test_the_job_cannot_be_written(
    new_case, least, monkeypatch, tmp_path, code, message
):
    def refuse(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(folders.os, "write", refuse)
    state, sentence = told(folders.job_folder, new_case())
    assert state == "failure"
    assert sentence.startswith(f"{tmp_path} {message}")


def test_the_job_folder_is_a_file(new_case, tmp_path):
    (tmp_path / "file").touch()
    case = new_case(job_dir=str(tmp_path / "file" / "job"))
    assert told(folders.job_folder, case) == (
        "failure",
        f"{tmp_path / 'file'} is no folder. Give another --job_dir.",
    )


def test_a_disk_without_nameless_files_is_written_beside_the_job(
    new_case, least, monkeypatch, tmp_path
):
    real = os.open

    def without(path, flags, *args, **settings):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE")
        return real(path, flags, *args, **settings)

    monkeypatch.setattr(folders.os, "open", without)
    monkeypatch.setattr(folders, "_PIECES", 2)
    usage = shutil.disk_usage("/")._replace(free=90 * GIB)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage)
    assert "written at" in told(folders.job_folder, new_case())[1]
    (tmp_path / "job").mkdir()
    before = os.stat(tmp_path / "job").st_mtime_ns
    state, sentence = told(folders.job_folder, new_case())
    assert (state, "could not be measured" in sentence) == ("ok", True)
    assert os.stat(tmp_path / "job").st_mtime_ns == before


def test_a_disk_is_slow(new_case, least, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=90 * GIB)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(folders, "_write_speed", lambda *args: 10e6)
    state, sentence = told(folders.job_folder, new_case())
    assert state == "warning"
    assert "a checkpoint takes 107 s. Give a faster disk" in sentence


# Data.


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A prepared dataset; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("data")
    return prepare(write_classes(folder / "source", 12), folder / "set")


@pytest.fixture
def data(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "set")


def of_data(folder, **settings):
    return {
        "dataset": "auto",
        "data_dir": str(folder),
        "train_examples": 0,
        "test_examples": 0,
        "batch_size": 4,
        **settings,
    }


def test_healthy_data_says_its_digest(new_case, data):
    state, sentence = told(facts.check, new_case(**of_data(data)))
    assert state == "ok"
    assert "have their sizes, digest " in sentence


def test_the_data_is_cut(new_case, data):
    shard = next(data.glob("train/images-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    state, sentence = told(facts.check, new_case(**of_data(data)))
    assert state == "failure"
    assert "bytes, but dataset.json promises" in sentence


def test_the_manifest_is_damaged(new_case, data):
    (data / "dataset.json").write_text("{}")
    state, sentence = told(facts.check, new_case(**of_data(data)))
    assert state == "failure"
    assert "is not what vae-data writes" in sentence


def test_the_data_is_missing(new_case, tmp_path):
    case = new_case(**of_data(tmp_path / "none"))
    state, sentence = told(facts.check, case)
    assert state == "failure"
    assert sentence.startswith(f"There is no folder {tmp_path / 'none'}")
    # What needs the data says so, and not the same once more.
    assert told(pace.steps, case) == (
        "failure",
        "Not looked at, since the data cannot be had.",
    )
    state, sentence = told(folders.job_folder, case)
    assert state == "warning"
    assert "but what the job takes is not known" in sentence


def test_an_object_of_the_data_is_missing_in_its_bucket(new_case, data, bucket):
    for path in data.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(data))
            bucket.write(f"set/{name}", path.read_bytes())
    case = new_case(**of_data("gs://bucket/set"))
    assert told(facts.check, case)[0] == "ok"
    bucket.delete("set/test/labels.npy")
    state, sentence = told(facts.check, new_case(**of_data("gs://bucket/set")))
    assert state == "failure"
    assert sentence.startswith(
        "gs://bucket/set/test/labels.npy is missing, but dataset.json promises"
    )


def test_a_download_has_nowhere_to_come_from(new_case, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    case = new_case(
        dataset="auto", data_url="http://127.0.0.1:1", train_examples=0
    )
    row = rows.look("data", lambda: facts.check(case))
    assert (row.state, row.for_now) == ("failure", True)
    assert "http://127.0.0.1:1/" in row.found
    assert "does not answer (ConnectionError)" in row.found


def test_a_download_is_not_there(new_case, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    asked = []

    def head(url, **settings):
        asked.append(url)
        return types.SimpleNamespace(status_code=404)

    monkeypatch.setattr(facts.requests, "head", head)
    case = new_case(
        dataset="auto", data_url="http://host/data/", train_examples=0
    )
    row = rows.look("data", lambda: facts.check(case))
    assert asked == ["http://host/data/train-images-idx3-ubyte.gz"]
    assert (row.state, row.for_now) == ("failure", False)
    assert "does not exist (status 404)" in row.found


def test_pictures_that_the_job_prepares_are_no_failure(new_case, tmp_path):
    folder = tmp_path / "pictures"
    write_classes(folder, 2)
    case = new_case(**of_data(folder))
    assert told(facts.check, case)[0] == "warning"
    checks = (pace.steps, pace.hours, needs_memory, resume.job)
    found = [told(check, case) for check in checks]
    assert [state for state, _ in found] == ["warning"] * 3 + ["ok"]
    assert found[0][1].startswith(
        "How many images there are is known only when vae-train has prepared "
        "them. Run vae-data prepare first"
    )
    assert found[1][1].startswith("Not looked at, since the schedule cannot")


def needs_memory(case):
    case.made["the device"] = cluster("CPU", 1)
    case.made["the device"].strategy = tf.distribute.get_strategy()
    return host.memory(case)


def test_the_batch_is_larger_than_the_data(new_case, data):
    case = new_case(**of_data(data, batch_size=4096))
    state, sentence = told(pace.steps, case)
    assert state == "failure"
    assert "--batch_size=4096 is more than the" in sentence


def test_more_images_are_asked_for_than_there_are(new_case, data):
    case = new_case(**of_data(data, train_examples=10**6))
    state, sentence = told(facts.check, case)
    assert state == "failure"
    assert "--train_examples=1000000 is more than the" in sentence


def test_the_disk_of_the_data_is_slower_than_the_steps(
    new_case, data, monkeypatch
):
    # At the images of a split are 16 x 16 in colour, 3 kB each.
    clock = iter(range(10**6))
    monkeypatch.setattr(folders.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(folders.images, "are_kept", lambda count: False)
    case = new_case(**of_data(data), made={"the speed": Pace(1e-6, 1.0, 9)})
    state, sentence = told(folders.data_folder, case)
    assert state == "warning"
    assert "is read at 0 MB/s in random order, the steps take" in sentence


def test_a_job_was_trained_on_other_data(new_case, data, finished_record):
    case = new_case(**of_data(data))
    finished_record(case, digest="0" * 64)
    state, sentence = told(resume.job, case)
    assert state == "failure"
    assert "dataset with the digest 000000000000, and this one" in sentence


@pytest.fixture
def finished_record(tmp_path):
    """Writes the record of a job of the settings of a case."""
    from trainer.job_dir.open import JobDir
    from trainer.model import build

    def write(case, digest, gpu=None):
        folder = tmp_path / "job"
        folder.mkdir()
        job = JobDir(folder)
        job.write_record(
            case.config,
            build.description(case.config),
            types.SimpleNamespace(
                description=lambda: {
                    "name": "prepared",
                    "sha256": {"dataset.json": digest},
                }
            ),
            False,
            types.SimpleNamespace(describe=lambda: "1 GPU replica", gpu=gpu),
        )

    return write


def test_a_job_was_trained_on_another_gpu(new_case, data, finished_record):
    device = cluster("GPU", 1)
    device.gpu = {"model": "NVIDIA L4", "count": 1}
    case = new_case(**of_data(data), made={"the device": device})
    finished_record(case, case.facts.digest, {"model": "T4", "count": 1})
    state, sentence = told(resume.job, case)
    assert state == "warning"
    assert "GPU NVIDIA L4 (was T4)" in sentence
    strict = dataclasses.replace(
        case, config=dataclasses.replace(case.config, require_exact=True)
    )
    assert told(resume.job, strict)[0] == "failure"


@pytest.mark.parametrize(
    ("mode", "message"),
    [("must", "holds no job"), ("never", "is not empty")],
)
def test_the_job_directory_is_not_as_asked_for(
    new_case, tmp_path, mode, message
):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "notes.txt").touch()
    state, sentence = told(resume.job, new_case(resume=mode))
    assert state == "failure"
    assert message in sentence


# The bucket and the other machines.


def test_there_is_no_such_bucket(new_case, bucket):
    case = new_case(job_dir="gs://another/job")
    row = rows.look("bucket", lambda: bucket_lib.lists(case))
    assert (row.state, row.for_now) == ("failure", False)
    assert row.found.startswith("There is no bucket another")
    for check in (bucket_lib.writes, resume.job):
        assert told(check, case) == (
            "failure",
            "Not looked at, since the bucket cannot be had.",
        )


def test_the_bucket_is_out_of_reach_for_now(new_case, bucket, monkeypatch):
    monkeypatch.setattr(bucket_lib, "_MOST_SECONDS", 0.2)
    bucket.outage(True)
    row = rows.look(
        "bucket", lambda: bucket_lib.lists(new_case(job_dir="gs://bucket/job"))
    )
    assert (row.state, row.for_now) == ("failure", True)
    assert rows.exit_code([row]) == 75
    assert row.found.startswith("The bucket could not be reached when listing")


@pytest.mark.parametrize("method", ["POST", "GET .*alt=media", "DELETE"])
def test_the_account_may_not_use_the_bucket(new_case, bucket, method):
    bucket.fail(403, times=None, match=method)
    case = new_case(job_dir="gs://bucket/job")
    state, sentence = told(bucket_lib.writes, case)
    assert state == "failure"
    assert "Permission denied when " in sentence
    if method == "DELETE":
        assert "delete the object by hand" in sentence
        # As one that a killed doctor leaves: the next start removes it.
        bucket.forget_faults()
        store, _ = case.bucket
        assert claim.clear(store, store.list()) == {}
    assert bucket.objects() == {}


def test_a_write_whose_answer_is_lost_leaves_nothing(
    new_case, bucket, monkeypatch
):
    monkeypatch.setattr(bucket_lib, "_MOST_SECONDS", 0.2)
    case = new_case(job_dir="gs://bucket/job")
    store, _ = case.bucket
    write = type(store).write

    def lost(self, name, *args, **settings):
        write(self, name, *args, **settings)
        raise StorageUnavailableError("No answer.")

    monkeypatch.setattr(type(store), "write", lost)
    row = rows.look("bucket", lambda: bucket_lib.writes(case))
    assert (row.state, row.found, row.for_now) == (
        "failure",
        "No answer.",
        True,
    )
    assert bucket.objects() == {}
    # If it cannot be looked for either, it is named.
    bucket.fail(403, times=None, match="GET")
    row = rows.look("bucket", lambda: bucket_lib.writes(case))
    assert "claim-time-" in row.found
    assert "the next start of a job there removes it" in row.found


def test_the_bucket_keeps_no_conditions(new_case, bucket, monkeypatch):
    monkeypatch.setattr(
        gcs_bucket, "check_preconditions", lambda *args, **kwargs: None
    )
    case = new_case(job_dir="gs://bucket/job")
    state, sentence = told(bucket_lib.writes, case)
    assert state == "failure"
    assert "wrote over an object although the condition" in sentence
    assert bucket.objects() == {}


def test_the_clock_differs_from_that_of_the_bucket(new_case, bucket):
    bucket.clock_offset_seconds = 3600
    state, sentence = told(
        bucket_lib.writes, new_case(job_dir="gs://bucket/job")
    )
    assert state == "warning"
    assert "server's are 3,600 s apart" in sentence


def test_machines_do_not_answer(new_case, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = (f"127.0.0.1:{port}", "localhost:1", "no-such-host.invalid:2222")
    connect = socket.create_connection

    def silent(address, timeout):
        if address[1] == port + 1:
            raise TimeoutError
        return connect(address, timeout)

    monkeypatch.setattr(network.socket, "create_connection", silent)
    # At the first one and at the second nobody listens: they answer.
    assert told(network.machines, new_case(Topology(hosts[:2], 1)))[0] == "ok"
    lost = Topology((*hosts, f"127.0.0.1:{port + 1}"), 0)
    row = rows.look("", lambda: network.machines(new_case(lost)))
    assert (row.state, row.for_now) == ("failure", True)
    assert row.found == (
        "2 of 3 other machines do not answer (worker 2 (no-such-host.invalid:"
        "2222): its name is not known here; worker 3 (127.0.0.1:"
        f"{port + 1}): no answer in 5 seconds)."
    )


def test_an_address_without_a_route_is_not_the_only_one(monkeypatch):
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::9", 7, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.9", 7)),
    ]
    monkeypatch.setattr(
        network.socket, "getaddrinfo", lambda *args, **settings: found
    )

    def connect(address, timeout):
        if address[0] == "::9":
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        raise ConnectionRefusedError

    monkeypatch.setattr(network.socket, "create_connection", connect)
    assert not network._knock("trainer-1:7").reason
    del found[1]
    assert network._knock("trainer-1:7").reason == "Network is unreachable"


# What a job needs.


def test_a_step_does_not_fit_into_the_memory(new_case, monkeypatch):
    def exhausted(case):
        raise tf.errors.ResourceExhaustedError(
            None, None, "OOM when allocating"
        )

    monkeypatch.setattr(pace, "measure", exhausted)
    assert told(pace.hours, new_case()) == (
        "failure",
        "A step of the job does not fit into the memory. Give --microbatches, "
        "lower --batch_size, or take a device with more memory.",
    )


def test_the_least_that_a_job_needs_follows_from_its_settings(new_case):
    made = {"the device": cluster("CPU", 1)}
    scope = types.SimpleNamespace(scope=tf.distribute.get_strategy().scope)
    made["the device"].strategy = scope
    case = new_case(made=made)
    found = needs.of(case)
    parameters = sum(
        math.prod(weight.shape)
        for weight in (
            *case.vae.encoder.trainable_weights,
            *case.vae.decoder.trainable_weights,
        )
    )
    assert found.checkpoint == 12 * parameters
    # Two epochs have a checkpoint each; one is the best, one is being written.
    assert found.on_disk == needs._RESULTS_BYTES + 4 * found.checkpoint
    case.made["the device"].replica_count = 2
    halved = needs.of(case)
    step = found.on_device - needs._CONTEXT_BYTES - 16 * parameters
    assert halved.on_device - needs._CONTEXT_BYTES - 16 * parameters == (
        step // 2
    )
    pixels = 32 * 2 * 28 * 28 * np.dtype(np.float32).itemsize
    assert step > pixels
