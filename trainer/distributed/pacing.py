"""How many steps go into one tf.function call, and when a call must end."""

import time

_TARGET_SECONDS = 1.0
_MAX_GROWTH = 4


class CallPacer:
    """Finds how many steps take about a second.

    Long calls save overhead; but a stop signal waits for the call to end,
    and so does the progress bar.

    Args:
        fixed_steps: always this many; 0 = find out.

    Attributes:
        steps: how many the next call has, once all workers have agreed.
    """

    def __init__(self, fixed_steps=0):
        self._fixed = fixed_steps
        self._measured = 1
        self._calls = 0
        self.steps = self.measured

    @property
    def measured(self):
        """How many steps this worker would give the next call."""
        return self._fixed or self._measured

    def timed(self, function, steps):
        """Calls `function()`, which runs `steps` steps, and learns from it.

        Returns:
            (result, seconds).
        """
        started = time.monotonic()
        result = function()
        seconds = time.monotonic() - started
        self._calls += 1
        # The first call is mostly tracing.
        if self._calls > 1:
            fitting = int(_TARGET_SECONDS * steps / max(seconds, 1e-6))
            self._measured = max(1, min(fitting, _MAX_GROWTH * self._measured))
        return result, seconds


class Periods:
    """Which work falls on which step. All steps count from 1.

    Args:
        config: a `TrainConfig`.
        schedule: an `input_pipeline.Schedule`.
    """

    def __init__(self, config, schedule):
        epoch = schedule.steps_per_epoch
        self._last = schedule.total_steps
        self._summary = config.summary_steps
        self._checkpoint = config.checkpoint_steps or epoch
        self._evaluation = config.eval_epochs * epoch
        self._images = config.image_epochs * epoch
        self._profile = config.profile_range()

    def summary(self, step):
        """Whether a row of training losses is due after `step`."""
        return self._is_due(step, self._summary)

    def checkpoint(self, step):
        """Whether a checkpoint is due after `step`."""
        return self._is_due(step, self._checkpoint)

    def evaluation_work(self, step):
        """Returns which of "evaluation" and "images" are due after `step`."""
        return tuple(
            name
            for name, period in (
                ("evaluation", self._evaluation),
                ("images", self._images),
            )
            if self._is_due(step, period)
        )

    def profile_starts(self, step):
        """Whether the profile begins after `step`."""
        return self._profile is not None and step == self._profile[0] - 1

    def profile_ends(self, step):
        """Whether the profile ends after `step`."""
        return self._profile is not None and step == self._profile[1]

    def next_end(self, step, steps):
        """Returns where a call that starts after `step` ends.

        Args:
            step: the last step done.
            steps: how many steps the call would like to have.
        """
        ends = [self._last, step + steps]
        for period in (
            self._summary,
            self._checkpoint,
            self._evaluation,
            self._images,
        ):
            if period:
                ends.append((step // period + 1) * period)
        if self._profile is not None:
            first, last = self._profile
            ends += [end for end in (first - 1, last) if end > step]
        return min(ends)

    def _is_due(self, step, period):
        return step == self._last or (period > 0 and step % period == 0)
