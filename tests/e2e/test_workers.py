"""Several workers as real processes, on loopback and in network namespaces."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.tools import deadline, fuzz_rendezvous
from tests.tools.colour_jobs import write_dataset
from tests.tools.deadline import wait_until
from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL, train_only
from tests.tools.soak import metrics_of
from tests.tools.workers import free_hosts, tf_config
from trainer.data import images
from trainer.job import train_and_evaluate
from trainer.runtime.command import LOADING
from trainer.runtime.training_flags import parse_flags

EPOCHS = 5000  # More than a test waits for.
FLOAT64 = (
    "--precision=float64",
    "--epochs=5",
    "--eval_epochs=5",
    "--image_epochs=5",
)


class Workers:
    """The processes of a job, in the order of their places in it."""

    def __init__(self, job_dir):
        self.job_dir = job_dir
        self.folder = job_dir.parent
        self.processes = []
        self.logs = []

    def start(
        self, index, hosts, flags, prefix=(), module="trainer.task", **variables
    ):
        log = self.folder / f"worker-{len(self.logs)}.log"
        # No shared disk: the others may not even look at the job directory.
        location = self.job_dir if index == 0 else "/dev/null/none"
        environment = {
            name: value
            for name, value in os.environ.items()
            if name != "TF_CPP_MIN_LOG_LEVEL"
        }
        self.logs.append(log)
        with log.open("w") as output:
            self.processes.append(
                subprocess.Popen(
                    [
                        *prefix,
                        *(sys.executable, "-m", module),
                        *(f"--job_dir={location}", *SMALL, *flags),
                    ],
                    cwd=ROOT,
                    env={
                        **environment,
                        **variables,
                        "TF_CONFIG": tf_config(hosts, index),
                    },
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )

    def said(self, index):
        return self.logs[index].read_text()

    def wait_for(self, index, text):
        def has_said():
            found = text in self.said(index)
            ended = self.processes[index].poll() is not None
            assert found or not ended, self.all_said()
            return found

        wait_until(has_said, self.all_said)

    def codes(self):
        """Waits for the end of all; returns their exit codes."""
        wait_until(
            lambda: all(each.poll() is not None for each in self.processes),
            self.all_said,
        )
        return [process.returncode for process in self.processes]

    def all_said(self):
        return "\n".join(log.read_text() for log in self.logs)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def started_all(count, job_dir, *flags):
    """Starts a job on some workers; yields its `Workers`."""
    group, hosts = Workers(job_dir), free_hosts(count)
    try:
        for index in range(count):
            group.start(index, hosts, flags)
        yield group
    finally:
        group.end()


@pytest.fixture
def workers(tmp_path):
    """The `Workers` of a job that nobody has started."""
    group = Workers(tmp_path / "job")
    yield group
    group.end()


@pytest.fixture
def start_all(tmp_path):
    """Starts a job on some workers; returns its `Workers`."""
    with contextlib.ExitStack() as stack:
        yield lambda count, *flags: stack.enter_context(
            started_all(count, tmp_path / "job", *flags)
        )


def relative_difference(rows, others):
    """The largest relative difference of two jobs' losses, by (split, step)."""
    names = ("total_loss", "reconstruction_loss", "kl_loss")
    return {
        (row["split"], row["step"]): max(
            abs(row[name] - other[name]) / abs(row[name]) for name in names
        )
        for row, other in zip(rows, others, strict=True)
    }


@pytest.fixture(scope="session")
def one_process(once):
    """The job of `FLOAT64` in this process, on one replica."""
    return once(
        "1x1",
        lambda job_dir: train_and_evaluate(
            parse_flags([*SMALL, *FLOAT64, f"--job_dir={job_dir}"])
        ),
    )


@pytest.fixture(scope="session")
def pair(once):
    """A folder with the job of `FLOAT64` on two workers, and what they said."""

    def train(folder):
        folder.mkdir()
        with started_all(2, folder / "job", *FLOAT64) as group:
            assert group.codes() == [0, 0], group.all_said()

    return once("2x1", train)


def assert_equal_in_float64(one_process, job_dir):
    """Law 2 of the house, over 100 steps."""
    rows = metrics_of(one_process)
    assert max(row["step"] for row in rows) == 100
    found = relative_difference(rows, metrics_of(job_dir))
    assert max(found.values()) < 1e-10


def test_two_workers_give_the_result_of_one(one_process, pair):
    assert_equal_in_float64(one_process, pair / "job")


