"""What `make` promises, without running it."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def make(tmp_path):
    """Calls make in a fresh copy; returns what it printed."""
    for name in ("Makefile", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    # The tests themselves are mostly started by a make.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }

    def make(*words):
        return subprocess.run(
            ["make", *words],
            cwd=tmp_path,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    return make


def test_help_lists_every_target(make):
    text = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    for target in set(targets.split()) - {"help"}:
        assert f"make {target} " in make()


@pytest.mark.parametrize(
    ("target", "installed"),
    [
        ("train", "requirements/run.txt"),
        ("gallery", "requirements/run.txt"),
        ("tensorboard", "requirements/run.txt"),
        ("test", "requirements/dev.txt"),
        ("lint", "requirements/dev.txt"),
    ],
)
def test_a_target_installs_what_it_needs_once(
    make, tmp_path, target, installed
):
    commands = make("--dry-run", target)
    # What happens, how much is downloaded, and for how long.
    assert re.match(
        rf"\S+ requirements/install\.py \.venv {installed} "
        r'".+: a download of .+ GB, .+ GB in .+, about \d minutes"\n',
        commands,
    )
    (tmp_path / ".venv").mkdir()
    for stamp in re.findall(r"(?<=touch ).+", commands)[0].split():
        (tmp_path / stamp).touch()
    assert "install" not in make("--dry-run", target)


def test_what_tests_need_is_enough_to_train(make, tmp_path):
    (stamps,) = re.findall(r"(?<=touch ).+", make("--dry-run", "test"))
    (tmp_path / ".venv").mkdir()
    for stamp in stamps.split():
        (tmp_path / stamp).touch()
    assert "install.py" not in make("--dry-run", "train")
