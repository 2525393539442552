"""A training without a model, of known seconds, to be killed: no TensorFlow.

    python -m tests.tools.timed_job FOLDER FIRST_STEP

Each step takes `STEP_SECONDS`, and so on. It says each step that it has done,
and its own age before and after the last word of its goodput.
"""

import json
import pathlib
import sys
import time
import types

from trainer import loop
from trainer.job_dir.checkpoint import Checkpoint
from trainer.schedule import Period, Periods
from trainer.tracking.clock import Clock, process_age
from trainer.tracking.ledger import Ledger

LAST, EPOCH, STEPS_PER_CALL = 40, 10, 2
STEP_SECONDS, DATA_SECONDS, TRACING_SECONDS = 0.02, 0.01, 0.3
START_SECONDS, EVALUATION_SECONDS, SAVE_SECONDS = 0.2, 0.1, 0.05


class Calls:
    """Calls that only take time; the first one traces."""

    def __init__(self, step):
        self._step = step
        self._is_first = True
        self.seconds = 0.0

    def size(self, most):
        return min(STEPS_PER_CALL, most)

    def run(self, count):
        started = time.monotonic()
        if self._is_first:
            time.sleep(TRACING_SECONDS)
        self._is_first = False
        time.sleep(count * (STEP_SECONDS + DATA_SECONDS))
        self._step += count
        self.seconds = time.monotonic() - started
        return {
            "total_loss": 1.0,
            "finite": True,
            "data_seconds": count * DATA_SECONDS,
        }


def write_row(path, moment):
    losses = dict.fromkeys(("total_loss", "reconstruction_loss", "kl_loss"), 1)
    row = {"step": moment.step, "epoch": 1, "split": "train", **losses}
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def main(folder, first_step):
    clock = Clock(process_age())
    time.sleep(START_SECONDS)
    sessions = folder / "sessions"
    with sessions.open("a") as file:
        file.write("started\n")
    count = sessions.read_text().count("\n")
    job = types.SimpleNamespace(
        record=lambda: {"sessions": [{}] * count},
        goodput_path=folder / "goodput.json",
        metrics_path=folder / "metrics.jsonl",
        check_held=lambda: None,
    )
    ledger = Ledger(job, clock, first_step, console=None)

    def save(moment):
        time.sleep(SAVE_SECONDS)
        ledger.write()

    with ledger:
        loop.train(
            start=Checkpoint(first_step, (), None, {}),
            periods=Periods(
                LAST,
                {
                    "row": Period(1),
                    "evaluation": Period(EPOCH),
                    "checkpoint": Period(EPOCH),
                },
            ),
            calls=Calls(first_step),
            workers=types.SimpleNamespace(stopping=False, check=lambda: None),
            works={
                "row": lambda moment: (
                    write_row(job.metrics_path, moment),
                    _say(moment.step),
                ),
                "evaluation": lambda moment: time.sleep(EVALUATION_SECONDS),
            },
            batch_size=1,
            progress=lambda images, note: None,
            save=save,
            clock=clock,
        )
        _say("ending")
    _say("ended")


def _say(what):
    print(what, process_age(), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