@pytest.mark.slow
def test_two_workers_give_the_result_of_one_that_is_given_labels(
    start_all, tmp_path
):
    flags = (*FLOAT64, "--condition=labels", "--model=mlp")
    flags += ("--model_options=width=16",)
    alone = parse_flags([*SMALL, *flags, f"--job_dir={tmp_path / 'alone'}"])
    train_only(alone)
    group = start_all(2, *flags)
    assert group.codes() == [0, 0], group.all_said()
    assert_equal_in_float64(tmp_path / "alone", group.job_dir)


@pytest.mark.slow
def test_any_layout_gives_one_result_of_a_strangers_model_on_a_dataset(
    workers, bucket, tmp_path, monkeypatch
):
    data = write_dataset(tmp_path, train=640, test=100)
    model = "--model=tests.unit.model.strangers:subclassed"
    flags = ("--dataset=prepared", *FLOAT64, model)
    for path in filter(pathlib.Path.is_file, data.rglob("*")):
        bucket.write(f"data/{path.relative_to(data)}", path.read_bytes())

    def train_here(replicas, name="", *more):
        config = parse_flags(
            [
                *(*SMALL, *flags, f"--data_dir={data}", *more),
                f"--job_dir={tmp_path / f'{name}1x{replicas}'}",
                f"--virtual_devices={replicas}",
            ]
        )
        train_only(config)
        return config.job_dir

    # All begin alike, with weights that the chief alone can read.
    begun = train_here(1, "begun", "--max_steps=3")
    flags += (f"--init_from={begun}",)
    in_memory = pathlib.Path(train_here(1))
    monkeypatch.setattr(images, "memory_bytes", lambda: 0)
    assert_equal_in_float64(in_memory, pathlib.Path(train_here(4)))
    hosts = free_hosts(2)
    for index in range(2):
        # Each machine has a copy of its own.
        workers.start(
            index,
            hosts,
            (*flags, "--data_dir=gs://bucket/data"),
            module="tests.tools.disk_job",
            XDG_CACHE_HOME=str(tmp_path / f"machine-{index}"),
        )
    assert workers.codes() == [0, 0], workers.all_said()
    assert workers.all_said().count("Taken from ") == 1
    assert_equal_in_float64(in_memory, workers.job_dir)


def test_only_the_chief_shows_progress_and_each_line_says_who_speaks(pair):
    chief, other = (
        (pair / f"worker-{index}.log").read_text().splitlines()
        for index in range(2)
    )
    assert all(line.startswith("[chief] ") for line in chief)
    assert any("with 2 CPU replicas" in line for line in chief)
    loading, looking = other
    assert loading == f"[worker 1] {LOADING}"
    assert looking.startswith("[worker 1] Looking for the chief")


def test_a_signal_to_any_worker_saves_and_all_exit_75(start_all, tmp_path):
    group = start_all(2, f"--epochs={EPOCHS}")
    group.wait_for(0, "Epoch 1,")
    group.processes[1].terminate()
    assert group.codes() == [75, 75], group.all_said()
    step = int(group.said(0).split("saved at step ")[1].split(";")[0])
    assert step < EPOCHS * 20
    assert (tmp_path / "job" / "checkpoints" / f"step-{step:07d}").is_dir()
    for index in range(2):
        assert "to worker 1 (127.0.0.1:" in group.said(index)


def test_a_killed_chief_is_named_by_the_other(start_all):
    group = start_all(2, f"--epochs={EPOCHS}")
    group.wait_for(0, "Epoch 1,")
    group.processes[0].kill()
    assert group.codes() == [-signal.SIGKILL, 75]
    assert "Lost chief (127.0.0.1:" in group.said(1)


@pytest.mark.slow
def test_a_second_signal_ends_a_worker_that_waits_in_a_collective(start_all):
    group = start_all(2, f"--epochs={EPOCHS}")
    group.wait_for(0, "Epoch 1,")
    group.processes[0].send_signal(signal.SIGSTOP)
    time.sleep(2)
    group.processes[1].terminate()
    # One that comes within a second is taken for the same.
    time.sleep(3)
    assert group.processes[1].poll() is None
    group.processes[1].terminate()
    assert group.processes[1].wait(deadline.SECONDS) == 75
    # It did not end because it took the chief for lost.
    assert "Lost" not in group.said(1)


