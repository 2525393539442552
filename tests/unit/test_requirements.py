"""The lists of exact versions: whole, as setup.py wants them, with hashes."""

import os
import pathlib
import re
import runpy

import pytest
from packaging.requirements import Requirement

from tests.tools.project import ROOT

FILES = sorted((ROOT / "requirements").glob("*.txt"))
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def pins(path, python):
    """Returns the version of each package that a list has for a Python."""
    found = {}
    for entry in re.split(r"\n(?=\S)", path.read_text().strip()):
        line, *hashes = entry.split("\\\n")
        requirement = Requirement(line)
        # A file whose hash is not there would be refused, so all of them.
        assert hashes, line
        for each in hashes:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64} *", each), line
        if holds(requirement, python):
            assert requirement.name not in found, requirement.name
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            found[requirement.name] = specifier.version
    return found


def holds(requirement, python, extra=""):
    """Whether a requirement counts on Linux with a Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": extra,
    }
    marker = requirement.marker
    return marker is None or marker.evaluate(environment)


def declared():
    """Returns what setup.py wants: a function of names of extras."""
    script = ROOT / "deploy" / "container" / "requirements.py"
    lines = runpy.run_path(script)["from_metadata"]()
    requirements = [Requirement(line) for line in lines]

    def of(*extras):
        return [
            each
            for each in requirements
            if any(holds(each, "3.11", extra) for extra in ("", *extras))
        ]

    return of


@pytest.fixture(scope="module")
def wanted():
    """Gives what each list has to have, by its name."""
    before = pathlib.Path.cwd()
    os.chdir(ROOT)
    try:
        of = declared()
    finally:
        os.chdir(before)
    build = [Requirement(name) for name in ("pip>=23.3", "setuptools", "wheel")]
    return {
        "dev": [*of("dev"), *build],
        "run": [*of("metrics", "probes", "tune"), *build],
        "image-gpu": of("gpu", "metrics", "probes", "tuning"),
        "image-cpu": [
            Requirement(str(each).replace("tensorflow>", "tensorflow-cpu>"))
            for each in of("metrics", "probes", "tuning")
        ],
        "build": build,
    }


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_list_has_what_setup_py_wants_for_each_python(path, python, wanted):
    found = pins(path, python)
    for requirement in wanted[path.stem]:
        version = found.get(requirement.name.lower())
        assert version, f"{requirement} is missing: run make requirements"
        assert requirement.specifier.contains(version), requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_people_and_images_get_the_versions_that_were_tested(python):
    tested = pins(ROOT / "requirements" / "dev.txt", python)
    # That of the GPU build, in another package.
    tested["tensorflow-cpu"] = tested["tensorflow"]
    for path in FILES:
        found = pins(path, python)
        for name in found.keys() & tested.keys():
            assert found[name] == tested[name], (path.name, name)
    run = pins(ROOT / "requirements" / "run.txt", python)
    assert run.keys() <= tested.keys()


def test_what_is_built_comes_from_a_base_that_cannot_change():
    text = (ROOT / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"[\w./:-]+@sha256:[0-9a-f]{64}", base)
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(images) <= {"${BASE_IMAGE}", "tools"}
    # Whatever pip fetches is known by its hash, or is ours.
    for line in re.findall(r"pip .*?install(.*?)(?=&&|\n[A-Z#\n])", text, re.S):
        assert "--require-hashes" in line or "--no-deps" in line
