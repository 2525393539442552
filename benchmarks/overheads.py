"""What lies around the training step, each part by leaving it out."""

import contextlib
import dataclasses
import json
import socket

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.intervals import Estimate, Figure, Goal
from benchmarks.setup import ENDLESS

_GOAL = Goal(0.01, 0.03, more_is_better=False, form="{:.2%}")
# Rows and checkpoints cost less than the noise of a turn, so they come more
# often than by default, and what one of them costs is worked out.
_ROW_STEPS, _DEFAULT_ROW_STEPS = 10, 50
_CHECKPOINTS_PER_TURN = 2


@dataclasses.dataclass(frozen=True)
class _Extra:
    """A job that does something more often than the default job, or never.

    Attributes:
        contender: the job.
        what: one of those things.
        more_per_step: how many more a step than the default job.
        default_per_step: how many a step the default job does.
    """

    contender: Contender
    what: str
    more_per_step: float
    default_per_step: float


def measure(setup):
    """Returns the `Figure`s of the overheads; prints a line for each part.

    Args:
        setup: a `setup.Setup`.
    """
    base = setup.job("the default job")
    with _warm(setup, base):
        figures = around(setup, base)
        for extra in _extras(setup):
            with _warm(setup, extra.contender):
                _say_cost(setup, base, extra)
        for contender in _others(setup):
            with _warm(setup, contender):
                figure = _say_speed(setup, base, contender)
            if figure is not None:
                figures.append(figure)
    return figures


def around(setup, base):
    """Compares whole epochs with the compiled step and nothing else.

    Args:
        setup: a `setup.Setup`.
        base: the default job, warmed up.

    Returns:
        Two `Figure`s: of the training thread's time, and of CPU time.
    """
    bare = setup.job(
        "the bare step",
        f"--summary_steps={ENDLESS}",
        f"--checkpoint_steps={ENDLESS}",
        constant_batches=True,
    )
    with _warm(setup, bare):
        # The others' turns leave most checkpoints out; an epoch has one.
        pairs = _pairs(setup, base, bare, setup.epoch_steps)
    outside = Estimate.of(
        1 - turn.others["inside_seconds"] / turn.seconds for turn, _ in pairs
    )
    wall, cpu = _relative(pairs)
    setup.console.line(
        f"Around the step: the training thread is outside of it for "
        f"{outside.text('{:.2%}')} of the time; the job takes "
        f"{wall.text('{:+.2%}')} wall time and {cpu.text('{:+.2%}')} CPU time "
        "over the bare step."
    )
    return [
        Figure("around the step: training thread outside it", outside, _GOAL),
        Figure("around the step: CPU over the bare step", cpu, _GOAL),
    ]


@contextlib.contextmanager
def _warm(setup, contender):
    with contenders.started(contender):
        contender.run(setup.warm_up_steps)
        yield


def _extras(setup):
    """Yields an `_Extra` for each part of the loop."""
    yield _Extra(
        setup.job("constant batches", constant_batches=True), "batch", -1, 1
    )
    yield _Extra(
        setup.job("more rows", f"--summary_steps={_ROW_STEPS}"),
        "summary row",
        1 / _ROW_STEPS - 1 / _DEFAULT_ROW_STEPS,
        1 / _DEFAULT_ROW_STEPS,
    )
    steps = max(setup.steps // _CHECKPOINTS_PER_TURN, 1)
    yield _Extra(
        setup.job("more checkpoints", f"--checkpoint_steps={steps}"),
        "checkpoint",
        1 / steps - 1 / setup.epoch_steps,
        1 / setup.epoch_steps,
    )


def _others(setup):
    """Yields jobs that are compared as a whole."""
    yield setup.job("--strategy=none", "--strategy=none")
    for count in (2, 4):
        yield setup.job(f"{count} replicas", f"--virtual_devices={count}")
    hosts = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    yield setup.job(
        "2 workers",
        environments=[
            {
                "TF_CONFIG": json.dumps(
                    {
                        "cluster": {"worker": hosts},
                        "task": {"type": "worker", "index": index},
                    }
                )
            }
            for index in range(len(hosts))
        ],
    )


def _say_cost(setup, base, extra):
    """Prints what one of a thing costs."""
    pairs = _pairs(setup, base, extra.contender, setup.steps)
    wall, cpu = (
        [
            (getattr(theirs, clock) / theirs.steps
             - getattr(ours, clock) / ours.steps) / extra.more_per_step
            for ours, theirs in pairs
        ]
        for clock in ("seconds", "cpu_seconds")
    )  # fmt: skip
    shares = Estimate.of(
        cost * extra.default_per_step / (ours.cpu_seconds / ours.steps)
        for cost, (ours, _) in zip(cpu, pairs, strict=True)
    )
    setup.console.line(
        f"A {extra.what} costs {_milliseconds(wall)} ms of wall time and "
        f"{_milliseconds(cpu)} ms of CPU time: {shares.text('{:.2%}')} of the "
        "default job's CPU time."
    )


def _say_speed(setup, base, contender):
    """Prints a job's speed; returns a `Figure` if it has a goal."""
    pairs = _pairs(setup, base, contender, setup.steps)
    speed = Estimate.of(
        theirs.per_second / ours.per_second for ours, theirs in pairs
    )
    wall, cpu = _relative(pairs)
    setup.console.line(
        f"{contender.name}: {speed.text()} times the speed of the default "
        f"job, which has one replica; the default job takes "
        f"{cpu.text('{:+.1%}')} CPU time over it."
    )
    if contender.name != "--strategy=none":
        return None
    return Figure("MirroredStrategy with one replica over none", wall, _GOAL)


def _pairs(setup, base, contender, steps):
    """Returns a list of pairs of `Measurement`s: the base's, the other's."""
    names = (base.name, contender.name)
    images = setup.rounds * len(names) * steps * setup.batch_size
    with setup.console.image_bar(contender.name, images) as advance:
        turns = contenders.rounds(
            [base, contender],
            setup.rounds,
            dict.fromkeys(names, steps),
            lambda name, turn: advance(turn.steps * setup.batch_size),
        )
    return list(zip(*(turns[name] for name in names), strict=True))


def _relative(pairs):
    """How much more wall and CPU time the first of each pair takes."""
    return tuple(
        Estimate.of(
            getattr(ours, clock)
            / ours.steps
            / (getattr(theirs, clock) / theirs.steps)
            - 1
            for ours, theirs in pairs
        )
        for clock in ("seconds", "cpu_seconds")
    )


def _milliseconds(seconds):
    return Estimate.of(1e3 * value for value in seconds).text("{:.2f}")


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
