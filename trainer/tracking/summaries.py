"""TensorBoard events and metrics.jsonl."""

import collections
import json
import re
import socket
import time

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from trainer import files
from trainer.errors import JobDirError
from trainer.pictures import charts, png

_EVENT_FILE = re.compile(r"events\.out\.tfevents\.(\d+)\.")
# The curves of a row, with their groups: TensorBoard opens the first two groups
# of the alphabet, which are the losses and the pictures.
CURVES = {
    "total_loss": "losses",
    "reconstruction_loss": "losses",
    "kl_loss": "losses",
    "active_units": "posterior",
    "kl_weight": "training",
    "learning_rate": "training",
    "images_per_second": "training",
}
_PICTURES = "pictures"
_KL_INCHES = (4, 2.4)


class EventWriter:
    """Writes one TensorBoard event file.

    The file starts with a session-start event, so that TensorBoard drops
    what an earlier, interrupted session logged from that step on.

    Args:
        folder: where TensorBoard looks.
        first_step: the first step that this session will log.
    """

    def __init__(self, folder, first_step):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = next_event_file(folder, socket.gethostname())
        # A Python file, so that a full disk is an OSError like any other.
        self._file = open(self.path, "xb")
        self._writer = RecordWriter(self._file)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        self._write(
            event_pb2.Event(
                step=first_step,
                session_log=event_pb2.SessionLog(
                    status=event_pb2.SessionLog.START
                ),
            )
        )

    def scalars(self, step, values):
        """Writes a dict of floats by tag."""
        summary = summary_pb2.Summary()
        for tag, value in values.items():
            summary.MergeFrom(scalar_pb(tag, value))
        self._write(event_pb2.Event(step=step, summary=summary))

    def histogram(self, step, tag, values):
        """Writes how the values of an array are distributed."""
        summary = histogram_pb(tag, values)
        self._write(event_pb2.Event(step=step, summary=summary))

    def image(self, step, tag, pixels):
        """Writes a picture, uint8 of shape (height, width, channels)."""
        height, width = (str(side).encode() for side in pixels.shape[:2])
        content = np.array([width, height, png.encode(pixels)], dtype=object)
        summary = summary_pb2.Summary()
        summary.value.add(
            tag=tag,
            metadata=image_metadata.create_summary_metadata(
                display_name="", description=""
            ),
            tensor=tensor_util.make_tensor_proto(content, dtype=tf.string),
        )
        self._write(event_pb2.Event(step=step, summary=summary))

    def close(self):
        """Closes the file."""
        self._file.close()

    def _write(self, event):
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._file.flush()  # TensorBoard shows it now.


def next_event_file(folder, name):
    """Returns the path of an event file that TensorBoard reads last.

    Args:
        folder: where TensorBoard looks; it must be there.
        name: what the file's name ends with.
    """
    # TensorBoard reads the files of a folder in the order of their names.
    # A clock may have been set back; a name must not go back with it.
    numbers = [
        int(match[1])
        for path in folder.iterdir()
        if (match := _EVENT_FILE.match(path.name))
    ]
    number = max([int(time.time()), *(last + 1 for last in numbers)])
    return event_file(folder, number, name)


def event_file(folder, number, name):
    """Returns the path of the event file of a number."""
    return folder / f"events.out.tfevents.{number:010d}.{name}"


class Summaries:
    """Writes `metrics.jsonl` and TensorBoard's events; the chief alone has it.

    On a resume, rows after the checkpoint are dropped first: their steps
    will be passed again.

    Args:
        job: a claimed `JobDir`.
        step: the step of the checkpoint that the job goes on from, or 0.
        redo: whether that step's evaluation is still due.
        held_out: the split that the model is evaluated on.
    """

    def __init__(self, job, step, redo=False, held_out="test"):
        self._path = job.metrics_path
        rows = rows_until(read_rows(self._path), step, redo)
        if self._path.exists():
            files.write_atomically(
                self._path, "".join(map(_row_text, rows)).encode()
            )
        self.rows = rows
        self._held_out = held_out
        self._metrics = open(self._path, "a", encoding="utf-8")
        self._events = {
            "train": EventWriter(job.train_logs, step + 1),
            held_out: EventWriter(
                job.logs / held_out, _last_held_out_step(step, redo) + 1
            ),
        }

    def write_row(self, row):
        """Writes a row of metrics: a dict with `step`, `epoch`, `split`."""
        self._metrics.write(_row_text(row))
        self._metrics.flush()
        self.rows.append(row)
        self._events[row["split"]].scalars(
            row["step"],
            {
                curve_tag(name): value
                for name, value in row.items()
                if name in CURVES
                # At an evaluation the KL has its full weight, always.
                and (row["split"] == "train" or CURVES[name] != "training")
            },
        )

    def write_kl(self, row, kl_of_units):
        """Writes how the KL is shared out among the latent units.

        Args:
            row: the row of the evaluation.
            kl_of_units: float array of shape (latent_dim,), in nats.
        """
        events, step = self._events[row["split"]], row["step"]
        events.histogram(step, "posterior/kl_of_units", kl_of_units)
        nats, units = kl_of_units.sum(), len(kl_of_units)
        figure = charts.kl_of_units(
            kl_of_units,
            charts.PAPER,
            _KL_INCHES,
            title=f"{nats:.2f} nats in {units} latent units",
        )
        events.image(step, f"{_PICTURES}/kl_of_units", charts.to_pixels(figure))

    def write_picture(self, step, name, pixels):
        """Writes a picture, uint8 of shape (height, width, channels)."""
        self._events[self._held_out].image(step, f"{_PICTURES}/{name}", pixels)

    def sync(self):
        """Makes what was written survive a power cut; from any thread."""
        for path in (self._path, *(w.path for w in self._events.values())):
            files.sync(path)

    def close(self):
        """Closes all files."""
        self._metrics.close()
        for writer in self._events.values():
            writer.close()


def curve_tag(name):
    """Returns how TensorBoard calls the curve of a field of the rows."""
    return f"{CURVES[name]}/{name}"


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
    last_held_out_step = _last_held_out_step(step, redo)
    return [
        row
        for row in rows
        if row["step"]
        <= (step if row["split"] == "train" else last_held_out_step)
    ]


def _last_held_out_step(step, redo):
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


def _row_text(row):
    return json.dumps(row) + "\n"
