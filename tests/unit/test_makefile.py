"""What `make` promises, without running it."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

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
    assert f"--require-hashes --requirement {installed}\n" in commands
    # Nothing comes with it, and nothing to build it.
    assert "--no-deps --no-build-isolation --editable .\n" in commands
    # A line first that says what happens, and for how long.
    assert re.match(
        r"echo 'Installing .+: a download of .+ GB, .+ minutes\.'\n", commands
    )
    assert "--quiet" not in commands
    (tmp_path / ".venv").mkdir()
    for stamp in re.findall(r"(?<=touch ).+", commands)[0].split():
        (tmp_path / stamp).touch()
    assert "install" not in make("--dry-run", target)


def test_what_tests_need_is_enough_to_train(make, tmp_path):
    (stamps,) = re.findall(r"(?<=touch ).+", make("--dry-run", "test"))
    (tmp_path / ".venv").mkdir()
    for stamp in stamps.split():
        (tmp_path / stamp).touch()
    assert "pip" not in make("--dry-run", "train")


def test_another_python_is_refused_before_anything_is_made(make, tmp_path):
    text = (ROOT / "setup.py").read_text()
    limits = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', text)
    least, too_new = map(int, limits.groups())
    commands = make("--print-data-base", "--dry-run", "train")
    assert f"(3, {least}) <= sys.version_info[:2] < (3, {too_new})" in commands
    old = tmp_path / "python"
    # It says that it is 3.9, whatever it is.
    old.write_text(
        f'#!/bin/sh\nshift\nexec {sys.executable} -c "import sys\n'
        'sys.version_info = (3, 9)\n$1"\n'
    )
    old.chmod(0o755)
    found = subprocess.run(
        ["make", "train", f"PYTHON={old}"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode
    assert "This is Python 3.9, but the trainer wants 3.10 to 3" in found.stderr
    assert not (tmp_path / ".venv").exists()
