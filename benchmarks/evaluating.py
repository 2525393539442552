"""How long `vae-evaluate` takes for the figures of a paper."""

import json
import os
import subprocess
import sys
import time

from benchmarks import contenders
from benchmarks.contenders import ContenderError
from benchmarks.intervals import Estimate, Figure, Goal

# Binarised pixels, 40 latent units and 2 x 300 gated units on either side.
FLAGS = (
    "--model=mlp",
    "--latent_dim=40",
    "--reconstruction_loss=bce",
    "--binarize=dynamic",
)
_GOAL = Goal(7.0, 15.0, more_is_better=False, form="{:.1f} min")
_SAMPLES, _IMAGES = 5000, 10_000
# Two commands whose difference is that of their samples alone.
_FEW, _MANY = 10, 60


def measure(setup):
    """Returns the `Figure` of `vae-evaluate --importance_samples=5000`.

    It is worked out from two shorter commands, which differ in their samples
    alone.

    Args:
        setup: a `setup.Setup`.
    """
    job_dir = setup.folder / "evaluated"
    _command(
        setup, "trainer.task", f"--job_dir={job_dir}", "--max_steps=20",
        "--image_epochs=0", *setup.data_flags, *FLAGS,
    )  # fmt: skip
    found = contenders.alternating(
        setup.pairs,
        [_FEW, _MANY],
        lambda samples: _command(
            setup, "trainer.commands.evaluate", f"--job_dir={job_dir}",
            f"--importance_samples={samples}",
        ),
    )  # fmt: skip
    images = json.loads((job_dir / "evaluation.json").read_text())["data"][
        "test_examples"
    ]
    seconds, cpu_seconds = (
        _whole(found, which, _IMAGES / images) for which in (0, 1)
    )
    setup.console.line(
        f"vae-evaluate with {_SAMPLES:,} samples of each of {_IMAGES:,} "
        "images, 3 times over (its default): "
        f"{Estimate.of(cpu_seconds).text('{:.1f}')} minutes of CPU time, "
        f"worked out from {_FEW} and {_MANY} samples of {images:,} images."
    )
    return Figure(
        "vae-evaluate, mlp, 5,000 samples", Estimate.of(seconds), _GOAL
    )


def _whole(found, which, times):
    """Returns minutes of the whole command, one of each pair.

    Args:
        found: dict of lists of (seconds, CPU seconds) by samples.
        which: int, 0 or 1: of these.
        times: float, how many times the images there are to be.
    """
    return [
        (few[which] + (many[which] - few[which]) * times
         * (_SAMPLES - _FEW) / (_MANY - _FEW)) / 60
        for few, many in zip(found[_FEW], found[_MANY], strict=True)
    ]  # fmt: skip


def _command(setup, module, *flags):
    """Runs a command; returns its seconds and its seconds of CPU."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=contenders.ROOT,
        env={**os.environ, **contenders.thread_variables(setup.threads)},
        preexec_fn=contenders.keep_to_cores(setup.threads),
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise ContenderError(f"{module} failed:\n{done.stderr}")
    return seconds, (
        after.children_user + after.children_system
        - before.children_user - before.children_system
    )  # fmt: skip
