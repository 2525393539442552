"""Small jobs on a prepared dataset in colour, and what they leave behind."""

import numpy as np

from tests.tools.datasets import prepare
from tests.tools.small_jobs import small_job
from trainer.job_dir.open import JobDir
from trainer.runtime.stop_signal import StopSignal

# (height, width, channels): sides that differ.
SHAPE = (12, 8, 3)


def write_dataset(folder, train=160, test=40, seed=0):
    """Makes a dataset of noise in several files; returns its folder.

    Args:
        folder: `pathlib.Path` that is to hold it, and what it is made of.
        train: int, images.
        test: int, images.
        seed: int, of the noise.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "source.npz",
        x_train=rng.integers(0, 256, (train, *SHAPE), np.uint8),
        y_train=rng.integers(0, 3, train),
        x_test=rng.integers(0, 256, (test, *SHAPE), np.uint8),
        y_test=rng.integers(0, 3, test),
    )
    return prepare(
        folder / "source.npz",
        folder / "data",
        size=SHAPE[:2],
        shard=50 * int(np.prod(SHAPE)),
    )


def job_on(data, job_dir, **settings):
    """Returns the config of a job of a few seconds on a dataset."""
    return small_job(
        **{
            "dataset": "auto",
            "data_dir": str(data),
            "job_dir": str(job_dir),
            "train_examples": 0,
            "test_examples": 0,
            **settings,
        }
    )


def states_of(config):
    """Returns the arrays of each checkpoint as bytes by name, by step."""
    job_dir = JobDir(config.job_dir)
    states = {}
    if not job_dir.checkpoints.exists():
        return states
    for folder in job_dir.checkpoints.iterdir():
        with np.load(folder / "state.npz") as state:
            states[int(folder.name.removeprefix("step-"))] = {
                name: state[name].tobytes() for name in state
            }
    return states


class ActsInMidRun(StopSignal):
    """A stop signal that nobody sends; it does something to a running job.

    Args:
        metrics: `pathlib.Path` of the rows of the job.
        act: function, called when there is a row more than at first.
    """

    def __init__(self, metrics, act):
        super().__init__()
        self._metrics, self._act = metrics, act
        self._first = self._rows()

    def _rows(self):
        if not self._metrics.exists():
            return 0
        return self._metrics.read_bytes().count(b"\n")

    @property
    def requested(self):
        if self._act and self._rows() > self._first:
            act, self._act = self._act, None
            act()
        return super().requested
