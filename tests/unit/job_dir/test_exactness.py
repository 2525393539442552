"""A resume on other GPUs says that it is exact no more, or is refused."""

import dataclasses
import pathlib

import pytest

from tests.tools.gpu_machines import MACHINES, stub
from tests.tools.small_jobs import StopAfterRows, small_job, train_only
from trainer.distributed import devices, gpus
from trainer.errors import ConfigError, InterruptedJobError
from trainer.job_dir import exactness
from trainer.job_dir.open import JobDir


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """What each machine records, by name; `cpu` has None."""
    found = {"cpu": None}
    for name, machine in MACHINES.items():
        with monkeypatch.context() as patch:
            stub(patch, tmp_path, machine)
            found[name] = gpus.describe(machine.devices, machine.count)
    return found


def sessions_of(*records):
    return [
        {"devices": "1 GPU replica" if gpu else "1 CPU replica"}
        | ({"gpu": gpu} if gpu else {})
        for gpu in records
    ]


@pytest.mark.parametrize("name", ["cpu", *MACHINES])
def test_a_resume_on_the_same_machine_is_exact(recorded, name):
    sessions = sessions_of(recorded[name], recorded[name])
    assert exactness.check("runs/a", sessions, recorded[name], True) is None


def test_a_resume_on_another_model_says_so(recorded):
    told = exactness.check(
        "runs/a", sessions_of(recorded["mig"]), recorded["l4"], False
    )
    assert told == (
        "From here on the result is not the same bit for bit as that of an "
        "untouched run: GPU NVIDIA L4 (was NVIDIA A100-SXM4-40GB MIG 3g.20gb); "
        "compute capability 8.9 (was 8.0); GPUs 1 (was 2); replicas 1 (was 2). "
        "--require_exact would refuse this."
    )


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ("h100", "l4", r"GPU NVIDIA L4 \(was NVIDIA H100 80GB HBM3\)"),
        ("cpu", "h100", r"8 x NVIDIA H100 80GB HBM3 \(was no GPU\)"),
        ("l4", "cpu", r"no GPU \(was 1 x NVIDIA L4\)"),
    ],
)
def test_or_is_refused(recorded, before, now, message):
    with pytest.raises(ConfigError, match=message) as refused:
        exactness.check(
            "runs/a", sessions_of(recorded[before]), recorded[now], True
        )
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"driver": "535.1"}, r"driver 535\.1 \(was 550\.54\.15\)\."),
        ({"tf32": False}, r"TF32 off \(was on\)\."),
        ({"nccl_algo": "Tree"}, r"NCCL_ALGO Tree \(was unknown\)\."),
        ({"xla_autotuning": 4}, r"XLA's autotuning 4 \(was unknown\)\."),
        ({"cudnn": "9\n" * 99}, r"cuDNN '9\\n9"),
    ],
)
def test_what_else_the_digits_depend_on_is_named(recorded, change, message):
    sessions = sessions_of(recorded["l4"])
    with pytest.raises(ConfigError, match=message):
        exactness.check("runs/a", sessions, recorded["l4"] | change, True)


def test_a_job_that_has_moved_and_come_back_is_not_exact(recorded):
    names = ("l4", "mig", "l4")
    sessions = sessions_of(*(recorded[name] for name in names))
    assert "was NVIDIA A100" in exactness.check(
        "runs/a", sessions, recorded["l4"], False
    )


def test_a_job_of_an_earlier_version_does_not_know_its_gpus(recorded):
    sessions = [{"devices": "8 GPU replicas"}]
    for now in ("h100", "cpu"):
        assert "an earlier version" in exactness.check(
            "runs/a", sessions, recorded[now], False
        )
    assert exactness.check("runs/a", [{}], None, True) is None


def test_a_job_is_resumed_on_another_gpu_or_refused(
    recorded, monkeypatch, tmp_path, capsys
):
    """A job of the CPU here, which records what GPUs would."""
    connect = devices.connect

    def run(name, **settings):
        monkeypatch.setattr(
            devices,
            "connect",
            lambda *args: dataclasses.replace(
                connect(*args), gpu=recorded[name]
            ),
        )
        config = small_job(job_dir=str(tmp_path / "job"), **settings)
        train_only(config, stop=StopAfterRows(config, rows_of(config) + 1))

    def rows_of(config):
        path = pathlib.Path(config.job_dir) / "metrics.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    with pytest.raises(InterruptedJobError):
        run("l4")
    assert "bit for bit" not in capsys.readouterr().err
    record = JobDir(tmp_path / "job").record()
    assert record["sessions"][0]["gpu"] == recorded["l4"]
    with pytest.raises(ConfigError, match="GPU NVIDIA H100"):
        run("h100", require_exact=True)
    assert len(JobDir(tmp_path / "job").record()["sessions"]) == 1
    with pytest.raises(InterruptedJobError):
        run("h100")
    lines = capsys.readouterr().err.splitlines()
    assert sum("bit for bit" in line for line in lines) == 1
    sessions = JobDir(tmp_path / "job").record()["sessions"]
    assert [session["gpu"]["model"] for session in sessions] == [
        "NVIDIA L4",
        "NVIDIA H100 80GB HBM3",
    ]
