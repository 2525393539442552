"""Keeps the small files of a job that say what it was and what it reached.

    python -m benchmarks.records JOB_DIR benchmarks/records/NAME

`config.json` without folders, hosts and the job's name; the held-out rows of
`metrics.jsonl`, one in ten, with the best and the last; `evaluation.json`.
"""

import argparse
import json
import pathlib
import sys

_EVERY = 10
# What says where a job ran, and nothing of what it computed.
_OF_A_PLACE = ("job_dir", "data_dir")


def keep(job, folder):
    """Writes the record of a job that has been evaluated.

    Args:
        job: `pathlib.Path` of a job directory with its `evaluation.json`.
        folder: `pathlib.Path`, made if needed.

    Raises:
        FileNotFoundError: the job lacks one of the files.
    """
    config = json.loads((job / "config.json").read_text())
    del config["id"]
    for name in _OF_A_PLACE:
        del config["config"][name]
    for session in config["sessions"]:
        del session["host"]
    evaluation = json.loads((job / "evaluation.json").read_text())
    rows = [
        json.loads(line)
        for line in (job / "metrics.jsonl").read_text().splitlines()
    ]
    kept = [json.dumps(row) + "\n" for row in _some(rows)]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", json.dumps(config, indent=1) + "\n")
    _write(folder / "evaluation.json", json.dumps(evaluation, indent=1) + "\n")
    _write(folder / "metrics.jsonl", "".join(kept))


def _some(rows):
    """Returns one held-out row in ten, and the best and the last one."""
    held_out = [row for row in rows if row["split"] != "train"]
    best = min(held_out, key=lambda row: row["total_loss"])
    return [
        row
        for number, row in enumerate(held_out, start=1)
        if number % _EVERY == 0 or row is best or row is held_out[-1]
    ]


def _write(path, text):
    path.write_text(text, encoding="utf-8")


def main(arguments=None):
    """Keeps the record of one job; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("job_dir", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    flags = parser.parse_args(arguments)
    keep(flags.job_dir, flags.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
