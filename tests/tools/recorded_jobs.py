"""Job directories of trainings that nobody ran: their records alone."""

import json
import pathlib

from tests.tools.project import ROOT
from trainer.tracking.clock import KINDS

# One of 64 images, in batches of 16.
_EARLIER = ROOT / "tests" / "jobs" / "0.1.0" / "job"
STEPS_PER_EPOCH = 4


def record(folder, *, epoch, loss, ends, seconds_a_step=30.0, **settings):
    """Writes what a job leaves that has trained for some epochs of 30.

    Args:
        folder: `pathlib.Path`.
        epoch: int, the last that it has trained.
        loss: float, of the test set then.
        ends: list of str or None, how each session ended.
        seconds_a_step: float.
        **settings: of the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = json.loads((_EARLIER / "config.json").read_text())
    content["config"] |= {"epochs": 30, **settings}
    content["sessions"] *= len(ends)
    _write(folder / "config.json", content)
    step = epoch * STEPS_PER_EPOCH
    row = {
        **{"step": step, "epoch": epoch, "split": "test", "kl_weight": 1.0},
        **{"total_loss": loss, "reconstruction_loss": loss, "kl_loss": 0.0},
        "active_units": 0,
    }
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    each = step / len(ends)
    sessions = [
        {
            "number": number,
            "started": "2026-11-25T00:39:59+00:00",
            "first_step": round(number * each - each),
            "last_step": round(number * each),
            "end": end,
            "seconds": dict.fromkeys(KINDS, 0.0)
            # It takes its time to start, and that once.
            | {"training": seconds_a_step * each, "start": 1000.0},
        }
        for number, end in enumerate(ends, start=1)
    ]
    _write(folder / "goodput.json", {"format": 1, "sessions": sessions})
    if ends[-1] == "finished":
        end = json.loads((_EARLIER / "finished.json").read_text())
        _write(folder / "finished.json", end | {"step": step})
    return pathlib.Path(folder)


def _write(path, content):
    path.write_text(json.dumps(content))
