"""The loop: one function that reads as the story of a training."""

import dataclasses

from trainer.errors import InterruptedJobError, NonFiniteError
from trainer.job_dir.checkpoint import CAN_WAIT
from trainer.tracking.clock import Clock

# Of which kind the seconds of a work are.
_KINDS = {"evaluation": "evaluation", "images": "pictures"}


@dataclasses.dataclass
class Moment:
    """A step that was just done, as the work that is done at it sees it.

    Attributes:
        step: int.
        losses: dict of floats, of this very step; None where an earlier
            session did the step.
        images_per_second: float, the speed since the last row; None where no
            row is due.
        due: tuple of str, the work of this step that the next session does.
        held_out_loss: float, once the model was evaluated at this step.
        is_best: whether no evaluation was better.
        ends: whether the training ends with this step, which need not be the
            last one.
    """

    step: int
    losses: dict | None = None
    images_per_second: float | None = None
    due: tuple[str, ...] = ()
    held_out_loss: float | None = None
    is_best: bool = False
    ends: bool = False


def train(
    *, start, periods, calls, workers, works, batch_size, progress,
    save=None, watch=None, clock=None,
):  # fmt: skip
    """Trains from a checkpoint to the last step.

    All workers of a job run this with the same periods. The chief has more
    works than the others, and it alone saves.

    Args:
        start: the `Checkpoint` whose state the model has.
        periods: the `schedule.Periods` of the job.
        calls: the `Calls` of training steps.
        workers: the `Workers`.
        works: dict of functions of a `Moment`, by the names of `periods`. At
            a step they are called in this order.
        batch_size: int, images in a step.
        progress: called after each call with a number of images and a note.
        save: called with a `Moment` to save the state and what is still due.
        watch: called after each call; raises what must end the training.
        clock: the `Clock` of the session.

    Raises:
        InterruptedJobError: the stop signal came; `save` was called.
        NonFiniteError: a loss became NaN or infinite.
    """
    step, due = start.step, start.due
    speed = _SpeedMeter(batch_size)
    clock = clock or Clock()
    clock.become("other")
    while step < periods.last or due:
        moment = Moment(step)

        # Train: one call of several steps, up to the next one with work.
        if not due:
            count = calls.size(periods.next_step(step) - step)
            with clock.call():
                losses = calls.run(count)
            data_seconds = losses.pop("data_seconds", 0.0)
            clock.ran(step + count, count, calls.seconds, data_seconds)
            _check_finite(losses, step + 1, step + count)
            step += count
            speed.add(count, calls.seconds)
            progress(count * batch_size, f"loss {losses['total_loss']:.2f}")
            due = periods.due(step)
            moment = Moment(step, losses)
            if "row" in due:
                moment.images_per_second = speed.restart()

        # Work: what is due at this step, unless a signal comes in between.
        try:
            for name in works:
                # The pictures of the end come with it, also where it is early.
                if name in due or (moment.ends and name == "images"):
                    if name in CAN_WAIT:
                        workers.check()
                    with clock.over(_KINDS.get(name, "other")):
                        works[name](moment)
        except InterruptedJobError:
            # All of it is done once more: a resume drops the rows of this step.
            moment.due = tuple(name for name in CAN_WAIT if name in due)

        # Save: now and then, the best, and before the job stops.
        if save and (
            workers.stopping
            or moment.is_best
            or moment.ends
            or periods.is_due("checkpoint", step)
        ):
            with clock.over("checkpoints"):
                save(moment)
        if workers.stopping:
            raise InterruptedJobError(
                workers.message(f"everything is saved at step {step}")
            )
        if watch:
            watch()
        if moment.ends and not moment.due:
            return
        due = ()


def _check_finite(losses, first_step, last_step):
    if not losses.pop("finite"):
        raise NonFiniteError(
            f"A loss became NaN or infinite between steps {first_step} and "
            f"{last_step}; no state after them was saved. Try a lower "
            "--learning_rate, in another --job_dir: a job keeps its own."
        )


class _SpeedMeter:
    """Images per second of the training calls since the last row."""

    def __init__(self, batch_size):
        self._batch_size = batch_size
        self._steps, self._seconds = 0, 0.0
        self._traced = False

    def add(self, steps, seconds):
        if not self._traced:
            # The first call is mostly tracing; it counts only when the row
            # that follows has nothing else.
            self._traced = True
            self._first = (steps, seconds)
            return
        self._steps += steps
        self._seconds += seconds

    def restart(self):
        """Returns the speed since the last call of this function."""
        steps, seconds = (
            (self._steps, self._seconds) if self._steps else self._first
        )
        self._steps, self._seconds = 0, 0.0
        return steps * self._batch_size / seconds
