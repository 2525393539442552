"""The rows of an examination as a table, or as one JSON object."""

import dataclasses
import textwrap

from trainer import __version__
from trainer.doctor import rows as rows_lib

_STATE, _NAME, _COLUMNS = 9, 20, 100
_BELOW = " " * (_STATE + _NAME)


def lines(row):
    """Returns the lines of the table that tell of a row, a list of str."""
    head = f"{row.state:<{_STATE}}{row.name:<{_NAME}}"
    told = _wrapped(row.found, head)
    if row.advice:
        told += _wrapped(row.advice, f"{_BELOW}-> ", f"{_BELOW}   ")
    return told


def summary(rows):
    """Returns the last line of the table."""
    counts = [
        sum(row.state == state for row in rows)
        for state in (rows_lib.FAILURE, rows_lib.WARNING, rows_lib.OK)
    ]
    failures, warnings, fine = counts
    return (
        f"{failures} failure{'s' * (failures != 1)}, {warnings} "
        f"warning{'s' * (warnings != 1)}, {fine} ok."
    )


def as_json(rows, seconds):
    """Returns the examination as a JSON value.

    Args:
        rows: list of `Row`.
        seconds: float, how long it took.
    """
    return {
        "version": __version__,
        "exit_code": rows_lib.exit_code(rows),
        "seconds": round(seconds, 1),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _wrapped(text, first, below=_BELOW):
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=first,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )
