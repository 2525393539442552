"""The sdist and the wheel: they have what is needed, and run on their own."""

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
def archives(project, tmp_path_factory):
    """The paths of the sdist, and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    call(
        *(sys.executable, "-m", "build", "--no-isolation"),
        *("--outdir", folder),
        folder=project,
    )
    return {
        "sdist": folder / f"{NAME}.tar.gz",
        "wheel": folder / f"{NAME}-py3-none-any.whl",
    }


@pytest.fixture(scope="module")
def pythons(archives, tmp_path_factory):
    """Python of an environment with an archive and its dependencies, by kind.

    Installing TensorFlow again would take minutes, so the dependencies are
    links to those of this environment, without the project itself.
    """
    return {
        kind: _environment(archive, tmp_path_factory.mktemp(kind))
        for kind, archive in archives.items()
    }


def _environment(archive, folder):
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
        *("--no-index", "--no-deps", "--no-build-isolation", archive),
        folder=folder,
    )
    return python


@pytest.fixture(scope="module")
def job(pythons, tmp_path_factory):
    """The folder with a job in its default place, trained by the sdist."""
    folder = tmp_path_factory.mktemp("job")
    out = call(
        pythons["sdist"].with_name("vae-train"),
        "--dataset=synthetic",
        "--train_examples=64",
        "--test_examples=32",
        "--batch_size=32",
        "--latent_dim=8",
        "--epochs=1",
        folder=folder,
        KERAS_HOME=str(folder / "keras"),
    )
    assert out.splitlines()[0] == "New job in runs/vae."
    return folder


def test_the_sdist_has_every_file_of_the_project(project, archives):
    # Building left its own record there.
    expected = {
        str(path.relative_to(project))
        for path in project.rglob("*")
        if path.is_file() and ".egg-info" not in str(path)
    }
    with tarfile.open(archives["sdist"]) as archive:
        found = {
            member.name.removeprefix(f"{NAME}/")
            for member in archive
            if member.isfile() and ".egg-info/" not in member.name
        }
    assert found - SDIST_ONLY == expected - CLONE_ONLY


def test_it_trains_in_an_environment_of_its_own(pythons, job):
    where = "import trainer; print(trainer.__file__)"
    for python in pythons.values():
        found = pathlib.Path(call(python, "-c", where, folder=job).strip())
        assert found.is_relative_to(python.parents[1])
        assert found.with_name("py.typed").exists()
    assert (job / "runs" / "vae" / "finished.json").exists()


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_has_what_pages_are_made_of(pythons, job, kind):
    call(pythons[kind].with_name("vae-gallery"), folder=job)
    page = job / "runs" / "vae" / "gallery.html"
    text = page.read_text()
    page.unlink()
    assert "prefers-color-scheme: dark" in text
    assert "<h1>runs/vae</h1>" in text
    compare = pythons[kind].with_name("vae-compare")
    text = call(compare, "runs/vae", "--format=html", folder=job)
    assert "<h1>1 job compared</h1>" in text


def test_its_requirements_fit_together(pythons, tmp_path):
    found = call(
        *(sys.executable, "-m", "pip", "--python", pythons["sdist"], "check"),
        folder=tmp_path,
    )
    assert "No broken requirements found" in found
