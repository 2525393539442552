"""The table of a comparison: its columns, its order, and what differs."""

import dataclasses
import json
from collections.abc import Callable

from trainer.comparison.jobs import Job

# What stands where nothing is known.
NOTHING = "-"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of what jobs came to.

    Attributes:
        key: str, its name in JSON and CSV, and for `--sort`.
        title: str, what stands above it.
        value: function of a `Job`; None for what is not known.
        text: function of a value that is known, for people.
        is_best_high: whether the best of its values is the highest.
    """

    key: str
    title: str
    value: Callable
    text: Callable = str
    is_best_high: bool = False


def _of_best(name):
    return lambda job: job.best.get(name) if job.best else None


def _of_last(name):
    return lambda job: job.held_out[-1].get(name) if job.held_out else None


COLUMNS = (
    Column("state", "state", lambda job: job.state),
    Column("step", "step", lambda job: job.step, "{:,}".format, True),
    Column("epoch", "epoch", lambda job: job.epoch, "{:,}".format, True),
    Column("best_loss", "best loss", _of_best("total_loss"), "{:.2f}".format),
    Column("best_step", "at step", _of_best("step"), "{:,}".format),
    Column("last_loss", "last loss", _of_last("total_loss"), "{:.2f}".format),
    Column(
        "log_likelihood",
        "log p(x)",
        lambda job: job.log_likelihood,
        "{:.2f}".format,
        True,
    ),
    Column(
        "active_units", "units", _of_best("active_units"), "{:,}".format, True
    ),
    Column(
        "active_directions",
        "directions",
        _of_best("active_directions"),
        "{:,}".format,
        True,
    ),
    Column(
        "images_per_second",
        "images/s",
        lambda job: job.images_per_second,
        "{:,.0f}".format,
        True,
    ),
    Column(
        "parameters", "parameters", lambda job: job.parameters, "{:,}".format
    ),
    Column(
        "goodput",
        "goodput",
        lambda job: job.goodput and round(job.goodput.share, 4),
        "{:.0%}".format,
        True,
    ),
)
SORTS = ("name", *(column.key for column in COLUMNS))
_BY_KEY = {column.key: column for column in COLUMNS}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Jobs beside each other.

    Attributes:
        jobs: tuple of `Job`, in their order.
        columns: tuple of `Column`: those of which any job knows something.
        differing: tuple of str, the settings that are not the same in all.
        notes: tuple of str, sentences on what to mind.
    """

    jobs: tuple[Job, ...]
    columns: tuple[Column, ...]
    differing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def titles(self):
        """What stands above the columns, list of str."""
        return [
            "job", *(column.title for column in self.columns), *self.differing
        ]  # fmt: skip

    def values(self, job):
        """Returns what a job has in each column, JSON values by key."""
        return {
            "job": job.name,
            **{column.key: column.value(job) for column in self.columns},
            **{name: job.settings.get(name) for name in self.differing},
        }

    def texts(self, job):
        """Returns what stands in the row of a job, list of str."""
        found = [
            NOTHING if value is None else column.text(value)
            for column in self.columns
            for value in [column.value(job)]
        ]
        settings = (job.settings.get(name) for name in self.differing)
        return [job.name, *found, *map(_text_of, settings)]


def compare(jobs, sort):
    """Returns the `Comparison` of jobs.

    Args:
        jobs: list of `Job`.
        sort: one of `SORTS`: the best comes first, and last who has none.
    """
    ordered = sorted(jobs, key=lambda job: _rank(job, sort))
    names = dict.fromkeys(name for job in ordered for name in job.settings)
    whole = [job for job in ordered if job.settings]
    differing = tuple(
        name
        for name in names
        if len({json.dumps(job.settings.get(name)) for job in whole}) > 1
    )
    columns = tuple(
        column
        for column in COLUMNS
        if any(column.value(job) is not None for job in ordered)
    )
    return Comparison(
        tuple(ordered), columns, differing, tuple(_notes(ordered))
    )


def _rank(job, sort):
    if sort == "name":
        return (job.name,)
    column = _BY_KEY[sort]
    value = column.value(job)
    if value is None:
        return (1, 0, job.name)
    return (0, -value if column.is_best_high else value, job.name)


def _notes(jobs):
    if len({job.kind for job in jobs if job.kind}) > 1:
        yield (
            "The losses are not all of one kind: they compare between jobs "
            "with the same data, reconstruction_loss, beta, binarize and "
            "condition only."
        )
    epochs = sorted({job.epoch for job in jobs if job.epoch is not None})
    if len(epochs) > 1:
        yield (
            "The jobs have not trained equally long: they are at epochs "
            f"{epochs[0]:,} to {epochs[-1]:,}, and a loss may be lower for "
            "that reason alone."
        )
    for job in jobs:
        for fault in job.faults:
            yield f"{job.name}: {fault}"


def _text_of(value):
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)
