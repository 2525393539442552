"""How long a job is, and which work falls on which step, from 1."""

import dataclasses

from trainer.errors import ConfigError
from trainer.settings.declaration import MOST


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The length of a job in steps.

    Attributes:
        steps_per_epoch: floor(training examples / global batch size). The
            examples left over are other ones in each epoch.
        total_steps: number of the last step.
    """

    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, config, train_examples):
        """Returns the schedule of a config.

        Raises:
            ConfigError: the batch is larger than the data set, or the steps
                are more than can be counted.
        """
        steps_per_epoch = train_examples // config.batch_size
        if steps_per_epoch == 0:
            raise ConfigError(
                f"--batch_size={config.batch_size} is more than the "
                f"{train_examples} training images; use at most "
                f"--batch_size={train_examples}."
            )
        total_steps = config.epochs * steps_per_epoch
        if config.max_steps:
            total_steps = min(total_steps, config.max_steps)
        if total_steps > MOST:
            raise ConfigError(
                f"--epochs={config.epochs} of {steps_per_epoch} steps are "
                f"{total_steps} steps; the most is {MOST}."
            )
        return cls(steps_per_epoch=steps_per_epoch, total_steps=total_steps)

    def epoch_of(self, step):
        """Returns the epoch that a step belongs to, from 1."""
        return (step - 1) // self.steps_per_epoch + 1


@dataclasses.dataclass(frozen=True)
class Period:
    """When something is due: every so many steps and at the last one.

    Attributes:
        every: int, steps; 0 for the last step alone.
        at: tuple of ints. If given, it is due at these steps and no others.
    """

    every: int = 0
    at: tuple[int, ...] = ()

    def is_due(self, step, last):
        """Whether it is due after a step; `last` is that of the job."""
        if self.at:
            return step in self.at
        return step == last or (self.every > 0 and step % self.every == 0)

    def next_step(self, step, last):
        """Returns the first step after `step` at which it is due, or `last`."""
        steps = [last, *(each for each in self.at if each > step)]
        if self.every:
            steps.append((step // self.every + 1) * self.every)
        return min(steps)


@dataclasses.dataclass(frozen=True)
class Periods:
    """Which work falls on which step. All workers have the same.

    Attributes:
        last: the last step of the job.
        by_name: dict of `Period` by the name of the work, in the order in
            which it is done at a step.
    """

    last: int
    by_name: dict[str, Period]

    @classmethod
    def of(cls, config, schedule):
        """Returns the periods of a config."""
        epoch = schedule.steps_per_epoch
        by_name = {
            "row": Period(config.summary_steps),
            "evaluation": Period(config.eval_epochs * epoch),
            "images": Period(config.image_epochs * epoch),
            "checkpoint": Period(config.checkpoint_steps or epoch),
        }
        if profile := config.profile_range():
            first, last = profile
            by_name["profile"] = Period(at=(first - 1, last))
        return cls(schedule.total_steps, by_name)

    def is_due(self, name, step):
        """Whether the work of a name is due after `step`."""
        return self.by_name[name].is_due(step, self.last)

    def due(self, step):
        """Returns the names of the work that is due after `step`, a tuple."""
        return tuple(name for name in self.by_name if self.is_due(name, step))

    def next_step(self, step):
        """Returns the first step after `step` at which any work is due."""
        return min(
            period.next_step(step, self.last)
            for period in self.by_name.values()
        )
