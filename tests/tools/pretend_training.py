"""Stands in for `python -m trainer.task`: writes what a job does, at once.

    python -m tests.tools.pretend_training --job_dir=DIR [flags]

Its held-out loss is a function of the flags and of the epoch. The variables
of the environment `EXIT_CODES` and `EPOCH_SECONDS` have words like
`TRIAL:VALUE`: with what a trial ends at once (negative: by which signal), and
how long an epoch of it takes. After its first epoch a trial waits while there
is a file named by `HOLD`, also `TRIAL:VALUE`.
"""

import json
import math
import os
import pathlib
import signal
import sys
import time

from trainer.job_dir import lock
from trainer.runtime.training_flags import parse_flags
from trainer.schedule import Schedule

EXAMPLES = 320


def loss(config, epoch):
    """The held-out loss after an epoch: the least for 1e-3 and 20 units."""
    away = abs(math.log10(config.learning_rate) + 3)
    away += abs(math.log10(config.latent_dim / 20))
    return 30 + 10 * away + 5 / epoch


def told(variable, root):
    """Returns what a variable says of a trial; "0" if it says nothing."""
    words = os.environ.get(variable, "").split()
    values = dict(word.split(":") for word in words)
    return values.get(str(int(root.name)), "0")


def main():
    config = parse_flags(sys.argv[1:])
    root = pathlib.Path(config.job_dir)
    if code := int(told("EXIT_CODES", root)):
        print(f"ERROR: it was told to end with {code}.", flush=True)
        if code < 0:
            os.kill(os.getpid(), -code)
        sys.exit(code)
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
        time.sleep(float(told("EPOCH_SECONDS", root)))
        while epoch == 2 and not stopped and os.path.exists(told("HOLD", root)):
            time.sleep(0.02)
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
