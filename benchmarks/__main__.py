"""`make bench`: speed, side by side, and what it should be.

python -m benchmarks --data_dir=FOLDER
python -m benchmarks --only=throughput,startup --rounds=15
"""

import argparse
import os
import pathlib
import sys
import tempfile

from benchmarks import (
    data,
    intervals,
    memory,
    models,
    overheads,
    startup,
    throughput,
    time_to_quality,
)
from benchmarks.contenders import ContenderError
from benchmarks.setup import Setup, data_flags
from trainer.runtime.console import Console

PARTS = {
    "throughput": throughput.measure,
    "overheads": overheads.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "quality": time_to_quality.measure,
    "data": data.measure,
    "models": models.measure,
}


def main(arguments=None):
    """Measures the parts asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--data_dir", default="", help="as of the trainer")
    parser.add_argument(
        "--only",
        default=",".join(PARTS),
        help=f"comma-separated parts of {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--images",
        default="",
        help="folder of files of pictures, for the data part; drawn ones if "
        "not given",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help="alternating pairs; "
        f"{Setup.rounds}, and {Setup.pairs} of the data part, if not given",
    )
    parser.add_argument("--steps", type=int, default=100, help="of a turn")
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="that compute at a time; all cores if not given",
    )
    parser.add_argument(
        "--job_flags", default="", help="further flags of the trainer's jobs"
    )
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    rounds, pairs = (
        default if options.rounds is None else options.rounds
        for default in (Setup.rounds, Setup.pairs)
    )
    if unknown := set(chosen) - set(PARTS):
        parser.error(
            f"--only has {', '.join(sorted(unknown))}; give some of "
            f"{', '.join(PARTS)}."
        )
    if min(rounds, pairs, options.steps, options.threads) < 1:
        parser.error("--rounds, --steps and --threads must be 1 or more.")
    console = Console()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(
            console=console,
            folder=pathlib.Path(folder),
            data_flags=tuple(data_flags(options.data_dir, console)),
            job_flags=tuple(options.job_flags.split()),
            threads=options.threads,
            rounds=rounds,
            pairs=pairs,
            images=options.images,
            steps=options.steps,
        )
        try:
            for name in chosen:
                console.line(f"\n{name.upper()}")
                figures += PARTS[name](setup)
        except ContenderError as error:
            console.error(str(error))
            return 1
    if figures:
        console.line("\n" + intervals.table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
