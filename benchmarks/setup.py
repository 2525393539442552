"""What all parts of the benchmark share: the data, the sizes, the console."""

import dataclasses
import pathlib
import tempfile

from benchmarks.contenders import Contender
from trainer.data import named
from trainer.named_datasets import DEFAULT, NAMED
from trainer.runtime.console import Console

# A job of a benchmark never comes to its end, nor to an evaluation.
ENDLESS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """How to measure.

    Attributes:
        console: a `trainer.runtime.console.Console`.
        folder: for job directories.
        threads: how many may compute at a time.
        data_flags: of the trainer, strings: which data.
        job_flags: of the trainer, strings: further flags of each job.
        rounds: how many alternating pairs.
        pairs: the same for the data part, some of whose turns take long.
        images: str, a folder of files of pictures; "" for drawn ones.
        steps: training steps of a turn.
        epoch_steps: training steps between two checkpoints by default.
        warm_up_steps: before the first turn.
        matmul_size: rows of the matrices of the roofline.
        matmul_products: of a turn of the roofline.
        batch_size: images of a step.
    """

    console: Console
    folder: pathlib.Path
    threads: int
    data_flags: tuple = ()
    job_flags: tuple = ()
    rounds: int = 9
    pairs: int = 5
    images: str = ""
    steps: int = 100
    epoch_steps: int = 468
    warm_up_steps: int = 64
    matmul_size: int = 2048
    matmul_products: int = 12
    batch_size: int = 128

    def steps_of(self, name, steps):
        """Returns the length of a turn of a contender."""
        return self.matmul_products if name == "matmul" else steps

    def job(self, name, *flags, constant_batches=False, environments=None):
        """Returns a `Contender`: the trainer's own job without evaluations.

        Args:
            name: what to call it.
            *flags: of the trainer.
            constant_batches: whether all steps get the same batch.
            environments: list of dicts of variables, one a process; None for
                one process.
        """
        return self.whole_job(
            name,
            "--eval_epochs=0",
            "--image_epochs=0",
            *self.data_flags,
            *self.job_flags,
            *flags,
            constant_batches=constant_batches,
            environments=environments,
        )

    def whole_job(self, name, *flags, environments=None, **settings):
        """Returns a `Contender`: as `job`, but with these flags alone.

        Args:
            name: as for `job`.
            *flags: of the trainer.
            environments: as for `job`.
            **settings: further ones of `benchmarks.job`.
        """
        environments = environments or [{}]
        folder = tempfile.mkdtemp(dir=self.folder)
        settings = {
            "flags": [*flags, f"--job_dir={folder}", f"--epochs={ENDLESS}"],
            **settings,
        }
        return Contender(
            name,
            "benchmarks.job",
            [settings] * len(environments),
            self.threads,
            environments,
        )


def data_flags(data_dir, console):
    """Returns the trainer's flags for the data that can be had.

    Args:
        data_dir: folder of the IDX files; "" for the Keras cache, and drawn
            images if it has none.
        console: a `Console`.
    """
    if data_dir:
        return [f"--data_dir={pathlib.Path(data_dir).resolve()}"]
    if named.is_cached(DEFAULT):
        return []
    console.line(
        f"There is no {NAMED[DEFAULT].title} in "
        f"{named.keras_cache(DEFAULT)} and no --data_dir was given: "
        "measuring on SYNTHETIC images. Speeds hardly depend on them."
    )
    return ["--dataset=synthetic"]
