"""Small jobs: their settings, stopping them, and what they leave behind."""

import json

from trainer.config import TrainConfig
from trainer.job_dir.job_dir import JobDir
from trainer.runtime.stop_signal import StopSignal

SMALL = (
    "--dataset=synthetic",
    "--train_examples=640",
    "--test_examples=100",
    "--batch_size=32",
    "--latent_dim=8",
    "--summary_steps=5",
)
GAUSSIAN = {"reconstruction_loss": "gaussian"}
BINARY = {"reconstruction_loss": "bce", "binarize": "dynamic"}
TIME_FIELDS = ("images_per_second",)


def small_job(**settings):
    """Returns the config of a job of a few seconds."""
    defaults = {
        "dataset": "synthetic",
        "train_examples": 320,
        "test_examples": 50,
        "batch_size": 32,
        "epochs": 2,
        "latent_dim": 8,
        "summary_steps": 5,
    }
    return TrainConfig(**{**defaults, **settings})


class StopAfterRows(StopSignal):
    """A stop signal that comes when a job has written some rows."""

    def __init__(self, config, rows):
        super().__init__()
        self._metrics = JobDir(config.job_dir).metrics_path
        self._rows = rows

    @property
    def requested(self):
        if self._metrics.exists() and (
            self._metrics.read_bytes().count(b"\n") >= self._rows
        ):
            self.request("SIGTERM")
        return self._requested.is_set()


def rows_of(config, split=None):
    """The rows of a job without the fields that measure time."""
    rows = [
        json.loads(line)
        for line in JobDir(config.job_dir).metrics_path.read_text().splitlines()
    ]
    return [
        {k: v for k, v in row.items() if k not in TIME_FIELDS}
        for row in rows
        if split in (None, row["split"])
    ]


def wait_for(process, text):
    """Reads a job's output until a line has `text`; returns what was read."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"the job ended without {text!r}: {lines}")
