"""Several workers as real processes, on loopback and in network namespaces."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.tools import fuzz_rendezvous
from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL
from tests.tools.soak import metrics_of
from tests.tools.workers import free_hosts, tf_config
from trainer.job import train_and_evaluate
from trainer.runtime.flags import parse_flags

LOST_SECONDS = 60
EPOCHS = 200  # More than a test waits for.
FLOAT64 = ("--precision=float64", "--epochs=5", "--eval_epochs=5")


class Workers:
    """The processes of a job, in the order of their places in it."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.logs = []

    def start(self, index, job_dir, hosts, flags, prefix=()):
        log = self.folder / f"worker-{len(self.logs)}.log"
        # No shared disk: the others may not even look at the job directory.
        location = job_dir if index == 0 else "/dev/null/none"
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
                        *(sys.executable, "-m", "trainer.task"),
                        *(f"--job_dir={location}", *SMALL, *flags),
                    ],
                    cwd=ROOT,
                    env=environment | {"TF_CONFIG": tf_config(hosts, index)},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )

    def said(self, index):
        return self.logs[index].read_text()

    def wait_for(self, index, text):
        end = time.monotonic() + 90
        while text not in self.said(index):
            assert time.monotonic() < end, self.all_said()
            assert self.processes[index].poll() is None, self.all_said()
            time.sleep(0.05)

    def codes(self, seconds=120):
        """Waits for the end of all; returns their exit codes."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.wait(max(end - time.monotonic(), 0.1))
        return [process.returncode for process in self.processes]

    def all_said(self):
        return "\n".join(log.read_text() for log in self.logs)


@pytest.fixture
def workers(tmp_path):
    group = Workers(tmp_path)
    yield group
    for process in group.processes:
        process.kill()
        process.wait()


@pytest.fixture
def start_all(workers, tmp_path):
    """Starts a job on some workers; returns its `Workers`."""

    def start_all(count, *flags, job="job"):
        hosts = free_hosts(count)
        workers.processes, workers.logs = [], []
        for index in range(count):
            workers.start(index, tmp_path / job, hosts, flags)
        return workers

    return start_all


def relative_difference(rows, others):
    """The largest relative difference of two jobs' losses, by (split, step)."""
    names = ("total_loss", "reconstruction_loss", "kl_loss")
    return {
        (row["split"], row["step"]): max(
            abs(row[name] - other[name]) / abs(row[name]) for name in names
        )
        for row, other in zip(rows, others, strict=True)
    }


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """The job of `FLOAT64` in this process, on one replica and on four."""
    folders = {}
    for name, replicas in {"1x1": 1, "1x4": 4}.items():
        folders[name] = tmp_path_factory.mktemp(name) / "job"
        flags = (f"--job_dir={folders[name]}", f"--virtual_devices={replicas}")
        train_and_evaluate(parse_flags([*SMALL, *FLOAT64, *flags]))
    return folders


def test_any_layout_gives_one_result(one_process, start_all, tmp_path):
    rows = {name: metrics_of(job) for name, job in one_process.items()}
    for name, count in {"2x1": 2, "4x1": 4}.items():
        group = start_all(count, *FLOAT64, job=name)
        assert group.codes() == [0] * count, group.all_said()
        rows[name] = metrics_of(tmp_path / name)
    assert max(row["step"] for row in rows["1x1"]) == 100
    for name in ("1x4", "2x1", "4x1"):
        worst = max(relative_difference(rows["1x1"], rows[name]).values())
        # Law 2 of the house, over 100 steps.
        assert worst < 1e-10, name


def test_float32_layouts_differ_by_rounding_alone(start_all, tmp_path):
    # With as many latent units as the default recipe has, of which the law
    # speaks. The KL of 8 is so small at first that its own rounding shows.
    flags = ("--latent_dim=200", "--max_steps=30", "--epochs=2")
    flags += ("--summary_steps=1",)
    job_dir = tmp_path / "1x1"
    train_and_evaluate(parse_flags([*SMALL, *flags, f"--job_dir={job_dir}"]))
    group = start_all(2, *flags)
    assert group.codes() == [0, 0], group.all_said()
    found = relative_difference(
        metrics_of(job_dir), metrics_of(tmp_path / "job")
    )
    steps = {step: found["train", step] for _, step in found}
    # Law 2 of the house.
    assert max(steps[step] for step in range(1, 11)) < 1e-5
    assert max(steps.values()) < 1e-3


