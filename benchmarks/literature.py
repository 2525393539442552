"""Trains and evaluates what is published, and puts both beside each other.

    python -m benchmarks.literature --folder=runs/literature --seeds=0,1

Each row of the table is a file in `configs/literature`, each of its jobs a
folder. What has been trained or evaluated is not done again, so a run that was
interrupted goes on with the same command.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np

from benchmarks.contenders import ROOT

# All figures: importance-weighted log p(x) by 5,000 samples, in nats, of the
# 10,000 test images of Fashion-MNIST, binarised once; Norouzi, Fleet & Norouzi
# 2020, "Exemplar VAE", arXiv 2004.04795.
SAMPLES = 5000
_CONFIGS = ROOT / "configs" / "literature"
_INTERRUPTED = 75


@dataclasses.dataclass(frozen=True)
class Published:
    """A row of the literature.

    Attributes:
        mean: float, nats an image.
        error: float or None, as it is published.
        within: (target, passes): how far off ours may lie, in nats.
    """

    mean: float
    error: float | None
    within: tuple


ROWS = {
    "mlp": Published(-228.70, 0.15, (0.3, 0.5)),
    "mlp_vampprior": Published(-227.35, None, (0.4, 0.6)),
}


def main(arguments=None):
    """Trains, evaluates and prints the table.

    Returns:
        The exit code: 0; that of a command that failed; 75 if interrupted.
    """
    flags = _parse(arguments)
    found = {}
    for row in flags.rows:
        for seed in flags.seeds:
            folder = flags.folder / f"{row}-{seed}"
            code = _make(row, seed, folder, flags)
            if code:
                if code == _INTERRUPTED:
                    print("Interrupted; the same command goes on.")
                return code
            evaluation = json.loads((folder / "evaluation.json").read_text())
            found.setdefault(row, []).append(evaluation["log_likelihood"])
    print("\n".join(table(found)))
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=_names, default=list(ROWS))
    parser.add_argument("--seeds", type=_numbers, default=[0, 1])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument(
        "--flags",
        type=str.split,
        default=[],
        help="further flags of each training: --flags='--data_dir=FOLDER'",
    )
    return parser.parse_args(arguments)


def _names(text):
    names = text.split(",")
    unknown = set(names) - set(ROWS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no {', '.join(sorted(unknown))}; give some of "
            f"{', '.join(ROWS)}"
        )
    return names


def _numbers(text):
    return [int(number) for number in text.split(",")]


def _make(row, seed, folder, flags):
    """Trains and evaluates a job; returns an exit code."""
    job_dir = f"--job_dir={folder}"
    code = _run(
        "trainer.task",
        job_dir,
        f"--flagfile={_CONFIGS / row}.flags",
        f"--seed={seed}",
        *flags.flags,
    )
    if code or _is_evaluated(folder, flags.samples):
        return code
    return _run(
        "trainer.commands.evaluate",
        job_dir,
        "--checkpoint=best",
        f"--importance_samples={flags.samples}",
        "--importance_repeats=1",
    )


def _is_evaluated(folder, samples):
    """Whether the best checkpoint has been evaluated with so many samples."""
    try:
        found = json.loads((folder / "evaluation.json").read_text())
    except FileNotFoundError:
        return False
    return (
        found["checkpoint"] == "best"
        and found["log_likelihood"] is not None
        and found["log_likelihood"]["samples"] == samples
    )


def _run(module, *arguments):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, check=False
    ).returncode


def table(found):
    """Returns the lines of a Markdown table.

    Args:
        found: dict of lists, by row: what `evaluation.json` says of the
            log-likelihood of each seed.
    """
    lines = [
        "| row | published | obtained | seeds | error over images | error over "
        "seeds | obtained - published | target / passes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, seeds in found.items():
        published = ROWS[row]
        means = np.array([seed["mean"] for seed in seeds])
        above = means.mean() - published.mean
        target, passes = published.within
        verdict = (
            "target"
            if abs(above) <= target
            else "passes"
            if abs(above) <= passes
            else "missed"
        )
        spread = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0
        plus_minus = f" ± {published.error}" if published.error else ""
        lines.append(
            f"| {row} | {published.mean:.2f}{plus_minus} | {means.mean():.2f} "
            f"({', '.join(f'{mean:.2f}' for mean in means)}) | {len(means)} | "
            f"{seeds[0]['error_of_images']:.2f} | "
            f"{f'{spread:.2f}' if len(means) > 1 else 'one seed'} | "
            f"{above:+.2f} | ±{target} / ±{passes}: {verdict} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
