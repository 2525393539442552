"""Prints what an image installs: the requirements of setup.py, by variant.

    python deploy/container/requirements.py cpu

It stands apart from the Dockerfile, which must not name a dependency a second
time, and runs before there is anything but setuptools.
"""

import sys
from distutils.core import run_setup

EXTRAS = {"gpu": ["gpu", "tuning"], "cpu": ["tuning"]}


def requirements(variant):
    """Returns the requirements of an image, one string each.

    Args:
        variant: `"gpu"`, or `"cpu"`: then `tensorflow-cpu` takes the place of
            `tensorflow`, which would bring the GPU build.
    """
    distribution = run_setup("setup.py", stop_after="init")
    found = list(distribution.install_requires)
    for extra in EXTRAS[variant]:
        found += distribution.extras_require[extra]
    if variant == "cpu":
        found = [
            line.replace("tensorflow>", "tensorflow-cpu>") for line in found
        ]
    return found


if __name__ == "__main__":
    variant = sys.argv[1]
    if variant not in EXTRAS:
        sys.exit(f"VARIANT={variant} is not known; use gpu or cpu.")
    print(*requirements(variant), sep="\n")
