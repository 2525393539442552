"""What is set for a GPU's libraries, and that a CPU gets nothing of it."""

import os

import pytest

from trainer import in_process, task
from trainer.commands import doctor
from trainer.config import TrainConfig
from trainer.errors import JobDirError
from trainer.runtime import gpu_environment

CONFIG = TrainConfig()
DETERMINISTIC = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "NCCL_ALGO": "Ring",
    "XLA_FLAGS": "--xla_gpu_autotune_level=0",
}


@pytest.fixture
def driver(tmp_path):
    """The file by which a driver is known."""
    path = tmp_path / "version"
    path.touch()
    return (str(path),)


@pytest.fixture
def home(tmp_path):
    return {"HOME": str(tmp_path)}


def test_a_machine_without_a_gpu_gets_no_variable(home, tmp_path):
    environ = {**home, "XLA_FLAGS": "--xla_dump_to=here"}
    gpu_environment.prepare(CONFIG, environ, (str(tmp_path / "none"),))
    assert environ == {**home, "XLA_FLAGS": "--xla_dump_to=here"}


@pytest.mark.parametrize("hidden", ["-1", "", " ", "-1,0"])
def test_nor_does_one_whose_gpus_are_hidden(home, driver, hidden):
    environ = {**home, "CUDA_VISIBLE_DEVICES": hidden}
    gpu_environment.prepare(CONFIG, environ, driver)
    assert environ == {**home, "CUDA_VISIBLE_DEVICES": hidden}


def test_a_deterministic_job_pins_what_could_choose_by_speed(home, driver):
    environ = {**home, "CUDA_VISIBLE_DEVICES": "0,1"}
    gpu_environment.prepare(CONFIG, environ, driver)
    assert DETERMINISTIC.items() <= environ.items()
    assert gpu_environment.autotuning(environ) == 0
    once = dict(environ)
    gpu_environment.prepare(CONFIG, environ, driver)
    assert environ == once


def test_another_job_is_left_its_speed(home, driver):
    environ = dict(home)
    gpu_environment.prepare(TrainConfig(deterministic=False), environ, driver)
    assert environ == home


@pytest.mark.parametrize(
    ("flags", "kept", "autotuning"),
    [
        ("--xla_gpu_autotune_level=3", True, 3),
        (
            "--xla_gpu_autotune_level=4 --xla_gpu_autotune_level=1 --xla_dump",
            True,
            1,
        ),
        ("--xla_gpu_load_autotune_results_from=a.pb", True, "kept"),
        ("flags.txt", True, "file"),
        ("--xla_dump_to=a", False, 0),
    ],
)
def test_what_the_user_has_set_stays(home, driver, flags, kept, autotuning):
    users = {
        **home,
        "CUBLAS_WORKSPACE_CONFIG": ":16:8",
        "NCCL_ALGO": "Tree",
        "XLA_FLAGS": flags,
        "CUDA_CACHE_PATH": "/kernels",
    }
    environ = dict(users)
    gpu_environment.prepare(CONFIG, environ, driver)
    if not kept:
        users["XLA_FLAGS"] += " --xla_gpu_autotune_level=0"
    assert environ == users
    assert gpu_environment.autotuning(environ) == autotuning


def test_nothing_said_of_autotuning_is_recorded_as_nothing():
    assert gpu_environment.autotuning({}) is None
    assert (
        gpu_environment.autotuning({"XLA_FLAGS": "--xla_gpu_autotune_level"})
        is None
    )


def test_kernels_are_kept_in_the_cache_where_home_is_read_only(
    tmp_path, driver, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    environ = {
        "HOME": str(tmp_path / "missing"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    gpu_environment.prepare(CONFIG, environ, driver)
    assert environ["CUDA_CACHE_PATH"] == str(
        tmp_path / "cache" / "vae-trainer" / "cuda"
    )


@pytest.fixture
def gpu_here(monkeypatch):
    """A machine with a GPU, whose variables are put back afterwards."""
    for name in (*DETERMINISTIC, "CUDA_CACHE_PATH"):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    monkeypatch.setattr(gpu_environment, "has_gpu", lambda *args: True)


@pytest.mark.parametrize("command", [task, doctor])
def test_a_command_sets_them_when_it_has_its_flags(gpu_here, command):
    assert command._parse(["--nodeterministic"])
    assert "NCCL_ALGO" not in os.environ
    assert command._parse(["--help"]) is None
    assert "NCCL_ALGO" not in os.environ
    assert command._parse([])
    assert DETERMINISTIC.items() <= os.environ.items()


def test_so_does_a_training_in_a_script(gpu_here, tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(JobDirError, match=r"no config\.json"):
        in_process.train({"job_dir": str(tmp_path)})
    assert DETERMINISTIC.items() <= os.environ.items()
