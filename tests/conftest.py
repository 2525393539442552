"""What all tests share: four logical CPUs, and a small job that runs."""

import fcntl
import os
import pathlib
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

from tests.fakes import gcs
from tests.tools.order import longest_first
from tests.tools.small_jobs import small_job
from trainer.job_dir.bucket import object_store
from trainer.runtime.command import quiet_tensorflow
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal

# pytest would show its chatter after its own summary.
with quiet_tensorflow():
    import tensorflow as tf

LOGICAL_CPUS = 4


def pytest_configure(config):
    """Splits the CPU before anything in this process uses TensorFlow."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * LOGICAL_CPUS,
    )
    # Several test processes share the machine.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)


def pytest_collection_modifyitems(config, items):
    """Gives each test process its share of the long tests, and those first."""
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = longest_first(items, processes)


@pytest.fixture
def small_config(tmp_path):
    """Returns `small_job` with a job directory of the test's own."""

    def make(**settings):
        return small_job(**{"job_dir": str(tmp_path / "job"), **settings})

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """Makes a folder once for all test processes; they only read it.

    Returns a function of a name and of a function, which gets the path that
    it is to make. Whoever is first calls that; the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each of its processes a folder below the common one.
    shared = (base if worker_id == "master" else base.parent) / "once"
    shared.mkdir(exist_ok=True)

    def once(name, make):
        made, done = shared / name / "made", shared / name / "done"
        made.parent.mkdir(exist_ok=True)
        with (made.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(made, ignore_errors=True)
                make(made)
                done.touch()
        return made

    return once


@pytest.fixture(scope="session")
def finished_job(once):
    """The folder of `small_job()` when it has ended; tests work on copies."""

    def train(folder):
        from trainer.job import train_and_evaluate

        train_and_evaluate(small_job(job_dir=str(folder)))

    return once("small_job", train)


@pytest.fixture
def console():
    """A console on whatever the standard streams are."""
    return Console()


@pytest.fixture
def bucket(monkeypatch):
    """The server of a bucket of its own, and a client that retries quickly."""
    monkeypatch.setattr(
        object_store,
        "DEFAULT_RETRY",
        object_store.DEFAULT_RETRY.with_delay(initial=0.02, maximum=0.1),
    )
    with gcs.serve(bucket="bucket") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        yield server


@pytest.fixture
def stop():
    """A stop signal that nobody has sent."""
    return StopSignal()


@pytest.fixture
def fashion_mnist_dir():
    """The folder of the real data."""
    folder = os.environ.get("FASHION_MNIST_DIR")
    if not folder:
        pytest.skip("FASHION_MNIST_DIR does not name the real data")
    return pathlib.Path(folder)
