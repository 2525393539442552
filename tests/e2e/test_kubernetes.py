"""A Job of two pods, as real as it gets without a cluster."""

import json
import os
import pathlib
import re
import secrets
import subprocess
import sys

import pytest

from tests.tools import deadline
from tests.tools.kubernetes_manifests import dry_run, pod_template
from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL
from tests.tools.workers import free_hosts


def entrypoint():
    """The command of the image, from the environment of the tests."""
    text = (ROOT / "Dockerfile").read_text()
    path, *words = json.loads(
        re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[1]
    )
    return [
        pathlib.Path(sys.executable).with_name(pathlib.Path(path).name),
        *words,
    ]


@pytest.mark.slow
def test_the_pods_of_a_job_train_together(tmp_path):
    job = dry_run("--workers=2", "--", *SMALL, "--max_steps=2")[-1]
    (container,) = pod_template(job)["spec"]["containers"]
    assert "command" not in container
    job_dir = tmp_path / "job"
    # What the cluster mounts.
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    places = {
        "gs://my-bucket/runs/vae": str(job_dir),
        "/etc/vae-trainer/token": str(token),
    }
    arguments = container["args"]
    for place, here in places.items():
        assert any(argument.endswith(f"={place}") for argument in arguments)
        arguments = [word.replace(place, here) for word in arguments]
    environ = {item["name"]: item["value"] for item in container["env"]}
    # What the cluster's DNS does; and pods have a port 2222 each.
    pods = environ["WORKER_HOSTS"].split(",")
    assert pods == ["vae-0.vae:2222", "vae-1.vae:2222"]
    environ["WORKER_HOSTS"] = ",".join(free_hosts(len(pods)))
    processes = [
        subprocess.Popen(
            [*entrypoint(), *arguments],
            cwd=tmp_path,
            # What Kubernetes adds for each.
            env={**os.environ, **environ, "JOB_COMPLETION_INDEX": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(job["spec"]["completions"])
    ]
    try:
        said = [
            process.communicate(timeout=deadline.SECONDS)[0]
            for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    assert "with 2 CPU replicas" in said[0]
    assert "[worker 1] Looking for the chief" in said[1]
    assert (job_dir / "finished.json").exists()
