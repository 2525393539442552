"""The sdist: it has what is needed, and trains where nothing else is."""

import os
import pathlib
import subprocess
import sys
import sysconfig
import tarfile
import venv

import pytest

import trainer
from tests.tools.project import copy_project

NAME = f"vae_trainer-{trainer.__version__}"
# What only a clone has a use for, and what only an sdist has.
CLONE_ONLY = {".ci/run", ".gitignore", ".pre-commit-config.yaml"}
SDIST_ONLY = {"PKG-INFO", "setup.cfg"}


def call(*command, folder, **variables):
    """Runs a command in a folder; it must succeed. Returns its stdout."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "TF_CONFIG")
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project as in a fresh clone: earlier builds leave lists of files."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    return folder


@pytest.fixture(scope="module")
def sdist(project, tmp_path_factory):
    """The path of the sdist, built."""
    folder = tmp_path_factory.mktemp("dist")
    call(
        *(sys.executable, "-m", "build", "--sdist", "--no-isolation"),
        *("--outdir", folder),
        folder=project,
    )
    return folder / f"{NAME}.tar.gz"


@pytest.fixture(scope="module")
def python(sdist, tmp_path_factory):
    """Python of an environment with the sdist and its dependencies only.

    Installing TensorFlow again would take minutes, so the dependencies are
    links to those of this environment, without the project itself.
    """
    folder = tmp_path_factory.mktemp("environment")
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for path in pathlib.Path(sysconfig.get_path("purelib")).iterdir():
        if "vae_trainer" not in path.name:
            (dependencies / path.name).symlink_to(path)
    venv.create(folder / "venv")
    (packages,) = folder.glob("venv/lib/python3.*/site-packages")
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    python = folder / "venv" / "bin" / "python"
    call(
        *(sys.executable, "-m", "pip", "--python", python, "install"),
        *("--no-index", "--no-deps", "--no-build-isolation", sdist),
        folder=folder,
    )
    return python


def test_the_sdist_has_every_file_of_the_project(project, sdist):
    # Building left its own record there.
    expected = {
        str(path.relative_to(project))
        for path in project.rglob("*")
        if path.is_file() and ".egg-info" not in str(path)
    }
    with tarfile.open(sdist) as archive:
        found = {
            member.name.removeprefix(f"{NAME}/")
            for member in archive
            if member.isfile() and ".egg-info/" not in member.name
        }
    assert found - SDIST_ONLY == expected - CLONE_ONLY


def test_it_trains_in_an_environment_of_its_own(python, tmp_path):
    where = "import trainer; print(trainer.__file__)"
    found = pathlib.Path(call(python, "-c", where, folder=tmp_path).strip())
    assert found.is_relative_to(python.parents[1])
    out = call(
        python.with_name("vae-train"),
        "--dataset=synthetic",
        "--train_examples=64",
        "--test_examples=32",
        "--batch_size=32",
        "--latent_dim=8",
        "--epochs=1",
        folder=tmp_path,
        KERAS_HOME=str(tmp_path / "keras"),
    )
    assert out.splitlines()[0] == "New job in runs/vae."
    assert (tmp_path / "runs" / "vae" / "finished.json").exists()


def test_its_requirements_fit_together(python, tmp_path):
    found = call(
        *(sys.executable, "-m", "pip", "--python", python, "check"),
        folder=tmp_path,
    )
    assert "No broken requirements found" in found
