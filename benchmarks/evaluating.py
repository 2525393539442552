"""How long `vae-evaluate` takes for the figures of a paper."""

import json

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
FEW, MANY = 30, 180


def measure(setup):
    """Returns the `Figure` of `vae-evaluate --importance_samples=5000`.

    It is worked out from two shorter commands, which differ in their samples
    alone.

    Args:
        setup: a `setup.Setup`.
    """
    job_dir = f"--job_dir={setup.folder / 'evaluated'}"
    contenders.seconds_of(
        [
            "trainer.task",
            job_dir,
            "--max_steps=20",
            "--image_epochs=0",
            *setup.data_flags,
            *FLAGS,
        ],
        setup.threads,
    )
    found = contenders.alternating(
        setup.pairs,
        [FEW, MANY],
        lambda samples: contenders.seconds_of(
            [
                "trainer.commands.evaluate",
                job_dir,
                f"--importance_samples={samples}",
                "--importance_repeats=1",
            ],
            setup.threads,
        ),
    )
    record = setup.folder / "evaluated" / "evaluation.json"
    images = json.loads(record.read_text())["data"]["test_examples"]
    minutes, cpu_minutes = (
        [
            _whole(few[kind], many[kind], _IMAGES / images) / 60
            for few, many in zip(found[FEW], found[MANY], strict=True)
        ]
        for kind in (0, 1)
    )
    setup.console.line(
        f"vae-evaluate with {_SAMPLES:,} samples of each of {_IMAGES:,} "
        "images: "
        f"{Estimate.of(cpu_minutes).text('{:.1f}')} minutes of CPU time. "
        f"Worked out from {FEW} and {MANY} samples of {images:,} images."
    )
    return Figure(
        "vae-evaluate, mlp, 5,000 samples", Estimate.of(minutes), _GOAL
    )


def _whole(few, many, times):
    """Returns the seconds of the whole command.

    Args:
        few: float, seconds with `FEW` samples.
        many: float, seconds with `MANY`.
        times: float, how many times the images there are to be.

    Raises:
        ContenderError: more samples took no longer, so that nothing follows.
    """
    if many <= few:
        raise ContenderError(
            f"{MANY} samples took {many:.1f} s and {FEW} took {few:.1f} s, so "
            "that other work on this machine hides what a sample takes; run "
            "it again when it has less to do."
        )
    of_a_sample = (many - few) / (MANY - FEW)
    return few + times * of_a_sample * (_SAMPLES - FEW)
