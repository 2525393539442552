"""What helps: one factor at a time, each with the same time to train.

    python -m benchmarks.factors --folder=runs/factors --flags=--data_dir=FOLDER

Each factor is one change of the same job. A pilot of one epoch says how long
its epochs take, and it then trains for as many as fit into the time. The best
checkpoint by validation loss is compared with that of the job without a
change: on the same test images, image by image.

What has been trained is not trained again. Times are only equal where nothing
else computes: `taskset -c 0` before the command leaves the other cores alone.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

from benchmarks.contenders import ROOT

_BASE = (
    "--dataset=fashion_mnist",
    "--binarize=dynamic",
    "--reconstruction_loss=bce",
    "--model=mlp",
    "--latent_dim=40",
    "--batch_size=100",
    "--image_epochs=0",
)
_NONE = "nothing"
_SMALL_CONVOLUTIONS = "--model_options=width=16,depth=1"
FACTORS = {
    _NONE: (),
    "twice the width": ("--model_options=width=600",),
    "EMA 0.999": ("--ema=0.999",),
    "cosine schedule": ("--learning_rate_schedule=cosine",),
    "learning rate warmed up over 1,000 steps": ("--warmup_steps=1000",),
    "KL warmed up over 10 epochs": ("--kl_warmup_epochs=10",),
    "weight decay 0.01": ("--weight_decay=0.01",),
    "bfloat16": ("--mixed_precision=bfloat16",),
    "VampPrior of 100": ("--prior=vamp", "--prior_components=100"),
    "`conv`, small": ("--model=conv", _SMALL_CONVOLUTIONS),
    "`hierarchy`, small": (
        "--model=hierarchy",
        _SMALL_CONVOLUTIONS,
        "--latent_dim=138",
    ),
    "cosine, EMA, bfloat16": (
        "--learning_rate_schedule=cosine",
        "--ema=0.999",
        "--mixed_precision=bfloat16",
    ),
}
# Of a session: what grows with the epochs.
_OF_EPOCHS = ("training", "data", "evaluation", "checkpoints")


def main(arguments=None):
    """Trains, compares and prints the table; returns the exit code."""
    flags = _parse(arguments)
    rows = []
    for number, (name, changes) in enumerate(FACTORS.items()):
        folder = flags.folder / f"{number:02}"
        settings = [*_BASE, *changes, f"--seed={flags.seed}", *flags.flags]
        pilot, job = folder / "pilot", folder / "job"
        if code := _train(pilot, "--epochs=1", *settings):
            return code
        epochs = max(1, int(60 * flags.minutes / _epoch_seconds(pilot)))
        if code := _train(job, f"--epochs={epochs}", *settings):
            return code
        rows.append((name, epochs, _elbo(job, settings)))
        print(f"{name}: {epochs} epochs", flush=True)
    print("\n".join(table(rows)))
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=3, help="of each job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--flags",
        type=str.split,
        default=[],
        help="further flags of each training: --flags='--data_dir=FOLDER'",
    )
    return parser.parse_args(arguments)


def _train(folder, *flags):
    return subprocess.run(
        [sys.executable, "-m", "trainer.task", f"--job_dir={folder}", *flags],
        cwd=ROOT,
        check=False,
    ).returncode


def _epoch_seconds(pilot):
    """Returns the seconds of one epoch, without the start and compiling."""
    # All of them: a pilot may have been interrupted, or had ended before.
    sessions = json.loads((pilot / "goodput.json").read_text())["sessions"]
    return sum(
        session["seconds"][part] for session in sessions for part in _OF_EPOCHS
    )


def _elbo(job, settings):
    """Returns the ELBO of each test image under the best checkpoint."""
    import trainer
    from trainer.data import sources
    from trainer.runtime.console import Console
    from trainer.runtime.stop_signal import StopSignal
    from trainer.runtime.training_flags import parse_flags

    vae = trainer.load(job, "best")
    config = parse_flags([f"--job_dir={job}", *settings])
    images = sources.load(config, Console(), StopSignal()).test_images
    return vae.elbo(np.asarray(images))


def table(rows):
    """Returns the lines of a Markdown table.

    Args:
        rows: list of (name, epochs, ELBO of each image); the first is the job
            without a change.
    """
    lines = [
        "| changed | epochs | ELBO, nats | over the job without a change |",
        "|---|---|---|---|",
    ]
    unchanged = rows[0][2]
    for name, epochs, elbo in rows:
        above = elbo - unchanged
        error = above.std(ddof=1) / len(above) ** 0.5
        difference = f"{above.mean():+.2f} ± {error:.2f}" if error else ""
        lines.append(
            f"| {name} | {epochs} | {elbo.mean():.2f} | {difference} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
