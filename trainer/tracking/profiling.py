"""A TensorBoard profile of some steps of a training."""

import tensorflow as tf


class Profiler:
    """Profiles the calls of training steps between two steps.

    Args:
        train_steps: a function of a number of steps and what else; a call of
            it begins after the step before `first`, and one ends at `last`
            (`schedule.Periods`).
        folder: `pathlib.Path`, where TensorBoard looks.
        step: int, the step that the job goes on from.
        first: int, the first step to profile.
        last: int, the last one.
    """

    def __init__(self, train_steps, folder, step, first, last):
        self._train_steps = train_steps
        self._folder = folder
        self._step = step
        self._first, self._last = first, last

    def __call__(self, count, *args):
        """Runs a call of `count` steps; returns what it returns."""
        if self._step == self._first - 1:
            tf.profiler.experimental.start(str(self._folder))
        result = self._train_steps(count, *args)
        self._step += count
        if self._step == self._last:
            tf.profiler.experimental.stop()
        return result
