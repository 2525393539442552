"""Stands in for `python -m trainer.task`: writes what a job does, at once.

    python -m tests.tools.pretend_training --job_dir=DIR [flags]

Its held-out loss is a function of the flags and of the epoch. It ends as it
is told by `PRETEND`: words by spaces, each `TRIAL:EXIT_CODE` for a trial that
ends with that at once, and `EPOCH_SECONDS` says how long an epoch takes.
"""

import json
import math
import os
import pathlib
import signal
import sys
import time

from trainer.job_dir import lock
from trainer.job_dir.layout import checkpoint_name
from trainer.runtime.flags import parse_flags
from trainer.schedule import Schedule

EXAMPLES = 320


def loss(config, epoch):
    """The held-out loss after an epoch: the least for 1e-3 and 20 units."""
    away = abs(math.log10(config.learning_rate) + 3)
    away += abs(math.log10(config.latent_dim / 20))
    return 30 + 10 * away + 5 / epoch


def main():
    config = parse_flags(sys.argv[1:])
    root = pathlib.Path(config.job_dir)
    for word in os.environ.get("PRETEND", "").split():
        number, code = word.split(":")
        if int(number) == int(root.name):
            print(f"ERROR: it was told to end with {code}.", flush=True)
            if int(code) < 0:
                os.kill(os.getpid(), -int(code))
            sys.exit(int(code))
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    with lock.hold(root, str(root)):
        train(root, config, stopped)


def train(root, config, stopped):
    record_session(root, config)
    rows = root / "metrics.jsonl"
    done = rows.read_text().count('"test"') if rows.exists() else 0
    schedule = Schedule.of(config, EXAMPLES)
    for epoch in range(done + 1, config.epochs + 1):
        time.sleep(float(os.environ.get("EPOCH_SECONDS", "0")))
        if stopped:
            print("Interrupted.")
            sys.exit(75)
        step = epoch * schedule.steps_per_epoch
        row = {
            "step": step,
            "epoch": epoch,
            "split": "validation" if config.validation_share else "test",
            "total_loss": loss(config, epoch),
            "reconstruction_loss": 20.0,
            "kl_loss": 10.0,
            "active_units": 3,
        }
        with rows.open("a") as file:
            file.write(json.dumps({**row, "split": "train"}) + "\n")
            file.write(json.dumps(row) + "\n")
        (root / "checkpoints" / checkpoint_name(step)).mkdir(parents=True)
    finished = {
        "step": schedule.total_steps,
        "test_metrics": row,
        "collapsed": False,
        "seconds": 1.0,
        "checkpoint_blocked_seconds": 0.0,
    }
    (root / "finished.json").write_text(json.dumps(finished))


def record_session(root, config):
    path = root / "config.json"
    record = {
        "format": 2,
        "arithmetic": 3,
        "config": config.to_json(),
        "data": {"name": "synthetic", "train_examples": EXAMPLES, "md5": {}},
        "jit_compile": False,
        "versions": {},
        "sessions": [],
    }
    if path.exists():
        record = json.loads(path.read_text())
    record["sessions"].append({"started": "2026-01-01T00:00:00+00:00"})
    path.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
