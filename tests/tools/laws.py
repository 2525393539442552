"""Do the laws hold for a model? Kills, replicas, workers, export, on real data.

    python -m tests.tools.laws --data_dir=data/photos --model=conv
    python -m tests.tools.laws --dataset=synthetic --model=my_models:build

It takes the flags of a training.

A job of 50 steps is killed three times at rows of its metrics, and must then
equal the one that nobody touched in weights, rows, curves and pictures. In
float64 four replicas, and two workers, must have the losses of one process. The
first job is then evaluated, drawn from and exported, and its SavedModel must
compute what its checkpoint does. A line each, and exit code 1 for a law that is
broken. A model of your own needs PYTHONPATH, as it does for a training.
"""

import logging
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.gpu_proof import jobs
from tests.tools import deadline
from tests.tools.project import ROOT
from trainer.runtime.command import quiet_tensorflow

with quiet_tensorflow():
    import tensorflow as tf

    import trainer
    from tests.tools import soak
    from tests.tools.job_places import LocalPlace

STEPS, BATCH, KILLS = 50, 32, 3
# What may lie apart: losses, relative, and what an export computes.
REPLICAS, EXPORTED = 1e-10, 1e-6
_FLAGS = (
    f"--train_examples={STEPS * BATCH}",
    "--test_examples=200",
    f"--batch_size={BATCH}",
    "--epochs=1",
    "--summary_steps=1",
    "--steps_per_call=2",
    "--checkpoint_steps=7",
)
_FLOAT64 = ("--precision=float64", "--image_epochs=0")
_COMMANDS = (
    ("evaluate", "--importance_samples=10"),
    ("generate",),
    ("export",),
)
_IMAGES = 3


def main(arguments=None):
    """Looks at each law; returns the exit code."""
    flags = sys.argv[1:] if arguments is None else arguments
    # It warns of each restart that it finds in the events.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="laws-") as folder:
        laws = Laws(pathlib.Path(folder), flags)
        print(f"{STEPS} steps with {shlex.join(flags)}", flush=True)
        broken = 0
        for law in (laws.kills, laws.replicas, laws.workers, laws.commands):
            for text, holds in law():
                print(f"  {text}{'' if holds else '   BROKEN'}", flush=True)
                broken += not holds
    return 1 if broken else 0


class Laws:
    """The jobs of a model, and what must hold of them.

    Each method yields lines with whether that law holds.

    Args:
        folder: an empty `pathlib.Path`.
        flags: list of str, of the trainer.
    """

    def __init__(self, folder, flags):
        self._folder = folder
        self._flags = (*_FLAGS, *flags)

    def kills(self):
        """SIGKILL at some rows, against the job that nobody touched."""
        self._live("untouched")
        landed = []
        for number in range(1, KILLS + 1):
            at = max(STEPS * number // (KILLS + 1), *landed, 0) + 1
            landed.append(self._live("killed", kill_at=at).killed_at)
        self._live("killed")
        found = soak.differences(self._at("untouched"), self._at("killed"))
        text = f"SIGKILL at rows {', '.join(map(str, landed))}: "
        yield (
            text + f"{len(found)} differences {' '.join(found)}".rstrip(),
            not found and None not in landed,
        )

    def replicas(self):
        """One process of float64, alone and with four replicas."""
        self._live("one", *_FLOAT64)
        self._live("four", *_FLOAT64, "--virtual_devices=4")
        yield self._agreement("4 replicas", "four")

    def workers(self):
        """Two workers on this machine, in float64."""
        soak.finish(
            LocalPlace(self._at("two")),
            (soak.IN_MEMORY, *self._flags, *_FLOAT64),
            workers=2,
        )
        yield self._agreement("2 workers", "two")

    def commands(self):
        """Evaluated, drawn from, exported; and the export computes the same."""
        for command, *flags in _COMMANDS:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", f"trainer.commands.{command}"),
                    f"--job_dir={self._at('untouched')}",
                    f"--model={self._model()}",
                    *flags,
                ],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=deadline.SECONDS,
                check=False,
            )
            said = "" if done.returncode == 0 else f"\n{done.stderr}"
            yield (
                f"vae-{command}: exit code {done.returncode}{said}",
                done.returncode == 0,
            )
        for part, (apart, largest) in self._export().items():
            yield (
                f"SavedModel, {part}: differs by {apart:.1e}, of values up to "
                f"{largest:.3g}",
                apart <= EXPORTED,
            )

    def _model(self):
        """Returns the `--model` that the job was trained with."""
        return jobs.record_of(self._at("untouched"))["config"]["model"]

    def _export(self):
        """Returns how far the SavedModel's outputs lie from the job's.

        Pairs by name: the largest difference, and the largest value.
        """
        job_dir = self._at("untouched")
        vae = trainer.load(job_dir, model=self._model())
        served = tf.saved_model.load(f"{job_dir}/export/saved_model/1")
        generator = np.random.default_rng(0)
        images = generator.integers(
            256, size=(_IMAGES, *vae.image_shape), dtype=np.uint8
        )
        z = generator.normal(size=(_IMAGES, vae.latent_dim)).astype("float32")
        encoded = served.signatures["encode"](images=tf.constant(images))
        decoded = served.signatures["decode"](z=tf.constant(z))
        z_mean, z_log_var = vae.encode(images)
        pairs = {
            "z_mean": (encoded["z_mean"], z_mean),
            "z_log_var": (encoded["z_log_var"], z_log_var),
            "images": (decoded["images"], vae.decode(z)),
        }
        return {
            name: (np.abs(theirs - ours).max(), np.abs(ours).max())
            for name, (theirs, ours) in (
                (name, map(np.asarray, pair)) for name, pair in pairs.items()
            )
        }

    def _agreement(self, name, folder):
        ours, theirs = (
            [row["total_loss"] for row in soak.metrics_of(self._at(one))]
            for one in ("one", folder)
        )
        apart = (
            max(abs(a - b) / abs(a) for a, b in zip(ours, theirs, strict=True))
            if len(ours) == len(theirs)
            else float("inf")
        )
        return (
            f"{name}, float64: losses of {len(ours)} rows differ by "
            f"{apart:.1e}, relative",
            apart <= REPLICAS,
        )

    def _live(self, name, *flags, kill_at=None):
        return jobs.live(
            self._at(name),
            (*self._flags, *flags),
            os.environ,
            time.monotonic() + deadline.SECONDS,
            kill_at,
        )

    def _at(self, name):
        return self._folder / name


if __name__ == "__main__":
    sys.exit(main())