def test_a_job_moves_between_numbers_of_machines(
    one_process, start_all, tmp_path
):
    group = start_all(2, *FLOAT64, "--epochs=1")
    assert group.codes() == [0, 0], group.all_said()
    flags = (f"--job_dir={tmp_path / 'job'}", "--epochs=2")
    train_and_evaluate(parse_flags([*SMALL, *FLOAT64, *flags]))
    group = start_all(4, *FLOAT64)
    assert group.codes() == [0] * 4, group.all_said()
    assert "Resuming" in group.said(0)
    found = relative_difference(
        [r for r in metrics_of(one_process) if r["split"] == "train"],
        [r for r in metrics_of(tmp_path / "job") if r["split"] == "train"],
    )
    assert max(found.values()) < 1e-10


@pytest.mark.slow
def test_a_worker_with_other_flags_is_refused_and_may_come_again(workers):
    hosts = free_hosts(2)
    flags = ("--epochs=1",)
    workers.start(0, hosts, flags)
    workers.start(1, hosts, (*flags, "--seed=1"))
    assert workers.processes[1].wait(deadline.SECONDS) == 2, workers.all_said()
    workers.start(1, hosts, flags)
    assert workers.codes() == [0, 2, 0], workers.all_said()
    for index in range(2):
        assert "--seed=1 (the chief has 0)" in workers.said(index)


@pytest.mark.slow
def test_strangers_on_the_port_change_nothing(tmp_path):
    well, report = fuzz_rendezvous.fuzz(200, 10, seed=0, folder=tmp_path)
    assert well, report


def test_a_role_that_the_job_does_not_have_exits_2(run, job_dir):
    cluster = {"worker": ["127.0.0.1:1"], "ps": ["127.0.0.1:2"]}
    task = {"type": "ps", "index": 0}
    code, _, err = run(
        *SMALL,
        job_dir=job_dir,
        TF_CONFIG=json.dumps({"cluster": cluster, "task": task}),
    )
    assert code == 2
    assert "a task of type ps" in err
    assert not job_dir.exists()


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespaces_work():
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"vae-try-{os.getpid()}"
    made = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, check=False
    )
    subprocess.run(
        ["ip", "netns", "del", name], capture_output=True, check=False
    )
    return made.returncode == 0


@pytest.fixture
def hosts_with_a_link():
    """Two hosts of this machine, joined by a cable; yields their names."""
    if not namespaces_work():
        pytest.skip("this machine allows no network namespaces (ip netns)")
    tag = os.getpid() % 10000
    names = [f"vae-{tag}-{side}" for side in "ab"]
    ends = [f"vae{tag}{side}" for side in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True)):
            ip("link", "set", end, "netns", name)
            inside = ("-n", name)
            ip(*inside, "addr", "add", f"10.77.0.{number + 1}/24", "dev", end)
            ip(*inside, "link", "set", end, "up")
            ip(*inside, "link", "set", "lo", "up")
        yield dict(zip(names, ends, strict=True))
    finally:
        for name in names:
            ip("netns", "del", name)


ADDRESSES = ["10.77.0.1:2222", "10.77.0.2:2222"]


def inside(host):
    return ("ip", "netns", "exec", host)


@pytest.mark.slow
def test_a_cut_link_is_noticed_on_both_sides(workers, hosts_with_a_link):
    names = list(hosts_with_a_link)
    for index, name in enumerate(names):
        # The second machine starts late; the first waits for it.
        workers.start(
            index,
            ADDRESSES,
            [f"--epochs={EPOCHS}"],
            inside(name),
        )
        workers.wait_for(0, "Waiting for worker 1 (10.77.0.2:2222)")
    workers.wait_for(0, "Epoch 1,")
    ip("-n", names[1], "link", "set", hosts_with_a_link[names[1]], "down")
    assert workers.codes() == [75, 75], workers.all_said()
    assert "Lost worker 1 (10.77.0.2:2222)" in workers.said(0)
    assert "Lost chief (10.77.0.1:2222)" in workers.said(1)


def test_a_machine_that_never_comes_is_named(
    workers, hosts_with_a_link, tmp_path
):
    for index, name in enumerate(hosts_with_a_link):
        if index == 0:
            flags = ["--cluster_timeout_seconds=3"]
            workers.start(0, ADDRESSES, flags, inside(name))
    assert workers.codes() == [75]
    missing = "Not found after 3 seconds: worker 1 (10.77.0.2:2222)"
    assert missing in workers.said(0)
    assert not (tmp_path / "job").exists()
