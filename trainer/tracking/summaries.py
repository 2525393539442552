"""What a training writes at its steps: rows, and curves in TensorBoard."""

from trainer import files
from trainer.pictures import charts
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
    "kl_weight": "training",
    "learning_rate": "training",
    "images_per_second": "training",
}
_PICTURES = "pictures"
_KL_INCHES = (4, 2.4)


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
                self._path, "".join(map(row_text, rows)).encode()
            )
        self.rows = rows
        self._held_out = held_out
        self._metrics = open(self._path, "a", encoding="utf-8")
        self._events = {
            "train": EventWriter(job.train_logs, step + 1),
            held_out: EventWriter(
                job.logs / held_out, last_held_out_step(step, redo) + 1
            ),
        }

    def write_row(self, row):
        """Writes a row of metrics: a dict with `step`, `epoch`, `split`."""
        self._metrics.write(row_text(row))
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
