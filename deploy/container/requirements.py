"""Prints what an image installs: the requirements of setup.py, by variant.

    python deploy/container/requirements.py cpu

`make requirements` chooses the exact versions from these.
"""

import contextlib
import importlib.metadata
import pathlib
import sys
import tempfile

from setuptools import build_meta

EXTRAS = {
    "gpu": ("gpu", "metrics", "probes", "tuning"),
    "cpu": ("metrics", "probes", "tuning"),
}


def requirements(variant):
    """Returns the requirements of an image, one string each.

    Args:
        variant: `"gpu"`, or `"cpu"`: then `tensorflow-cpu` takes the place of
            `tensorflow`, which would bring the GPU build.
    """
    found = []
    for line in from_metadata():
        requirement, _, extra = line.partition("; extra == ")
        if not extra or extra.strip("\"'") in EXTRAS[variant]:
            found.append(requirement)
    if variant == "cpu":
        found = [
            line.replace("tensorflow>", "tensorflow-cpu>") for line in found
        ]
    return found


def from_metadata():
    """Returns the requirements of the project in this folder, as pip sees them.

    Those of an extra end in `; extra == "NAME"`.
    """
    with tempfile.TemporaryDirectory() as folder:
        # setuptools says what it does on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            name = build_meta.prepare_metadata_for_build_wheel(folder)
        path = pathlib.Path(folder, name)
        return importlib.metadata.PathDistribution(path).requires


if __name__ == "__main__":
    variant = sys.argv[1]
    if variant not in EXTRAS:
        sys.exit(f"VARIANT={variant} is not known; use gpu or cpu.")
    print(*requirements(variant), sep="\n")
