"""The rows of metrics.jsonl: one for each split and step."""

import collections
import json

from trainer.errors import JobDirError


def read_rows(path):
    """Returns the rows of a `metrics.jsonl`, without a torn last line.

    Raises:
        JobDirError: a line before the last one is not a row.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    # A row ends with a newline, so the last piece is empty, or torn.
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            row["step"], row["split"]
        except (ValueError, KeyError, TypeError) as error:
            raise JobDirError(
                f"{path}, line {number}, is not a row of metrics; remove or "
                "repair that line."
            ) from error
        rows.append(row)
    return rows


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
