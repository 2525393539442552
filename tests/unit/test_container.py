"""What the container's files promise; `make image-test` tries the image."""

import ipaddress
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest
import yaml

from trainer.runtime.training_flags import parse_flags

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services():
    compose = ROOT / "deploy" / "container" / "compose.yaml"
    return yaml.safe_load(compose.read_text())["services"]


@pytest.fixture
def requirements(tmp_path):
    """Runs what the Dockerfile runs; returns (exit code, stdout, stderr)."""
    # What is there in the image: it has to be enough.
    (tmp_path / "trainer").mkdir()
    for name in ("setup.py", "README.md", "trainer/__init__.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "deploy" / "container" / "requirements.py", tmp_path)

    def requirements(variant):
        done = subprocess.run(
            [sys.executable, "requirements.py", variant],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines(), done.stderr

    return requirements


def test_the_variants_differ_in_tensorflow_alone(requirements):
    (code, gpu, _), (_, cpu, _) = requirements("gpu"), requirements("cpu")
    assert code == 0
    assert set(gpu) ^ set(cpu) == {
        "tensorflow>=2.21",
        "tensorflow[and-cuda]>=2.21",
        "tensorflow-cpu>=2.21",
    }
    assert "matplotlib>=3.9" in cpu
    # The extras that an image has a use for; nothing is sent from it.
    assert "cloudml-hypertune==0.1.0.dev6" in cpu
    assert "scikit-learn>=1.5" in cpu
    assert not [line for line in gpu if "aiplatform" in line or ";" in line]


def test_a_model_is_copied_to_where_the_image_looks_for_modules():
    dockerfile = (ROOT / "Dockerfile").read_text()
    version = re.search(r"BASE_IMAGE=\S+/python:(3\.\d+)\.", dockerfile)[1]
    assert "venv --without-pip /opt/venv" in dockerfile
    # What venv makes of its folder, in the Python of the image.
    packages = sysconfig.get_path(
        "purelib", "posix_venv", vars={"base": "/opt/venv"}
    ).replace(f"python{sysconfig.get_python_version()}", f"python{version}")
    models = (ROOT / "docs" / "own_models.md").read_text()
    (folder,) = re.findall(r"^ *COPY .* (/\S+)/$", models, re.MULTILINE)
    assert folder == packages


def test_an_unknown_variant_is_one_sentence(requirements):
    assert requirements("tpu") == (
        1,
        [],
        "VARIANT=tpu is not known; use gpu or cpu.\n",
    )


def test_the_composed_command_is_one_that_the_trainer_takes(services):
    parsed = parse_flags(services["trainer"]["command"])
    assert parsed.job_dir.startswith("/runs/")


def test_nothing_is_published_but_to_this_machine(services):
    published = [
        port.partition(":")[0]
        for service in services.values()
        for port in service.get("ports", [])
    ]
    assert published
    assert all(ipaddress.ip_address(host).is_loopback for host in published)


def test_every_service_is_confined(services):
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert services["tensorboard"]["volumes"][0].endswith(":/runs:ro")
