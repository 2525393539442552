"""Runs `vae-submit` in this process, for tests."""

import functools

from tests.tools.commands import run_command

SUBMIT = (
    "vertex",
    "--project=my-project",
    "--region=us-central1",
    "--image=us-central1-docker.pkg.dev/my-project/vae/vae-trainer:1",
    "--job_dir=gs://my-bucket/runs/vae",
)
vae_submit = functools.partial(run_command, "vae-submit")
