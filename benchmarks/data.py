"""Images on disk: how fast they are prepared and read, and what they cost."""

import dataclasses
import pathlib
import shutil

from benchmarks import contenders, drawn, preparing
from benchmarks.contenders import Contender
from benchmarks.intervals import Estimate, Figure, Goal

GOALS = {
    "disk": Goal(0.98, 0.95, more_is_better=True, form="{:.3f}x"),
    "reading": Goal(20.0, 5.0, more_is_better=True, form="{:.1f}x"),
    "first batch": Goal(1.05, 1.2, more_is_better=False, form="{:.3f}x"),
}
_LATE_STEP, _MANY_EXAMPLES = 1_000_000, 1_000_000_000
# A turn of reading takes about as long as one of steps.
_READS_PER_STEP = 20
_FIRST_BATCHES = 10


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured on.

    Attributes:
        drawn_pictures: int, how many files are drawn where none are given.
        side: int, pixels that pictures are prepared to.
        shape: (height, width, channels) of the other datasets.
        read_bytes: int, of the dataset that is read without a step.
        small_bytes: int, of the small dataset of the memory.
        large_bytes: int, of the large one, which takes no room on the disk.
        memory_steps: int, of a training whose memory is looked at.
        memory_batch: int, images of such a step.
    """

    drawn_pictures: int = 40_000
    side: int = 32
    shape: tuple = (64, 64, 3)
    read_bytes: int = 256 << 20
    small_bytes: int = 20_000_000
    large_bytes: int = 20_000_000_000
    memory_steps: int = 48
    memory_batch: int = 32


def measure(setup, sizes=None):
    """Returns the `Figure`s of images on disk; prints a line for each.

    Args:
        setup: a `setup.Setup`.
        sizes: a `Sizes`; None for those of the published figures.
    """
    sizes = sizes or Sizes()
    pictures = setup.images and pathlib.Path(setup.images).resolve()
    if not pictures:
        pictures = setup.folder / "pictures"
        setup.console.line(
            f"No --images=FOLDER was given: {sizes.drawn_pictures:,} JPEGs of "
            f"{sizes.side}x{sizes.side} pixels are drawn."
        )
        drawn.draw_pictures(pictures, sizes.drawn_pictures, sizes.side)
    dataset = setup.folder / "prepared"
    return [
        preparing.prepare_over_pillow(setup, pictures, sizes.side, dataset),
        disk_over_memory(setup, dataset),
        reading_over_step(setup, sizes),
        memory_by_size(setup, sizes),
        first_batch_by_step(setup, sizes),
    ]


def disk_over_memory(setup, dataset):
    """Returns the `Figure` of a training that reads from the disk.

    Args:
        setup: a `setup.Setup`.
        dataset: `pathlib.Path` of a dataset on disk.
    """
    jobs = [
        _job(setup, name, dataset, from_disk=name == "from the disk")
        for name in ("in memory", "from the disk")
    ]
    turns = _turns(setup, jobs, {job.name: setup.steps for job in jobs})
    return Figure(
        "training from the disk over in memory",
        _say_speeds(setup, turns),
        GOALS["disk"],
    )


def reading_over_step(setup, sizes):
    """Returns the `Figure` of reading batches over training on them."""
    dataset = setup.folder / "noise"
    drawn.write_dataset(dataset, sizes.shape, sizes.read_bytes, sparse=False)
    step = _job(setup, "step", dataset, constant_batches=True)
    flags = [f"--data_dir={dataset}", f"--epochs={_MANY_EXAMPLES}"]
    read = Contender(
        "reading",
        "benchmarks.batches",
        [{"flags": flags}],
        setup.threads,
    )
    lengths = {"step": setup.steps, "reading": setup.steps * _READS_PER_STEP}
    turns = _turns(setup, [step, read], lengths)
    shutil.rmtree(dataset)
    return Figure(
        "reading over the step", _say_speeds(setup, turns), GOALS["reading"]
    )


def memory_by_size(setup, sizes):
    """Returns the `Figure` of a training's memory on much and on little data.

    Both read from the disk, the small dataset as well. The goal is 1.0 times
    the memory on little data and 256 MB, as a ratio.
    """
    wanted = {"small": sizes.small_bytes, "large": sizes.large_bytes}
    for name, train_bytes in wanted.items():
        folder = setup.folder / name
        drawn.write_dataset(folder, sizes.shape, train_bytes, sparse=True)

    def peak(name):
        job = _job(
            setup,
            name,
            setup.folder / name,
            f"--batch_size={sizes.memory_batch}",
            from_disk=True,
        )
        with contenders.started(job):
            return job.run(sizes.memory_steps).others["peak_bytes"]

    peaks = contenders.alternating(setup.pairs, list(wanted), peak)
    megabytes = {
        name: Estimate.of(each / 1e6 for each in of_one)
        for name, of_one in peaks.items()
    }
    setup.console.line(
        "Peak memory of a training that reads from the disk: "
        + ", ".join(
            f"{megabytes[name].text('{:,.0f}')} MB with "
            f"{train_bytes / 1e6:,.0f} MB of records"
            for name, train_bytes in wanted.items()
        )
        + "."
    )
    base = megabytes["small"].median
    goal = Goal(
        1.0 + 256 / base,
        1.1 + 512 / base,
        more_is_better=False,
        form="{:.2f}x",
    )
    return Figure(
        "memory, much data over little",
        Estimate.of_ratios(peaks["large"], peaks["small"]),
        goal,
    )


def first_batch_by_step(setup, sizes):
    """Returns the `Figure` of a start late in a huge dataset over at step 1."""
    steps = {"step 1": 1, f"step {_LATE_STEP:,}": _LATE_STEP}
    settings = {
        "flags": ["--job_dir=none"],
        "count": _MANY_EXAMPLES,
        "image_shape": sizes.shape,
    }
    starts = [
        Contender(
            name,
            "benchmarks.batches",
            [{**settings, "first_step": step}],
            setup.threads,
        )
        for name, step in steps.items()
    ]
    turns = _turns(setup, starts, dict.fromkeys(steps, _FIRST_BATCHES))
    early, late = (
        [1e3 * turn.seconds / turn.steps for turn in turns[name]]
        for name in steps
    )
    setup.console.line(
        f"The first batch of {_MANY_EXAMPLES:,} examples: "
        f"{Estimate.of(early).text('{:.1f}')} ms at step 1, "
        f"{Estimate.of(late).text('{:.1f}')} ms at step {_LATE_STEP:,}."
    )
    return Figure(
        "first batch, late over early",
        Estimate.of_ratios(late, early),
        GOALS["first batch"],
    )


def _job(setup, name, dataset, *flags, **settings):
    """Returns a job on a dataset, which neither evaluates nor draws."""
    return setup.whole_job(
        name,
        "--eval_epochs=0",
        "--image_epochs=0",
        f"--data_dir={dataset}",
        *setup.job_flags,
        *flags,
        any_shape=True,
        **settings,
    )


def _turns(setup, chosen, lengths):
    """Lets contenders take their turns, each after one to warm up."""
    with contenders.started(*chosen):
        for contender in chosen:
            contender.run(min(setup.warm_up_steps, lengths[contender.name]))
        return contenders.rounds(chosen, setup.pairs, lengths)


def _say_speeds(setup, turns):
    """Prints images/s of two contenders; returns the second over the first."""
    speeds = {
        name: [turn.per_second * setup.batch_size for turn in of_one]
        for name, of_one in turns.items()
    }
    for name, of_one in speeds.items():
        text = Estimate.of(of_one).text("{:,.0f}")
        setup.console.line(f"  {name}: {text} images/s")
    first, second = speeds.values()
    return Estimate.of_ratios(second, first)
