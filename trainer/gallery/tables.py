"""Tables of two columns: a name and what people read for its value."""

from trainer.tracking import goodput as goodput_lib
from trainer.tracking.clock import KINDS


def table(caption, values, emphasised=()):
    """Returns a table of two columns.

    Args:
        caption: str.
        values: dict of anything by name.
        emphasised: names of the rows that stand out.
    """
    return {
        "caption": caption,
        "rows": [
            {
                "name": name,
                "text": _text_of(value),
                "emphasised": name in emphasised,
            }
            for name, value in values.items()
        ],
    }


def _text_of(value):
    """Returns a value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)


def scalars(values, prefix=""):
    """Returns the numbers and texts of a JSON object, however deep."""
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= scalars(value, f"{prefix}{name} ")
        elif isinstance(value, (int, float, str)):
            found[f"{prefix}{name}"] = value
    return found


def of_time(goodput):
    """Returns the tables that say where the time went, and a sentence."""
    seconds, total = goodput.seconds, goodput.total
    kinds = table(
        f"{goodput_lib.duration(total)} in all",
        {
            KINDS[kind]: f"{goodput_lib.duration(seconds[kind])}, "
            f"{seconds[kind] / total if total else 0:.1%}"
            for kind in KINDS
            if seconds[kind]
        },
        (KINDS["training"],),
    )
    sessions = table(
        "Sessions",
        {
            f"Session {each.number}, steps {each.first_step:,} to "
            f"{each.last_step:,}": (
                f"{each.end or 'killed, or still running'} after "
                f"{goodput_lib.duration(each.total)}: "
                f"{goodput_lib.listing(each.seconds, 0)}"
            )
            for each in goodput.sessions
        },
    )
    killed = goodput.killed
    return {
        "share": f"{goodput.share:.0%}",
        "tail": killed and goodput_lib.unknown_tail(killed),
        "tables": [kinds, sessions],
    }
