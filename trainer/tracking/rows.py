"""The rows of metrics.jsonl: one for each split and step."""

import collections
import json

from trainer import stored
from trainer.errors import JobDirError

# A row has a few hundred.
_LINE_BYTES = 2**16
_LOSSES = ("total_loss", "reconstruction_loss", "kl_loss")
_OTHER_NUMBERS = (
    "kl_weight",
    "learning_rate",
    "images_per_second",
    "active_units",
    "active_directions",
    "dead_units",
    "kl_group_1",
    "kl_group_2",
    "kl_group_3",
)


def read_rows(path):
    """Returns the rows of a `metrics.jsonl`, without a torn last line.

    Raises:
        JobDirError: a line before the last one is not a row.
    """
    rows = []
    try:
        with stored.open_file(path) as file:
            while line := file.readline(_LINE_BYTES):
                if not line.endswith(b"\n") and len(line) < _LINE_BYTES:
                    break  # A row ends with a newline: this one is torn.
                rows.append(_row(line, f"{path}, line {len(rows) + 1}"))
    except FileNotFoundError:
        return []
    except stored.UnreadableError as error:
        raise JobDirError(
            f"{path} {error}; restore it, or start anew in another --job_dir."
        ) from error
    return rows


def _row(line, place):
    """Returns the row of a line."""
    try:
        row = stored.parse_json(line)
    except stored.UnreadableError as error:
        raise _no_row(place, error) from error
    if not isinstance(row, dict):
        raise _no_row(place, "is no object")
    # Of a name that this version does not know, a text may be the value.
    numbers = [
        name
        for name, value in row.items()
        if name in _OTHER_NUMBERS or not isinstance(value, str)
    ]
    expected = ["step", "epoch", *_LOSSES]
    if not isinstance(row.get("split"), str):
        raise _no_row(place, "has no split")
    if row["split"] != "train":
        expected.append("active_units")
    for name in [*expected, *numbers]:
        if not stored.is_number(row.get(name)):
            raise _no_row(place, f"has no number for {name!a}")
    for name in ("step", "epoch"):
        if not stored.is_count(row[name], least=1):
            raise _no_row(place, f"has no {name} from 1")
    return row


def _no_row(place, reason):
    return JobDirError(
        f"{place}, is not a row of metrics: it {reason}; remove or repair that "
        "line."
    )


def rows_until(rows, step, redo):
    """Returns the rows that belong to the checkpoint of a step.

    Args:
        rows: list of dicts, as in `metrics.jsonl`.
        step: the step of the checkpoint.
        redo: whether that step's evaluation is still due.
    """
    last_evaluated = last_held_out_step(step, redo)
    return [
        row
        for row in rows
        if row["step"] <= (step if row["split"] == "train" else last_evaluated)
    ]


def last_held_out_step(step, redo):
    """Returns the last step whose evaluation belongs to a checkpoint."""
    return step - 1 if redo else step


def count_rows(rows):
    """Returns how many rows there are of each split, a dict."""
    return dict(sorted(collections.Counter(r["split"] for r in rows).items()))


def check_rows(job, checkpoint, evaluated_steps):
    """Refuses to go on without the rows that a checkpoint was saved after.

    Args:
        job: a claimed `JobDir`.
        checkpoint: the `Checkpoint` that the job goes on from.
        evaluated_steps: those up to its step whose checkpoints have a test
            loss. That much is known where an earlier version has saved them.

    Raises:
        JobDirError: a row is missing, or not in its place.
    """
    rows = rows_until(
        read_rows(job.metrics_path), checkpoint.step, bool(checkpoint.due)
    )
    if fault := _fault_of(rows, checkpoint, evaluated_steps):
        raise JobDirError(
            f"{job.location}/metrics.jsonl {fault}; restore it, or start anew "
            "in another --job_dir."
        )


def _fault_of(rows, checkpoint, evaluated_steps):
    """Returns what is wrong with the rows of a checkpoint, or None."""
    found, expected = count_rows(rows), checkpoint.rows
    if expected is not None and found != expected:
        splits = sorted(found.keys() | expected.keys())
        found, expected = (
            " and ".join(f"{counts.get(split, 0)} {split}" for split in splits)
            for counts in (found, expected)
        )
        return (
            f"holds {found} rows up to step {checkpoint.step}, but the "
            f"checkpoint of that step was saved after {expected} rows"
        )
    held_out = {row["step"] for row in rows if row["split"] != "train"}
    if checkpoint.due:
        held_out.add(checkpoint.step)  # That evaluation is done again.
    if missing := sorted(set(evaluated_steps) - held_out):
        return (
            f"holds no evaluation of step {missing[0]}, but the checkpoint of "
            "that step has one"
        )
    for split in found:
        steps = [row["step"] for row in rows if row["split"] == split]
        if steps != sorted(set(steps)):
            return f"does not have its {split} rows in order, each step once"
    return None


def row_text(row):
    """Returns a row as a line of the file."""
    return json.dumps(row) + "\n"