def test_only_the_chief_shows_progress_and_each_line_says_who_speaks(
    start_all,
):
    group = start_all(2, "--epochs=1")
    assert group.codes() == [0, 0], group.all_said()
    chief, other = (group.said(index).splitlines() for index in range(2))
    assert all(line.startswith("[chief] ") for line in chief)
    assert any("with 2 CPU replicas" in line for line in chief)
    assert len(other) == 1
    assert other[0].startswith("[worker 1] Looking for the chief")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_signal_to_any_worker_saves_and_all_exit_75(
    start_all, tmp_path, victim
):
    group = start_all(2, f"--epochs={EPOCHS}")
    group.wait_for(0, "Epoch 1,")
    sent = time.monotonic()
    group.processes[victim].terminate()
    assert group.codes() == [75, 75], group.all_said()
    assert time.monotonic() - sent < 30
    step = int(group.said(0).split("saved at step ")[1].split(";")[0])
    assert (tmp_path / "job" / "checkpoints" / f"step-{step:07d}").is_dir()
    whom = f"to worker 1 ({'127.0.0.1'}:" if victim else "SIGTERM: everything"
    for index in range(2):
        assert whom in group.said(index)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_is_named_by_the_other(start_all, victim):
    group = start_all(2, f"--epochs={EPOCHS}")
    group.wait_for(0, "Epoch 1,")
    group.processes[victim].kill()
    codes = group.codes(LOST_SECONDS)
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 75
    name = ("chief", "worker 1")[victim]
    assert f"Lost {name} (127.0.0.1:" in group.said(1 - victim)


def test_a_second_signal_ends_a_worker_that_waits_in_a_collective(start_all):
    group = start_all(2, f"--epochs={EPOCHS}")
    group.wait_for(0, "Epoch 1,")
    group.processes[0].send_signal(signal.SIGSTOP)
    time.sleep(2)
    sent = time.monotonic()
    group.processes[1].terminate()
    # One that comes within a second is taken for the same.
    time.sleep(1.5)
    group.processes[1].terminate()
    assert group.processes[1].wait(10) == 75
    assert time.monotonic() - sent < 10


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
        [r for r in metrics_of(one_process["1x1"]) if r["split"] == "train"],
        [r for r in metrics_of(tmp_path / "job") if r["split"] == "train"],
    )
    assert max(found.values()) < 1e-10


def test_a_worker_with_other_flags_is_refused_and_may_come_again(
    workers, tmp_path
):
    hosts = free_hosts(2)
    flags = ("--epochs=1",)
    workers.start(0, tmp_path / "job", hosts, flags)
    workers.start(1, tmp_path / "job", hosts, (*flags, "--seed=1"))
    assert workers.processes[1].wait(120) == 2, workers.all_said()
    workers.start(1, tmp_path / "job", hosts, flags)
    assert workers.codes() == [0, 2, 0], workers.all_said()
    for index in range(2):
        assert "--seed=1 (the chief has 0)" in workers.said(index)


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


def test_a_cut_link_is_noticed_on_both_sides(
    workers, hosts_with_a_link, tmp_path
):
    names = list(hosts_with_a_link)
    for index, name in enumerate(names):
        # The second machine starts late; the first waits for it.
        workers.start(
            index,
            tmp_path / "job",
            ADDRESSES,
            [f"--epochs={EPOCHS}"],
            inside(name),
        )
        workers.wait_for(0, "Waiting for worker 1 (10.77.0.2:2222)")
    workers.wait_for(0, "Epoch 1,")
    ip("-n", names[1], "link", "set", hosts_with_a_link[names[1]], "down")
    assert workers.codes(LOST_SECONDS) == [75, 75], workers.all_said()
    assert "Lost worker 1 (10.77.0.2:2222)" in workers.said(0)
    assert "Lost chief (10.77.0.1:2222)" in workers.said(1)


def test_a_machine_that_never_comes_is_named(
    workers, hosts_with_a_link, tmp_path
):
    for index, name in enumerate(hosts_with_a_link):
        if index == 0:
            flags = ["--cluster_timeout_seconds=3"]
            workers.start(0, tmp_path / "job", ADDRESSES, flags, inside(name))
    assert workers.codes() == [75]
    missing = "Not found after 3 seconds: worker 1 (10.77.0.2:2222)"
    assert missing in workers.said(0)
    assert not (tmp_path / "job").exists()
