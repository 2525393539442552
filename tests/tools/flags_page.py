"""Writes the tables of docs/flags.md from the settings of the trainer.

    python -m tests.tools.flags_page

What stands between the two markers of the page is replaced; the test of the
documentation compares the two.
"""

import dataclasses
import pathlib

from trainer.config import TrainConfig

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "flags.md"
BEGIN = "<!-- Written by python -m tests.tools.flags_page -->"
END = "<!-- End of what it writes -->"
# Who may give a setting another value than the job began with, by its role.
_MAY_CHANGE = {
    "mathematics": "no",
    "length": "on a resume, with a constant learning rate",
    "run": "on a resume",
    "worker": "on a resume, and from machine to machine",
}
_TYPES = {int: "integer", float: "number", str: "text"}


def tables():
    """Returns the tables of all settings as Markdown, one a group."""
    groups = {}
    for field in dataclasses.fields(TrainConfig):
        group = field.metadata.get("group", "All settings")
        groups.setdefault(group, []).append(field)
    return "\n\n".join(
        f"### {group}\n\n{_table(fields)}" for group, fields in groups.items()
    )


def _table(fields):
    head = ["flag", "default", "values", "meaning"]
    if "role" in fields[0].metadata:
        head.append("may change")
    rows = [head, ["---"] * len(head), *map(_cells, fields)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(field):
    default = "" if field.default == "" else f"`{_text(field.default)}`"
    cells = [
        f"`--{field.name}`",
        default,
        _values(field),
        field.metadata["help"].replace("|", "\\|"),
    ]
    if "role" in field.metadata:
        cells.append(_MAY_CHANGE[field.metadata["role"]])
    return cells


def _text(value):
    """Returns a value as it is given on a command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(field):
    """Returns what a setting may be."""
    if field.type is bool:
        return f"`--{field.name}`, `--no{field.name}`"
    if choices := field.metadata["choices"]:
        return ", ".join(f"`{choice}`" for choice in choices)
    values = field.metadata.get("unit") or _TYPES[field.type]
    if field.metadata["minimum"]:
        values += f", at least {field.metadata['minimum']}"
    if field.metadata["maximum"] is not None:
        values += f", at most {field.metadata['maximum']}"
    if field.metadata["above"] is not None:
        values += f", above {field.metadata['above']}"
    return values


def split(text):
    """Returns what stands before, between and after the markers."""
    before, _, rest = text.partition(f"{BEGIN}\n\n")
    between, _, after = rest.partition(f"\n\n{END}")
    return before, between, after


def main():
    """Replaces the tables of the page."""
    before, _, after = split(PAGE.read_text(encoding="utf-8"))
    text = f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
