"""What a job leaves behind at a step: rows, pictures, reports, checkpoints."""

import contextlib
import time

import tensorflow as tf

from trainer.data import classes
from trainer.evaluation.held_out import (
    collapse_message,
    has_collapsed,
    latent_phrase,
)
from trainer.job_dir import checkpoint as checkpoint_lib
from trainer.job_dir.checkpoint import Checkpoint
from trainer.job_dir.checkpoint_writer import CheckpointWriter
from trainer.model import (
    averages,
    objective,
    optimizer as optimizer_lib,
    priors,
)
from trainer.model.weights import variables_of
from trainer.pictures import catalogue, sheet
from trainer.tracking.rows import count_rows, rows_until
from trainer.tracking.summaries import Summaries

_SAMPLE_ROWS = 8


class Recorder:
    """Records the steps of a job in its directory. The chief alone has it.

    Args:
        job: a claimed `JobDir`.
        training: the `training.Training`.
        start: the `Checkpoint` that the job goes on from.
        console: a `Console`.
        report_trial: called with each row of an evaluation.
        ledger: the `Ledger` of the session.
        exporter: the `Exporter`, which gets what is recorded.

    Attributes:
        profile_folder: `pathlib.Path`, where TensorBoard finds a profile.
    """

    def __init__(
        self, job, training, start, console, report_trial, ledger, exporter
    ):
        self._job = job
        self._config = training.config
        self._schedule = training.schedule
        self._vae = training.vae
        exact = training.vae.prior.kl_is_exact
        # Rows have always had the exact one, and need not say so.
        self._kl_note = (
            {} if exact else {"kl": priors.description(training.vae.prior)}
        )
        self._optimizer = training.optimizer
        self._held_out = training.data.held_out
        self._images = training.data.held_out_images
        self._labels = classes.given(
            training.config, training.data.held_out_labels
        )
        self._class_names = classes.names(training.config, training.data)
        self._console = console
        self._report_trial = report_trial
        self._ledger = ledger
        self._exporter = exporter
        exporter.epoch_of = self._schedule.epoch_of
        exporter.goodput = ledger.now
        self.profile_folder = job.train_logs
        self._open_files = contextlib.ExitStack()
        self._summaries = self._open_files.enter_context(
            contextlib.closing(
                Summaries(
                    job,
                    start.step,
                    bool(start.due),
                    self._held_out,
                    console=console,
                )
            )
        )
        self._writer = self._open_files.enter_context(
            contextlib.closing(
                CheckpointWriter(job, self._config.keep_checkpoints)
            )
        )

    @property
    def rows(self):
        """All rows of metrics up to now."""
        return self._summaries.rows

    @property
    def blocked_seconds(self):
        """How long checkpoints kept the training thread waiting."""
        return self._writer.blocked_seconds

    def write_row(self, moment):
        """Records the losses of a training step, a `loop.Moment`."""
        config, step = self._config, moment.step
        kl_weight = objective.kl_weight(
            tf.constant(step), self._warmup_steps(), config.beta
        )
        row = {
            "step": step,
            "epoch": self._schedule.epoch_of(step),
            "split": "train",
            **moment.losses,
            "kl_weight": float(kl_weight),
            "learning_rate": optimizer_lib.learning_rate_at(
                step, config, self._schedule
            ),
            "images_per_second": moment.images_per_second,
            **self._kl_note,
        }
        self._summaries.write_row(row)
        self._exporter.rows["train"] = row

    def write_evaluation(self, moment, evaluation):
        """Records an `Evaluation`, says how it went, and judges it.

        Args:
            moment: a `loop.Moment`, which gets its `held_out_loss` and
                `is_best`.
            evaluation: an `Evaluation`.
        """
        row = {
            "step": moment.step,
            "epoch": self._schedule.epoch_of(moment.step),
            "split": self._held_out,
            **evaluation.metrics,
            **self._kl_note,
            **({"weights": "average"} if self._config.ema else {}),
        }
        self._summaries.write_row(row)
        self._exporter.rows[self._held_out] = row
        if evaluation.kl_of_units is not None:
            self._summaries.write_kl(row, evaluation.kl_of_units)
        self._report_trial(row)
        self._say(row, evaluation.dead_layers)
        losses = [
            row["total_loss"] for row in self.rows if row["split"] != "train"
        ]
        moment.held_out_loss = row["total_loss"]
        moment.is_best = row["total_loss"] <= min(losses)

    def draw(self, moment):
        """Records the pictures of a `loop.Moment` for TensorBoard."""
        with averages.in_place(self._vae, self._optimizer):
            self._draw(moment)

    def _draw(self, moment):
        held_out = self._vae, self._images, self._labels, self._held_out
        for name, picture in {
            "reconstructions": catalogue.reconstructions(*held_out),
            "samples": catalogue.generated(
                self._vae,
                _SAMPLE_ROWS,
                self._config.seed,
                class_names=self._class_names,
            ),
            "traversals": catalogue.traversals(*held_out),
        }.items():
            drawn = sheet.draw(picture)
            self._summaries.write_picture(moment.step, name, drawn)

    def save(self, moment):
        """Saves a checkpoint of a `loop.Moment`, in the background."""
        started = time.monotonic()
        checkpoint = Checkpoint(
            step=moment.step,
            due=moment.due,
            test_loss=moment.held_out_loss,
            variables=checkpoint_lib.snapshot(
                variables_of(self._vae, self._optimizer)
            ),
            rows=count_rows(
                rows_until(self.rows, moment.step, bool(moment.due))
            ),
        )
        self._writer.blocked_seconds += time.monotonic() - started
        # Whatever the rows say is on the disk before the checkpoint is.
        self._writer.save(checkpoint, before=self._sync)
        self._exporter.saved = time.monotonic()

    def wait(self):
        """Waits until everything is on the disk; raises what went wrong."""
        self._writer.wait()
        self._summaries.check()

    def check(self):
        """Raises what keeps the record from being written or published."""
        self._writer.check()
        self._summaries.check()
        self._job.check()
        self._ledger.check()

    def close(self):
        """Closes all files."""
        self._open_files.close()

    def _sync(self):
        self._summaries.sync()
        self._ledger.write()

    def _say(self, row, dead_layers):
        config, step = self._config, row["step"]
        self._console.line(
            f"Epoch {row['epoch']}, step {step}: {row['split']} loss "
            f"{row['total_loss']:.2f} = reconstruction "
            f"{row['reconstruction_loss']:.2f} + {config.beta:g} x KL "
            f"{row['kl_loss']:.2f}{' (estimate)' if self._kl_note else ''}; "
            f"{latent_phrase(row, config.latent_dim)}"
        )
        if step > self._warmup_steps() and has_collapsed(
            row, config.latent_dim
        ):
            self._console.warning(collapse_message(row, config, dead_layers))

    def _warmup_steps(self):
        return self._config.kl_warmup_epochs * self._schedule.steps_per_epoch
