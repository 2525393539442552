"""Small jobs: their settings, stopping them, and what they leave behind."""

import json
import pathlib
import threading
from unittest import mock

from tests.tools import deadline
from trainer.config import TrainConfig
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


def train_only(config, **settings):
    """Trains as `train_and_evaluate`; draws and exports nothing at the end.

    That takes longer than the steps of a small job, and does not count as its
    end.
    """
    from trainer import job, job_end

    with mock.patch.object(job_end, "finish"):
        job.train_and_evaluate(config, **settings)


def metrics_path(config):
    """The file of a job's rows."""
    return pathlib.Path(config.job_dir) / "metrics.jsonl"


class StopAfterRows(StopSignal):
    """A stop signal that comes when a job has written some rows."""

    def __init__(self, config, rows):
        super().__init__()
        self._metrics = metrics_path(config)
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
        for line in metrics_path(config).read_text().splitlines()
    ]
    return [
        {k: v for k, v in row.items() if k not in TIME_FIELDS}
        for row in rows
        if split in (None, row["split"])
    ]


def wait_for(process, text):
    """Reads a job's output until a line has `text`; returns what was read."""
    lines = []
    # Who hangs is ended, which ends the reading.
    timer = threading.Timer(deadline.SECONDS, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if text in line:
                return lines
    finally:
        timer.cancel()
    raise AssertionError(f"the job ended without {text!r}: {lines}")
