"""What a training writes at its steps: rows, and curves in TensorBoard."""

import os
import threading

from trainer import files
from trainer.errors import JobDirError
from trainer.pictures import charts, kl_chart, sheet
from trainer.tracking.rows import (
    last_held_out_step,
    read_rows,
    row_text,
    rows_until,
)
from trainer.tracking.tensorboard import EventWriter

# The curves of a row, with their groups: TensorBoard opens the first two groups
# of the alphabet, which are the losses and the pictures.
CURVES = {
    "total_loss": "losses",
    "reconstruction_loss": "losses",
    "kl_loss": "losses",
    "active_units": "posterior",
    "active_directions": "posterior",
    "dead_units": "posterior",
    "kl_weight": "training",
    "learning_rate": "training",
    "images_per_second": "training",
}
# Of a model with several groups of latent units.
GROUP_CURVES = {f"kl_group_{number}": "posterior" for number in (1, 2, 3)}
_ALL_CURVES = CURVES | GROUP_CURVES
_PICTURES = "pictures"
# Of what somebody deletes as often as it is written.
_TRIES = 10


class Summaries:
    """Writes `metrics.jsonl` and TensorBoard's events; the chief alone has it.

    On a resume, rows after the checkpoint are dropped first: their steps
    will be passed again. What is deleted while the job runs is written again,
    as far as it is known.

    Args:
        job: a claimed `JobDir`.
        step: the step of the checkpoint that the job goes on from, or 0.
        redo: whether that step's evaluation is still due.
        held_out: the split that the model is evaluated on.
        console: a `Console`, for what is written again.
    """

    def __init__(self, job, step, redo=False, held_out="test", *, console):
        self._job = job
        self._path = job.metrics_path
        self._console = console
        self._held_out = held_out
        rows = rows_until(read_rows(self._path), step, redo)
        if self._path.exists():
            self._rewrite(rows)
        self.rows = rows
        # A checkpoint is saved on a thread of its own, and syncs all this.
        self._lock = threading.Lock()
        self._fault = None
        self._metrics = self._open_metrics()
        self._first_steps = {
            "train": step + 1,
            held_out: last_held_out_step(step, redo) + 1,
        }
        self._events = {
            split: EventWriter(job.logs / split, first_step)
            for split, first_step in self._first_steps.items()
        }

    def write_row(self, row):
        """Writes a row of metrics: a dict with `step`, `epoch`, `split`."""
        with self._lock:
            self._metrics.write(row_text(row))
            self._metrics.flush()
            self.rows.append(row)
            self._write_scalars(row, self._events[row["split"]])

    def write_kl(self, row, kl_of_units):
        """Writes how the KL is shared out among the latent units.

        Args:
            row: the row of the evaluation.
            kl_of_units: float array of shape (latent_dim,), in nats.
        """
        step, nats, units = row["step"], kl_of_units.sum(), len(kl_of_units)
        figure = kl_chart.draw(
            kl_of_units, charts.PAPER, of=f"the {row['split']} set"
        )
        drawn = sheet.frame(
            charts.to_pixels(figure),
            f"{nats:.2f} nats in {units:,} latent units",
            f"{kl_chart.share_out(kl_of_units).sentence()}.",
        )
        with self._lock:
            events = self._events[row["split"]]
            events.histogram(step, "posterior/kl_of_units", kl_of_units)
            events.image(step, f"{_PICTURES}/kl_of_units", drawn)

    def write_picture(self, step, name, drawn):
        """Writes a picture, a `sheet.Drawn`."""
        with self._lock:
            self._events[self._held_out].image(
                step, f"{_PICTURES}/{name}", drawn
            )

    def sync(self):
        """Makes what was written survive a power cut; from any thread.

        What somebody has deleted is written again first. Without its rows a
        checkpoint could not be gone on from, so that those must succeed; of
        curves that cannot be written, `check` tells once it is saved.

        Raises:
            JobDirError: the job directory is gone.
            OSError: the rows cannot be written.
        """
        for _ in range(_TRIES):
            try:
                with self._lock:
                    paths = [self._mend_rows(), *self._mend_curves()]
                for path in paths:
                    files.sync(path)
            except FileNotFoundError:
                continue  # Deleted at this very moment.
            return
        raise JobDirError(
            f"{self._path} and its event files are deleted as often as they "
            "are written; end what does that, and run the same command again."
        )

    def check(self):
        """Raises what keeps the curves from being written.

        Raises:
            JobDirError: they were deleted, and cannot be made again.
        """
        if self._fault is not None:
            raise self._fault

    def close(self):
        """Closes all files."""
        self._metrics.close()
        for writer in self._events.values():
            writer.close()

    def _write_scalars(self, row, events):
        events.scalars(
            row["step"],
            {
                curve_tag(name): value
                for name, value in row.items()
                if name in _ALL_CURVES
                # At an evaluation the KL has its full weight, always.
                and (row["split"] == "train" or _ALL_CURVES[name] != "training")
            },
        )

    def _open_metrics(self):
        return open(self._path, "a", encoding="utf-8")

    def _rewrite(self, rows):
        files.write_atomically(
            self._path, "".join(map(row_text, rows)).encode()
        )

    def _mend_rows(self):
        """Returns the path of the rows, all of which are there."""
        self._job.check_held()
        if not _is_at(self._metrics.fileno(), self._path):
            self._rewrite(self.rows)
            self._metrics.close()
            self._metrics = self._open_metrics()
            self._console.warning(
                f"{self._path} was deleted or replaced while the job ran; all "
                f"its {len(self.rows)} rows are written again."
            )
        return self._path

    def _mend_curves(self):
        """Returns the paths of the event files that are there."""
        for split, writer in self._events.items():
            if _is_at(writer.fileno(), writer.path):
                continue
            try:
                self._events[split] = self._new_events(split)
            except OSError as error:
                self._fault = self._fault or JobDirError(
                    f"The event files in {writer.path.parent} were deleted "
                    f"while the job ran, and cannot be made again "
                    f"({error.strerror}); the checkpoint is saved. Restore "
                    "that folder, and run the same command again."
                )
                continue
            writer.close()
            self._console.warning(
                f"The event files in {writer.path.parent} were deleted while "
                "the job ran; the curves are written again, without earlier "
                "pictures and histograms."
            )
        return [
            writer.path
            for writer in self._events.values()
            if _is_at(writer.fileno(), writer.path)
        ]

    def _new_events(self, split):
        """Returns an event file with the curves that no other file has."""
        folder = self._job.logs / split
        # Those of earlier sessions have the steps before this one.
        has_others = any(folder.glob("events.out.tfevents.*"))
        first_step = self._first_steps[split] if has_others else 1
        events = EventWriter(folder, first_step)
        for row in self.rows:
            if row["split"] == split and row["step"] >= first_step:
                self._write_scalars(row, events)
        return events


def curve_tag(name):
    """Returns how TensorBoard calls the curve of a field of the rows."""
    return f"{_ALL_CURVES[name]}/{name}"


def _is_at(descriptor, path):
    """Whether an open file is the one that a path leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
