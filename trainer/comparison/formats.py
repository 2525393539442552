"""A comparison as lines: for a terminal, and as Markdown, CSV and JSON."""

import csv
import html
import io
import json
import math
import re
import unicodedata

from trainer.comparison.table import NOTHING

_GAP = "  "
# What a spreadsheet takes for a formula:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def printable(text):
    """Returns text that moves no cursor and hides nothing, on one line."""
    return "".join(
        character
        # Control and format characters, and what is left of no UTF-8.
        if unicodedata.category(character)[0] != "C"
        and character not in "\u2028\u2029"
        else ascii(character)[1:-1]
        for character in text
    )


def as_text(comparison, width=None):
    """Returns lines for a terminal.

    Args:
        comparison: a `Comparison`.
        width: int, columns of the terminal: what does not fit stands below,
            with the names of the jobs again. None for lines of any length.
    """
    table = [comparison.titles, *map(comparison.texts, comparison.jobs)]
    table = [list(map(printable, row)) for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    is_number = [
        all(map(_is_number, column)) for column in zip(*table[1:], strict=True)
    ]
    lines = []
    for block in _blocks(widths, width):
        if lines:
            lines.append("")
        for row in table:
            cells = (
                row[at].rjust(widths[at])
                if is_number[at]
                else row[at].ljust(widths[at])
                for at in block
            )
            lines.append(_GAP.join(cells).rstrip())
    if comparison.notes:
        lines += ["", *map(printable, comparison.notes)]
    return lines


def _is_number(text):
    return text == NOTHING or bool(re.fullmatch(r"-?[\d.,e+-]+%?", text))


def _blocks(widths, width):
    """Yields the columns that stand beside each other, the first in each."""
    block, used = [0], widths[0]
    for at, each in enumerate(widths[1:], start=1):
        if width and len(block) > 1 and used + len(_GAP) + each > width:
            yield block
            block, used = [0], widths[0]
        block.append(at)
        used += len(_GAP) + each
    yield block


def as_markdown(comparison):
    """Returns the lines of a table in Markdown."""
    titles = comparison.titles
    table = [titles, ["---"] * len(titles)]
    table += map(comparison.texts, comparison.jobs)
    lines = [
        f"| {' | '.join(_markdown(cell) for cell in row)} |" for row in table
    ]
    if comparison.notes:
        lines += ["", *(f"- {_markdown(note)}" for note in comparison.notes)]
    return lines


def _markdown(text):
    if set(text) == {"-"}:
        return text
    # Some renderers take HTML after a backslash all the same.
    escaped = html.escape(printable(text), quote=False)
    return _MARKDOWN.sub(r"\\\1", escaped)


def as_csv(comparison):
    """Returns lines of CSV (RFC 4180), numbers with all their digits."""
    content = io.StringIO()
    rows = [comparison.values(job) for job in comparison.jobs]
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(map(_cell, row.values()))
    return content.getvalue().splitlines()


def _cell(value):
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_json(comparison):
    """Returns lines of JSON; what is not known, or not finite, is null."""
    value = {
        "jobs": [
            {
                name: None
                if isinstance(each, float) and not math.isfinite(each)
                else each
                for name, each in comparison.values(job).items()
            }
            | {
                "seconds": job.goodput and job.goodput.seconds,
                "faults": job.faults,
            }
            for job in comparison.jobs
        ],
        "differing_settings": comparison.differing,
        "notes": comparison.notes,
    }
    return json.dumps(value, indent=2, allow_nan=False).splitlines()
