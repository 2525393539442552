"""How long a training step takes here, and with it the job."""

import dataclasses
import time

import numpy as np
import tensorflow as tf

from trainer.data import order
from trainer.distributed.calls import Workers
from trainer.doctor import host, rows
from trainer.errors import TrainerError
from trainer.model import optimizer as optimizer_lib
from trainer.model.step import make_train_steps
from trainer.model.weights import weights_of
from trainer.schedule import Schedule
from trainer.training import resolve_jit

# How long is measured, once the first step is compiled.
SECONDS = 4.0
_MOST_STEPS = 10_000
_MOST_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast the steps of a job are on this machine.

    Attributes:
        step_seconds: float, of one step.
        first_seconds: float, of the first call, which compiles.
        steps: int, how many were measured.
    """

    step_seconds: float
    first_seconds: float
    steps: int


def steps(case):
    """How long the job is, in steps."""
    schedule = case.schedule
    return rows.ok(
        f"{schedule.total_steps:,} steps, {schedule.steps_per_epoch:,} an epoch"
    )


def hours(case):
    """How long the job is, in hours."""
    schedule = case.schedule
    try:
        pace = case.pace
    except tf.errors.ResourceExhaustedError:
        return rows.failure(
            "A step of the job does not fit into the memory.",
            "Give --microbatches, lower --batch_size, or take a device with "
            "more memory.",
        )
    per_step = pace.step_seconds
    hours = schedule.total_steps * per_step / 3600
    on = f" on {case.machines} machines" if case.machines > 1 else ""
    return rows.ok(
        f"about {_hours(hours)}{on}: {1000 * per_step:.1f} ms a step, steps "
        f"alone ({pace.steps:,} measured; the first took "
        f"{pace.first_seconds:.1f} s)"
    )


def schedule_of(case):
    """Returns the `Schedule` of a job.

    Raises:
        NotKnownError: the number of images is not known yet.
        ConfigError: it is too small.
    """
    if case.facts.train_examples is None:
        raise rows.NotKnownError("How many images there are is known")
    return Schedule.of(case.config, case.facts.train_examples)


def measure(case, most_seconds=None):
    """Returns the `Pace` of steps on random images, from the job's own code.

    Args:
        case: a `Case`. On several machines its share of the batch is
            measured, without the exchange of gradients between them.
        most_seconds: float, how long is measured; None for `SECONDS`.

    Raises:
        NotLookedAtError: the memory is too small for a step. To try one could
            end this process.
    """
    if not host.fits(case):
        raise rows.NotLookedAtError("enough memory", TrainerError())
    if most_seconds is None:
        most_seconds = SECONDS
    config, strategy = case.here, case.cluster.strategy
    vae = case.vae
    with strategy.scope():
        schedule = case.schedule
        optimizer = optimizer_lib.make(config, schedule)
        optimizer_lib.build(
            optimizer, weights_of(vae), vae.prior.weights.values()
        )
    count = config.batch_size * min(schedule.steps_per_epoch, _MOST_BATCHES)
    images = np.random.default_rng(0).integers(
        0, 256, (count, *case.facts.image_shape), np.uint8
    )
    # An epoch of these images, over and over.
    endless = dataclasses.replace(
        config, train_examples=0, epochs=_MOST_STEPS, max_steps=0
    )
    batches = iter(
        order.train_batches(
            images, endless, Schedule.of(endless, count), strategy, 1
        )
    )
    train_steps = make_train_steps(
        vae,
        optimizer,
        config,
        schedule,
        case.cluster,
        resolve_jit(config, case.cluster),
    )
    workers = Workers(case.stop)

    def seconds_of(steps):
        case.stop.check()
        started = time.perf_counter()
        train_steps(batches, tf.constant(steps), workers.propose(steps))
        # A GPU may still be computing.
        tf.test.experimental.sync_devices()
        return time.perf_counter() - started

    first = seconds_of(1)
    steps, seconds, size = 0, 0.0, 1
    while not steps or (seconds < most_seconds and steps < _MOST_STEPS):
        took = seconds_of(size)
        steps, seconds = steps + size, seconds + took
        left = (most_seconds - seconds) / (seconds / steps)
        size = max(1, min(2 * size, int(left), _MOST_STEPS - steps))
    return Pace(seconds / steps, first, steps)


def _hours(hours):
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} seconds"
    if hours < 1:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.1f} hours"
