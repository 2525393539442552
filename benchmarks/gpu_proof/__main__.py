"""`make gpu-proof`: what is promised and how fast it is, on one GPU.

python -m benchmarks.gpu_proof --json=runs/gpu-proof.json
"""

import argparse
import functools
import os
import pathlib
import sys
import tempfile

from benchmarks.gpu_proof import beside, laws, proof as proof_lib, speed
from benchmarks.gpu_proof.sizes import SIZES
from trainer.doctor import smi
from trainer.errors import TrainerError
from trainer.runtime import gpu_environment
from trainer.runtime.console import Console

PARTS = (
    ("start", 20, laws.start),
    ("equal bits", 45, laws.bits),
    ("kills", 90, laws.kills),
    ("law 2", 30, laws.law_2),
)


def main(arguments=None):
    """Proves and measures; returns the exit code.

    1 if a law is broken, a part failed or no law was looked at, 2 for a wrong
    flag, else 0.
    """
    parser = argparse.ArgumentParser(
        prog="make gpu-proof", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--budget_s",
        type=float,
        default=480,
        help="seconds for everything; what does not fit is left out, and said",
    )
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        default=pathlib.Path("runs/gpu-proof.json"),
        help="the file that gets all figures, written anew after each line",
    )
    parser.add_argument(
        "--size",
        choices=SIZES,
        help="tiny, which is the default where there is no GPU: to see that "
        "this works; it proves little",
    )
    options = parser.parse_args(arguments)
    if not options.budget_s > 0:
        parser.error(
            f"--budget_s={options.budget_s:g} is not above 0; give seconds."
        )
    if options.json.is_dir():
        parser.error(f"--json={options.json} is a folder; give a file.")
    console = Console("text")
    has_gpu = gpu_environment.has_gpu()
    size = options.size or ("gpu" if has_gpu else "tiny")
    if not has_gpu:
        console.line(f"There is no GPU; on the CPU with --size={size}.")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    cards, environ = (), dict(os.environ)
    if has_gpu:
        cards = proof_lib.cards_of(_listed(console))
        environ["CUDA_VISIBLE_DEVICES"] = cards[0]
    with tempfile.TemporaryDirectory(prefix="gpu-proof-") as folder:
        proof = proof_lib.Proof(
            sizes=SIZES[size],
            size=size,
            folder=pathlib.Path(folder),
            path=options.json.resolve(),
            budget_s=options.budget_s,
            environ=environ,
            cards=cards,
            console=console,
        )
        proof.run([*PARTS, *_speed(proof.sizes)])
    console.line(proof.summary())
    return proof.exit_code


def _speed(sizes):
    """Returns the parts that measure speed, as of `Proof.run`."""
    pairs = [
        (name, precision)
        for precision in sizes.precisions
        for name in sizes.models
    ]
    return [
        *(
            (
                f"speed: {name}, {precision}",
                40,
                functools.partial(
                    speed.by_batch, name=name, precision=precision
                ),
            )
            for name, precision in pairs
        ),
        *(
            (
                f"{title}: {name}, {precision}",
                60,
                functools.partial(
                    beside.beside,
                    name=name,
                    precision=precision,
                    at_knee=at_knee,
                ),
            )
            for title, at_knee in (("knee", True), ("recipe", False))
            for name, precision in pairs
        ),
    ]


def _listed(console):
    """Returns how many GPUs nvidia-smi tells of; 0 if it tells of none."""
    try:
        return len(smi.visible({}) or ())
    except TrainerError as error:
        console.warning(str(error))
        return 0


if __name__ == "__main__":
    sys.exit(main())
