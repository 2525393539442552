"""What a search says: a line for each trial, and a table at its end."""

import shlex

from trainer.comparison.formats import printable
from trainer.search import space
from trainer.tracking.goodput import duration

_NOTHING = "-"
_GAP = "  "
_DIGITS = 4


def note(trial):
    """Returns what to say of a trial that runs, a str."""
    if not trial.losses:
        return f"trial {trial.number}"
    epoch, loss = trial.losses[-1]
    return f"trial {trial.number}, epoch {epoch}: {trial.split} loss {loss:.2f}"


def line(trial, count):
    """Returns the line of a trial that is over.

    Args:
        trial: a `Trial`.
        count: int, trials in all.
    """
    values = ", ".join(
        f"{name}={_short(value)}" for name, value in trial.parameters.items()
    )
    parts = [f"Trial {trial.number} of {count}: {values}"]
    if trial.best:
        epoch, loss = trial.best
        parts.append(f"best {trial.split} loss {loss:.2f} at epoch {epoch}")
    if trial.seconds is not None:
        parts.append(duration(trial.seconds))
    parts.append(trial.state)
    if trial.state == "failed":
        parts.append(trial.failure)
    return printable("; ".join(parts))


def best(trials):
    """Returns the finished trial with the least loss; None without any."""
    finished = [
        trial for trial in trials if trial.state == "finished" and trial.best
    ]
    return min(finished, key=lambda trial: trial.best[1], default=None)


def end(study, trials):
    """Yields the lines that end a search.

    Args:
        study: a `Study`.
        trials: list of `Trial`, those that are over.
    """
    yield ""
    yield from _table(study.definition.parameters, trials)
    chosen = best(trials)
    if chosen is None:
        return
    epoch, loss = chosen.best
    yield ""
    yield (
        f"Best: trial {chosen.number}, {chosen.split} loss {loss:.2f} at epoch "
        f"{epoch}. Its model is in {chosen.folder}; this trains it anew:"
    )
    yield command(study, chosen)
    if chosen.split == "test":
        yield (
            "The choice was made on the test set, so its loss there is too "
            "good: with --validation_share=0.1 after -- the choice is made on "
            "training images that are held out."
        )
    yield f"Beside each other: vae-compare '{study.root}/trials/*'"


def command(study, trial):
    """Returns the command line that trains a trial anew.

    Args:
        study: a `Study`.
        trial: a `Trial` of it.
    """
    words = [
        "vae-train",
        f"--job_dir={study.root}-best",
        *study.definition.flags,
        *space.flags_of(trial.parameters),
    ]
    return shlex.join(words)


def _table(parameters, trials):
    """Yields the lines of a table of trials, the best first."""
    names = [parameter.name for parameter in parameters]
    split = next((trial.split for trial in trials if trial.split), "held-out")
    rows = [["trial", *names, f"best {split} loss", "epoch", "time", "state"]]
    for trial in sorted(trials, key=_rank):
        epoch, loss = trial.best or (None, None)
        rows.append(
            [
                str(trial.number),
                *(_short(trial.parameters[name]) for name in names),
                _NOTHING if loss is None else f"{loss:.2f}",
                _NOTHING if epoch is None else str(epoch),
                _NOTHING if trial.seconds is None else duration(trial.seconds),
                trial.state,
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        # The state, which is a word, stands at the left.
        cells = [
            cell.rjust(width)
            for cell, width in zip(row[:-1], widths[:-1], strict=True)
        ]
        yield _GAP.join([*cells, row[-1]])


def _rank(trial):
    if trial.best is None or trial.state == "failed":
        return (1, 0, trial.number)
    return (0, trial.best[1], trial.number)


def _short(value):
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return str(value)
