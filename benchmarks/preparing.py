"""`vae-data prepare` beside what a user would write with Pillow."""

import json
import shutil

from benchmarks import contenders, pillow_loop
from benchmarks.contenders import ContenderError
from benchmarks.intervals import Estimate, Figure, Goal

_GOAL = Goal(1.0, 0.8, more_is_better=True, form="{:.2f}x")


def prepare_over_pillow(setup, pictures, side, dataset):
    """Returns the `Figure` of `vae-data prepare` over a loop of Pillow.

    Both are whole commands, from their start to their end.

    Args:
        setup: a `setup.Setup`.
        pictures: `pathlib.Path` of a folder of files.
        side: int, of the records in pixels.
        dataset: `pathlib.Path`, where a dataset is left.
    """
    count = len(pillow_loop.files_of(pictures))
    if not count:
        raise ContenderError(
            f"{pictures} holds no files of pictures; give another --images."
        )
    array = setup.folder / "pictures.npy"
    plain = {
        "folder": str(pictures),
        "target": str(array),
        "side": side,
        "processes": setup.threads,
    }
    commands = {
        "prepare": [
            *("trainer.commands.data", "prepare", f"--from={pictures}"),
            *(f"--to={dataset}", f"--size={side}", "--channels=3"),
            f"--processes={setup.threads}",
        ],
        "Pillow": ["benchmarks.pillow_loop", json.dumps(plain)],
    }

    def seconds(name):
        shutil.rmtree(dataset, ignore_errors=True)
        array.unlink(missing_ok=True)
        return contenders.seconds_of(commands[name], setup.threads)

    # The first ones read the files from the disk. Prepare comes last, since
    # its dataset is trained on.
    for name in commands:
        seconds(name)
    took = contenders.alternating(setup.pairs, ["Pillow", "prepare"], seconds)
    if not dataset.exists():
        seconds("prepare")
    array.unlink(missing_ok=True)
    setup.console.line(
        f"{count:,} files to {side}x{side} pixels, in {setup.threads} "
        "processes:"
    )
    for name, of_one in took.items():
        wall, cpu = (
            Estimate.of(count / each for each in seconds)
            for seconds in zip(*of_one, strict=True)
        )
        setup.console.line(
            f"  {name}: {wall.text('{:,.0f}')} images/s, "
            f"{cpu.text('{:,.0f}')} by a second of CPU"
        )
    wall, cpu = (
        Estimate.of_ratios(
            [seconds[kind] for seconds in took["Pillow"]],
            [seconds[kind] for seconds in took["prepare"]],
        )
        for kind in (0, 1)
    )
    setup.console.line(
        f"  By seconds of CPU prepare is at {cpu.text()} of the loop."
    )
    return Figure("prepare over a loop of Pillow", wall, _GOAL)
