"""A row of the examination: what was found, and what to do about it."""

import dataclasses

from trainer.errors import InterruptedJobError, TrainerError
from trainer.runtime import command

OK, WARNING, FAILURE = "ok", "warning", "failure"
_FOR_NOW = InterruptedJobError.exit_code
_SHOWN = 300  # Characters of an exception that nobody has foreseen.


@dataclasses.dataclass(frozen=True)
class Row:
    """What a check found.

    Attributes:
        state: `OK`, `WARNING` or `FAILURE`.
        found: str, a phrase or a sentence.
        advice: str, what to do about it; empty where nothing is.
        for_now: bool, whether a failure may pass by itself: what was to be
            looked at is out of reach.
        name: str, what was looked at.
    """

    state: str
    found: str
    advice: str = ""
    for_now: bool = False
    name: str = ""


class NotKnownError(TrainerError):
    """Only the job itself finds out what a check needs; that is no fault.

    Args:
        what: str, what that is, a clause.
    """

    advice = "Run vae-data prepare first, and give its folder with --data_dir."

    def __init__(self, what):
        super().__init__(f"{what} only when vae-train has prepared them.")


class NotLookedAtError(TrainerError):
    """A check needs what an earlier one could not have.

    Args:
        what: str, what that is.
        error: the exception of that check.
    """

    def __init__(self, what, error):
        super().__init__(f"Not looked at, since {what} cannot be had.")
        self.is_no_fault = isinstance(error, NotKnownError) or getattr(
            error, "is_no_fault", False
        )
        if isinstance(error, TrainerError):
            self.exit_code = error.exit_code


def ok(found):
    """Returns the row of a check that found nothing wrong."""
    return Row(OK, found)


def warning(found, advice):
    """Returns the row of what a job can live with."""
    return Row(WARNING, found, advice)


def failure(found, advice, for_now=False):
    """Returns the row of what a job would end with, sooner or later."""
    return Row(FAILURE, found, advice, for_now)


def look(name, check):
    """Runs a check; none can end the others.

    Args:
        name: str, what it looks at.
        check: function without arguments. Returns a `Row`.

    Returns:
        The `Row`, named. An error of the job's own kinds is its sentence,
        which says what to do; any other is a failure with its text.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    try:
        row = check()
    except InterruptedJobError:
        raise
    except NotKnownError as error:
        row = warning(str(error), error.advice)
    except NotLookedAtError as error:
        row = (
            warning(str(error), NotKnownError.advice)
            if error.is_no_fault
            else failure(str(error), "", error.exit_code == _FOR_NOW)
        )
    except TrainerError as error:
        row = failure(str(error), "", error.exit_code == _FOR_NOW)
    except Exception as error:
        # What the machine answers is no defect of anybody's program.
        sentence = command.sentence_of(error)
        row = failure(
            sentence or f"{type(error).__name__}: {error}".splitlines()[0],
            ""
            if sentence
            else "Nobody has foreseen this; if the machine is not to blame, "
            "report it as a defect of vae-doctor.",
        )
        row = dataclasses.replace(row, found=row.found[:_SHOWN])
    return dataclasses.replace(row, name=name)


def exit_code(rows):
    """Returns the exit code: 0 without a failure, 75 if all may pass, else 1.

    Args:
        rows: list of `Row`.
    """
    failures = [row for row in rows if row.state == FAILURE]
    if not failures:
        return 0
    return _FOR_NOW if all(row.for_now for row in failures) else 1
