"""What a proof has found so far: printed, kept in a file, and counted."""

import dataclasses
import os
import pathlib
import textwrap
import time

from benchmarks.gpu_proof.sizes import Sizes
from trainer import __version__, files
from trainer.runtime.console import Console

HOLDS, BROKEN = "holds", "BROKEN"
MEASURED, LEFT_OUT, FAILED = "measured", "left out", "failed"
# A part may take so many times its share of the time that is left; what it
# does not need goes to the others.
_MOST_SHARES = 2
_STATE, _PART, _COLUMNS = 10, 28, 120
_BELOW = " " * (_STATE + _PART)


class OutOfTimeError(Exception):
    """A part has used up its time."""


class LeftOutError(Exception):
    """A part cannot be looked at; the message says why."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: str, what was looked at.
        state: `HOLDS`, `BROKEN`, `MEASURED`, `LEFT_OUT` or `FAILED`.
        text: str, what was found, or why nothing was.
        figures: dict of JSON values by name.
        part: str.
    """

    name: str
    state: str
    text: str
    figures: dict = dataclasses.field(default_factory=dict)
    part: str = ""


def judged(name, is_broken, text, **figures):
    """Returns the row of a law."""
    return Row(name, BROKEN if is_broken else HOLDS, text, figures)


def measured(name, text, **figures):
    """Returns the row of a figure."""
    return Row(name, MEASURED, text, figures)


def left_out(name, why):
    """Returns the row of what was not looked at."""
    return Row(name, LEFT_OUT, why)


def failed(name, error):
    """Returns the row of what ended with an error.

    Args:
        name: str.
        error: an exception, whose last lines say why.
    """
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = " / ".join(lines[:1] + lines[1:][-2:]) or type(error).__name__
    return Row(name, FAILED, text, {"error": str(error)})


@dataclasses.dataclass
class Proof:
    """A proof on one machine, while it is under way.

    Attributes:
        sizes: a `Sizes`.
        size: str, their name.
        folder: `pathlib.Path` of jobs and data.
        path: `pathlib.Path` of the JSON file.
        budget_s: float, seconds for everything.
        environ: dict, the environment of the processes that compute; of
            several GPUs it shows the first.
        cards: tuple of str, what CUDA_VISIBLE_DEVICES calls the GPUs.
        console: a `Console`.
        clock: function that returns seconds.
        machine: dict of what is known of the machine.
        rows: list of `Row`.
        known: dict of what a part found out for a later one.
        has_started: bool, whether the first job ended as it should.
    """

    sizes: Sizes
    size: str
    folder: pathlib.Path
    path: pathlib.Path
    budget_s: float
    environ: dict
    cards: tuple
    console: Console
    clock: callable = time.monotonic
    machine: dict = dataclasses.field(default_factory=dict)
    rows: list = dataclasses.field(default_factory=list)
    known: dict = dataclasses.field(default_factory=dict)
    has_started: bool = False

    def __post_init__(self):
        self._started = self.clock()
        self.deadline = self._started + self.budget_s

    @property
    def has_gpu(self):
        """Whether the jobs have a GPU."""
        return bool(self.cards)

    @property
    def exit_code(self):
        """0 if laws hold and none is broken, and nothing failed; else 1."""
        states = {row.state for row in self.rows}
        return int(HOLDS not in states or bool(states & {BROKEN, FAILED}))

    def run(self, parts):
        """Looks at all parts, one after the other.

        Args:
            parts: list of (name, weight, function of this proof that yields
                `Row`s). A weight is about how many seconds a part takes.
        """
        weights = [weight for _, weight, _ in parts]
        end = self._started + self.budget_s
        for number, (name, weight, look) in enumerate(parts):
            now = self.clock()
            if now >= end:
                why = f"the budget of {self.budget_s:g} s was used up"
                self.add(dataclasses.replace(left_out(name, why), part=name))
                continue
            share = (end - now) * weight / sum(weights[number:])
            self.deadline = min(end, now + _MOST_SHARES * share)
            self._look(name, look)

    def _look(self, name, look):
        started = self.clock()
        try:
            for row in look(self):
                self.add(dataclasses.replace(row, part=name))
        except OutOfTimeError:
            row = left_out(
                "the rest",
                f"its time was over after {self.clock() - started:.0f} s",
            )
            self.add(dataclasses.replace(row, part=name))
        except LeftOutError as error:
            row = left_out("all of it", str(error))
            self.add(dataclasses.replace(row, part=name))
        # What nobody has foreseen is not to end the other parts.
        except Exception as error:
            self.add(dataclasses.replace(failed("it", error), part=name))

    def seconds_left(self):
        """Returns how long the part may take yet.

        Raises:
            OutOfTimeError: it has no time left.
        """
        left = self.deadline - self.clock()
        if left <= 0:
            raise OutOfTimeError
        return left

    def require_start(self):
        """Raises `LeftOutError` unless the first job ended as it should."""
        if not self.has_started:
            raise LeftOutError("the first job did not end as it should")

    def add(self, row):
        """Takes a `Row`: prints it, and writes the file."""
        self.rows.append(row)
        for line in lines(row):
            self.console.line(line)
        self.write()

    def write(self):
        """Writes the JSON file anew, whole at any moment."""
        content = {
            "version": __version__,
            "size": self.size,
            "machine": self.machine,
            "budget_s": self.budget_s,
            "seconds": round(self.clock() - self._started, 1),
            "exit_code": self.exit_code,
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }
        files.write_json(self.path, content)

    def summary(self):
        """Returns the last line of the table."""
        counts = {
            state: sum(row.state == state for row in self.rows)
            for state in (HOLDS, BROKEN, MEASURED, FAILED, LEFT_OUT)
        }
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        return (
            f"{told}. {self.clock() - self._started:.0f} s of "
            f"{self.budget_s:g}. {self.path}"
        )


def lines(row):
    """Returns the lines of the table that tell of a row, a list of str."""
    return textwrap.wrap(
        f"{row.name}: {row.text}",
        _COLUMNS,
        initial_indent=f"{row.state:<{_STATE}}{row.part:<{_PART}}",
        subsequent_indent=_BELOW,
        break_long_words=False,
        break_on_hyphens=False,
    )


def without_card(environ):
    """Returns an environment in which no GPU is to be seen."""
    return {**environ, "CUDA_VISIBLE_DEVICES": "-1"}


def cards_of(listed, environ=os.environ):
    """Returns what CUDA_VISIBLE_DEVICES calls each GPU, a tuple of str.

    Args:
        listed: int, how many GPUs nvidia-smi tells of; 0 where it is silent.
        environ: a mapping, such as `os.environ`.
    """
    given = environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(part.strip() for part in given.split(","))
    return tuple(map(str, range(max(listed, 1))))
