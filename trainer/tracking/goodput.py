"""How much of a job's time made progress: what `goodput.json` says of it."""

import dataclasses

from trainer import stored
from trainer.tracking.clock import KINDS

# When it is written again: after this share of the session's seconds, so that
# a kill loses no more of them, within these limits.
_WRITE_SHARE = 0.01
_LEAST_WRITE_SECONDS, _MOST_WRITE_SECONDS = 0.1, 10.0
FORMAT = 1
ENDS = ("finished", "interrupted", "failed")
# Of all seconds: less is not worth a word.
_LEAST_SHOWN = 0.005
# A session of a thousand years is none.
_MOST_SECONDS = 1000 * 366 * 86400


@dataclasses.dataclass(frozen=True)
class SessionTime:
    """What is known of a session's time.

    Attributes:
        number: int, which of the sessions in `config.json` it is, from 1.
        started: str, ISO 8601 time at which it was first written down.
        first_step: int, the step that it went on from.
        last_step: int, the last step that it is known to have done.
        end: str, one of `ENDS`; None for one that was killed, or still runs.
        seconds: dict of float by each of `clock.KINDS`.
    """

    number: int
    started: str
    first_step: int
    last_step: int
    end: str | None
    seconds: dict

    @property
    def total(self):
        """Its seconds of all kinds."""
        return sum(self.seconds.values())


@dataclasses.dataclass(frozen=True)
class Goodput:
    """The time of a job: its sessions, in their order; at least one."""

    sessions: tuple

    @property
    def seconds(self):
        """A dict of seconds by kind, of all sessions together."""
        return {
            kind: sum(session.seconds[kind] for session in self.sessions)
            for kind in KINDS
        }

    @property
    def total(self):
        """Seconds, of all kinds and sessions together."""
        return sum(session.total for session in self.sessions)

    @property
    def share(self):
        """The part of all seconds that made progress, from 0 to 1."""
        return self.seconds["training"] / self.total if self.total else 0.0

    @property
    def killed(self):
        """How many sessions were killed; the last one may still run."""
        return sum(session.end is None for session in self.sessions[:-1])

    def sentence(self):
        """Returns in plain words how the time was spent."""
        seconds, count = self.seconds, len(self.sessions)
        lost = {k: v for k, v in seconds.items() if k != "training"}
        listed = listing(lost, _LEAST_SHOWN * self.total)
        text = (
            f"Goodput {self.share:.0%}: {duration(seconds['training'])} of "
            f"{duration(self.total)}"
            + (f" in {count} sessions" if count > 1 else "")
            + f" went into steps that count; the rest: {listed or 'nothing'}."
        )
        if self.killed:
            text += f" {unknown_tail(self.killed)}"
        return text


def write_seconds(age):
    """Returns after how many seconds a session is to be written down again.

    Args:
        age: float, for how many seconds the session has run.
    """
    wanted = max(_WRITE_SHARE * age, _LEAST_WRITE_SECONDS)
    return min(wanted, _MOST_WRITE_SECONDS)


def unknown_tail(killed):
    """Returns the sentence on what is not known of killed sessions."""
    return (
        f"{killed} session{'s were' if killed > 1 else ' was'} killed, and "
        f"the last {_WRITE_SHARE:.0%} of such a session "
        f"({_MOST_WRITE_SECONDS:.0f} s at most; in a bucket, what had not been "
        "sent) is not counted."
    )


def listing(seconds, least):
    """Returns seconds by kind as people read them, the most first.

    Args:
        seconds: dict of float by `clock.KINDS`.
        least: float, seconds below which a kind is left out.
    """
    shown = sorted(seconds, key=seconds.get, reverse=True)
    return ", ".join(
        f"{KINDS[kind]} {duration(seconds[kind])}"
        for kind in shown
        if seconds[kind] > least
    )


def duration(seconds):
    """Returns a time as people read it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def read(path):
    """Returns the `Goodput` of a file; None if there is none.

    Args:
        path: `pathlib.Path` of `goodput.json`. Earlier versions wrote none.

    Raises:
        stored.UnreadableError: it is not what `Ledger` wrote.
        OSError: it could not be looked at.
    """
    try:
        content = stored.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise stored.UnreadableError(f'has no "format" {FORMAT}')
    sessions = content.get("sessions")
    if not isinstance(sessions, list) or not sessions:
        raise stored.UnreadableError("has no sessions")
    return Goodput(tuple(map(_session, sessions)))


def _session(value):
    names = {field.name for field in dataclasses.fields(SessionTime)}
    if not isinstance(value, dict) or value.keys() != names:
        raise stored.UnreadableError("has a session without its parts")
    seconds = value["seconds"]
    if (
        not all(
            stored.is_count(value[name])
            for name in ("number", "first_step", "last_step")
        )
        or value["end"] not in (None, *ENDS)
        or not stored.is_time(value["started"])
        or not isinstance(seconds, dict)
        or seconds.keys() != KINDS.keys()
        # Neither NaN nor infinity is in a range.
        or not all(
            stored.is_number(each) and 0 <= each <= _MOST_SECONDS
            for each in seconds.values()
        )
    ):
        raise stored.UnreadableError("has a session that cannot have been")
    return SessionTime(**value)
