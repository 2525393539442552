"""Seconds from a cold start to a test loss: one recipe beside another.

python -m benchmarks.time_to_quality JOB_DIR OTHER_JOB_DIR

Both jobs have finished; `make bench` trains the default recipe and the one of
`configs/fast.flags` for it. Training is deterministic, so the epochs that each
needed are exact; the seconds of an epoch and of the start are not, and are
measured again, in alternating pairs.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from benchmarks import contenders, startup
from benchmarks.contenders import ROOT, ContenderError, thread_variables
from benchmarks.intervals import Estimate, Figure, Goal, table
from benchmarks.setup import Setup
from trainer.runtime.console import Console

THRESHOLDS = (27.0, 25.0)
_GOAL = Goal(0.25, 0.5, more_is_better=False)
_START_ROUNDS = 3
# Two more than it needs.
_DEFAULT_RECIPE = ("--epochs=24",)
_FAST_RECIPE = ("--flagfile=configs/fast.flags",)
# What a recipe is not: each measurement has its own.
_OF_THE_RUN = (
    "job_dir",
    "resume",
    "max_steps",
    "profile_steps",
    "log_format",
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a finished job says of itself.

    Attributes:
        name: its folder's.
        flags: list of str, of the trainer.
        batch_size: int.
        steps_per_epoch: int.
        test_losses: dict of the test total loss by epoch.
    """

    name: str
    flags: list
    batch_size: int
    steps_per_epoch: int
    test_losses: dict

    @classmethod
    def of(cls, job_dir):
        """Returns the recipe of a job directory.

        Raises:
            FileNotFoundError: there is no finished job.
        """
        job_dir = pathlib.Path(job_dir)
        if not (job_dir / "finished.json").exists():
            raise FileNotFoundError(
                f"{job_dir} holds no finished job; train it to its end first."
            )
        record = json.loads((job_dir / "config.json").read_text())
        lines = (job_dir / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        config = record["config"]
        return cls(
            name=job_dir.name,
            flags=[
                f"--{name}={json.dumps(value).strip(chr(34))}"
                for name, value in config.items()
                if name not in _OF_THE_RUN
            ],
            batch_size=config["batch_size"],
            steps_per_epoch=record["data"]["train_examples"]
            // config["batch_size"],
            test_losses={
                row["epoch"]: row["total_loss"]
                for row in rows
                if row["split"] == "test"
            },
        )

    def epochs_to(self, threshold):
        """Returns the first epoch with that test loss or less, or None."""
        reached = [
            epoch
            for epoch, loss in self.test_losses.items()
            if loss <= threshold
        ]
        return min(reached, default=None)


def measure(setup):
    """Trains with both recipes; returns what `compare` says of them.

    Args:
        setup: a `Setup`.
    """
    if "--dataset=synthetic" in setup.data_flags:
        setup.console.line("The thresholds are those of Fashion-MNIST.")
        return []
    recipes = [
        Recipe.of(_train(setup, name, flags))
        for name, flags in (
            ("default", _DEFAULT_RECIPE),
            ("fast", _FAST_RECIPE),
        )
    ]
    return compare(recipes, setup)


def _train(setup, name, flags):
    """Runs a job to its end; returns its directory.

    Raises:
        ContenderError: it ended otherwise.
    """
    job_dir = pathlib.Path(tempfile.mkdtemp(dir=setup.folder)) / name
    done = subprocess.run(
        [
            *(sys.executable, "-m", "trainer.task", f"--job_dir={job_dir}"),
            *(*flags, *setup.data_flags, *setup.job_flags),
        ],
        cwd=ROOT,
        env={**os.environ, **thread_variables(setup.threads)},
        check=False,
    )
    if done.returncode:
        raise ContenderError(
            f"The job of the {name} recipe ended with {done.returncode}."
        )
    return job_dir


def compare(recipes, setup):
    """Returns the `Figure`s of two recipes; prints the seconds of each.

    Args:
        recipes: the default one and the other, `Recipe`s.
        setup: a `Setup`.
    """
    say = setup.console.line
    for recipe in recipes:
        say(
            f"{recipe.name}: "
            + "; ".join(
                f"test loss {threshold} "
                + (f"after {epochs} epochs" if epochs else "never reached")
                for threshold in THRESHOLDS
                for epochs in [recipe.epochs_to(threshold)]
            )
        )
    reached = [
        threshold
        for threshold in THRESHOLDS
        if all(recipe.epochs_to(threshold) for recipe in recipes)
    ]
    if not reached:
        return []
    epoch_seconds = _epoch_seconds(recipes, setup)
    start_seconds = _start_seconds(recipes, setup)
    for recipe, starts, of_epoch in zip(
        recipes, start_seconds, epoch_seconds, strict=True
    ):
        say(
            f"{recipe.name}: {Estimate.of(starts).text('{:.1f}')} s to the "
            f"first step, {Estimate.of(of_epoch).text('{:.1f}')} s an epoch"
        )
    figures = []
    for threshold in reached:
        epochs = [recipe.epochs_to(threshold) for recipe in recipes]
        seconds = [
            [Estimate.of(starts).median + count * one for one in of_epoch]
            for starts, count, of_epoch in zip(
                start_seconds, epochs, epoch_seconds, strict=True
            )
        ]
        for recipe, of_one in zip(recipes, seconds, strict=True):
            say(
                f"{recipe.name}: {Estimate.of(of_one).text('{:,.0f}')} s to "
                f"test loss {threshold}"
            )
        figures.append(
            Figure(
                f"time to test loss {threshold} over {recipes[0].name}'s",
                Estimate.of(
                    ours / default
                    for default, ours in zip(*seconds, strict=True)
                ),
                _GOAL,
            )
        )
    return figures


def _start_seconds(recipes, setup):
    """Returns the seconds of some starts of each recipe, in turns."""
    seconds = [[] for _ in recipes]
    for _ in range(_START_ROUNDS):
        for recipe, starts in zip(recipes, seconds, strict=True):
            starts.append(
                startup.seconds_to_first_step(
                    recipe.flags, setup.folder, setup.threads
                )
            )
    return seconds


def _epoch_seconds(recipes, setup):
    """Returns the seconds of an epoch, evaluation included, of each recipe."""
    jobs = [
        setup.whole_job(f"recipe {number}", *recipe.flags)
        for number, recipe in enumerate(recipes)
    ]
    steps = {
        job.name: recipe.steps_per_epoch
        for job, recipe in zip(jobs, recipes, strict=True)
    }
    images = {
        job.name: recipe.steps_per_epoch * recipe.batch_size
        for job, recipe in zip(jobs, recipes, strict=True)
    }
    with contenders.started(*jobs):
        for job in jobs:
            # To the first epoch's end: each turn has one evaluation.
            job.run(steps[job.name])
        with setup.console.image_bar(
            "Measuring epochs",
            setup.rounds * sum(images.values()),
        ) as advance:
            turns = contenders.rounds(
                jobs,
                setup.rounds,
                steps,
                lambda name, turn: advance(images[name]),
            )
    return [[turn.seconds for turn in turns[job.name]] for job in jobs]


def main(arguments=None):
    """Measures two finished jobs' recipes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job_dir", help="of the default recipe's job")
    parser.add_argument("other_job_dir", help="of the job to compare with it")
    parser.add_argument("--rounds", type=int, default=9, help="pairs of epochs")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0))
    )
    options = parser.parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(
            console=console,
            folder=pathlib.Path(folder),
            threads=options.threads,
            rounds=options.rounds,
        )
        try:
            recipes = [
                Recipe.of(job_dir)
                for job_dir in (options.job_dir, options.other_job_dir)
            ]
            figures = compare(recipes, setup)
        except (ContenderError, FileNotFoundError) as error:
            console.error(str(error))
            return 1
    if figures:
        console.line("\n" + table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
