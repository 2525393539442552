"""The lines of `--help` about a flag."""

import textwrap

COLUMNS = 80
_INDENT = 2
# What stands for a value where no unit does.
_STAND_INS = {int: "N", float: "X", str: "TEXT", list: "TEXT"}


def of_flag(name, default, text, unit, limits):
    """Returns the lines about a flag.

    Args:
        name: str.
        default: bool, int, float, str or list of str.
        text: str, what the flag means.
        unit: str, what its value counts or is; empty for nothing.
        limits: dict of `choices`, `minimum`, `maximum` and `above`, as
            `Flags.add` takes them.
    """
    kind = type(default)
    values = "|".join(limits["choices"]) or unit.upper() or _STAND_INS.get(kind)
    flag = f"--[no]{name}" if kind is bool else f"--{name}={values}"
    details = ", ".join(_details(default, limits))
    if not details:
        return entry(flag, text)
    line = f"{flag}  ({details})"
    if len(line) > COLUMNS - _INDENT:
        return entry(flag, f"{text} ({details})")
    return entry(line, text)


def _details(default, limits):
    """Yields what `--help` says of the default and the bounds of a flag."""
    if isinstance(default, bool):
        yield f"default {'on' if default else 'off'}"
    elif isinstance(default, float):
        yield f"default {default:g}"
    elif default not in ("", []):
        yield f"default {default}"
    if limits["minimum"] is not None:
        yield f"at least {limits['minimum']}"
    if limits["maximum"] is not None:
        yield f"at most {limits['maximum']}"
    if limits["above"] is not None:
        yield f"above {limits['above']}"


def entry(flag, text):
    """Returns the lines that have a flag, and below it a text."""
    below = " " * 3 * _INDENT
    wrapped = textwrap.fill(
        text,
        COLUMNS,
        initial_indent=below,
        subsequent_indent=below,
        break_on_hyphens=False,
    )
    return [f"{' ' * _INDENT}{flag}", wrapped]
