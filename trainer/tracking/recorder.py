"""What a job leaves behind at a step: rows, pictures, reports, checkpoints."""

import contextlib
import time

import tensorflow as tf

from trainer.evaluation.held_out import collapse_message, has_collapsed
from trainer.job_dir import checkpoint as checkpoint_lib
from trainer.job_dir.checkpoint import Checkpoint
from trainer.job_dir.checkpoint_writer import CheckpointWriter
from trainer.model import objective, optimizer as optimizer_lib
from trainer.model.weights import variables_of
from trainer.pictures import drawing
from trainer.tracking.summaries import Summaries, count_rows, rows_until

_SAMPLE_ROWS = 8


class Recorder:
    """Records the steps of a job in its directory. The chief alone has it.

    Args:
        job: a claimed `JobDir`.
        config: a `TrainConfig`.
        schedule: an `input_pipeline.Schedule`.
        vae: the `VAE` in training.
        optimizer: its built Keras optimizer.
        held_out: the split that the model is evaluated on.
        images: its images, uint8 array of shape (M, height, width, 1).
        console: a `progress.Console`.
        report_trial: called with each test row.
        start: the `Checkpoint` that the job goes on from.
    """

    def __init__(
        self,
        *,
        job,
        config,
        schedule,
        vae,
        optimizer,
        held_out,
        images,
        console,
        report_trial,
        start,
    ):
        self._job = job
        self._config = config
        self._schedule = schedule
        self._vae = vae
        self._optimizer = optimizer
        self._held_out = held_out
        self._images = images
        self._console = console
        self._report_trial = report_trial
        self._open_files = contextlib.ExitStack()
        self._summaries = self._open_files.enter_context(
            contextlib.closing(
                Summaries(job, start.step, bool(start.due), held_out)
            )
        )
        self._writer = self._open_files.enter_context(
            contextlib.closing(CheckpointWriter(job, config.keep_checkpoints))
        )

    @property
    def rows(self):
        """All rows of metrics up to now."""
        return self._summaries.rows

    @property
    def blocked_seconds(self):
        """How long checkpoints kept the training thread waiting."""
        return self._writer.blocked_seconds

    def train_row(self, step, losses, images_per_second):
        """Records the losses of a training step."""
        config = self._config
        kl_weight = objective.kl_weight(
            tf.constant(step), self._warmup_steps(), config.beta
        )
        self._summaries.write_row(
            {
                "step": step,
                "epoch": self._epoch(step),
                "split": "train",
                **losses,
                "kl_weight": float(kl_weight),
                "learning_rate": optimizer_lib.learning_rate_at(
                    step, config, self._schedule
                ),
                "images_per_second": images_per_second,
            }
        )

    def test_row(self, step, evaluation):
        """Records an `Evaluation`, and says how it went.

        Returns:
            Whether the model has never been better.
        """
        row = {
            "step": step,
            "epoch": self._epoch(step),
            "split": self._held_out,
            **evaluation.metrics,
        }
        self._summaries.write_row(row)
        self._summaries.write_kl(row, evaluation.kl_of_units)
        self._report_trial(row)
        self._say(row)
        losses = [
            row["total_loss"] for row in self.rows if row["split"] != "train"
        ]
        return row["total_loss"] <= min(losses)

    def draw(self, step):
        """Records pictures for TensorBoard."""
        self._summaries.write_picture(
            step,
            "reconstructions",
            drawing.reconstruction_rows(self._vae, self._images),
        )
        self._summaries.write_picture(
            step,
            "samples",
            drawing.grid(
                self._vae,
                self._config.latent_dim,
                _SAMPLE_ROWS,
                self._config.seed,
            ),
        )
        self._summaries.write_picture(
            step,
            "traversals",
            drawing.traversal_rows(self._vae, self._images),
        )

    def save(self, step, due, test_loss):
        """Saves a checkpoint, in the background.

        Args:
            step: the step just done.
            due: names of its work that is not done yet.
            test_loss: its test total loss, or None.
        """
        started = time.monotonic()
        checkpoint = Checkpoint(
            step=step,
            due=due,
            test_loss=test_loss,
            variables=checkpoint_lib.snapshot(
                variables_of(self._vae, self._optimizer)
            ),
            rows=count_rows(rows_until(self.rows, step, bool(due))),
        )
        self._writer.blocked_seconds += time.monotonic() - started
        # Whatever the rows say is on the disk before the checkpoint is.
        self._writer.save(checkpoint, before=self._summaries.sync)

    def start_profile(self):
        """Starts a TensorBoard profile."""
        tf.profiler.experimental.start(str(self._job.train_logs))

    def stop_profile(self):
        """Ends and writes it."""
        tf.profiler.experimental.stop()

    def wait(self):
        """Waits until everything is on the disk; raises what went wrong."""
        self._writer.wait()

    def check(self):
        """Raises what keeps the record from being written or published."""
        self._writer.check()
        self._job.check()

    def close(self):
        """Closes all files."""
        self._open_files.close()

    def _say(self, row):
        config, step = self._config, row["step"]
        self._console.line(
            f"Epoch {row['epoch']}, step {step}: {row['split']} loss "
            f"{row['total_loss']:.2f} = reconstruction "
            f"{row['reconstruction_loss']:.2f} + {config.beta:g} x KL "
            f"{row['kl_loss']:.2f}; {row['active_units']} of "
            f"{config.latent_dim} latent units active"
        )
        if step > self._warmup_steps() and has_collapsed(
            row["active_units"], config.latent_dim
        ):
            self._console.warning(collapse_message(row, config))

    def _warmup_steps(self):
        return self._config.kl_warmup_epochs * self._schedule.steps_per_epoch

    def _epoch(self, step):
        return (step - 1) // self._schedule.steps_per_epoch + 1


class NoRecorder:
    """What the other workers have in place of a `Recorder`: they only train."""

    def train_row(self, step, losses, images_per_second):
        """Leaves it to the chief."""

    def test_row(self, step, evaluation):
        """Leaves it to the chief; whether to save is its business too."""
        return False

    def draw(self, step):
        """Leaves it to the chief."""

    def save(self, step, due, test_loss):
        """Leaves it to the chief."""

    def start_profile(self):
        """Leaves it to the chief."""

    def stop_profile(self):
        """Leaves it to the chief."""

    def wait(self):
        """Has nothing to wait for."""

    def check(self):
        """Has nothing that could fail."""
