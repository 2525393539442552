"""train_and_evaluate(config): the loop, and the step inside it."""

import contextlib
import dataclasses
import time

import keras
import tensorflow as tf

from trainer import (
    checkpoint as checkpoint_lib,
    cluster as cluster_lib,
    datasets,
    export,
    input_pipeline,
    objective,
    pictures,
)
from trainer.checkpoint import Checkpoint
from trainer.checkpoint_writer import CheckpointWriter
from trainer.config import TrainConfig
from trainer.errors import (
    ConfigError,
    InterruptedJobError,
    JobDirError,
    NonFiniteError,
)
from trainer.evaluator import Evaluator, collapse_message, has_collapsed
from trainer.job_dir import JobDir, open_to_write, write_json
from trainer.model import VAE, build_vae
from trainer.pacing import CallPacer, Periods
from trainer.progress import Console
from trainer.stop_signal import StopSignal
from trainer.summaries import Summaries
from trainer.train_step import make_train_steps, weights_of

_SAMPLE_ROWS = 8


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out of a job.

    Attributes:
        step: the last step.
        test_metrics: the last test row, as in `metrics.jsonl`.
        collapsed: whether the posterior has collapsed.
        seconds: wall time of this session.
        checkpoint_blocked_seconds: of those, how long the training thread
            copied state and waited for an earlier checkpoint.
    """

    step: int
    test_metrics: dict
    collapsed: bool
    seconds: float
    checkpoint_blocked_seconds: float


def train_and_evaluate(config, *, stop=None, console=None):
    """Trains a VAE, or goes on with one, until it is finished.

    Args:
        config: a `TrainConfig`.
        stop: a `StopSignal`; None for one that never comes.
        console: a `progress.Console`; None for one on stdout.

    Returns:
        A `Result`; None when the job had finished before.

    Raises:
        TrainerError: see `trainer.errors` for the kinds and exit codes.
    """
    stop, console = stop or StopSignal(), console or Console()
    started = time.monotonic()
    with open_to_write(config, console, stop) as job:
        start = _find_start(job, config, console)
        if _is_finished(job, config, start):
            console.line(f"Finished: {job.location} is at step {start.step}.")
            return None
        console.line(
            f"Resuming {job.location} at step {start.step}."
            if start.step
            else f"New job in {job.location}."
        )
        cluster = cluster_lib.connect(config)
        stop.check()
        recorded_name = job.record()["data"]["name"] if job.exists else None
        data = datasets.load(config, console, stop, recorded_name=recorded_name)
        schedule = input_pipeline.Schedule.of(config, len(data.train_images))
        jit_compile = _resolve_jit(config, cluster)
        job.write_record(config, data, jit_compile, cluster)
        job.finished_path.unlink(missing_ok=True)
        job.start_publishing()
        stop.check()
        with cluster.strategy.scope():
            vae = build_vae(config, data.image_shape)
            # Keras would call a second one in a process "adam_1", and its
            # variables would not be found in a checkpoint.
            optimizer = keras.optimizers.Adam(config.learning_rate, name="adam")
            optimizer.build(weights_of(vae))
            if start.step:
                checkpoint_lib.assign(
                    checkpoint_lib.variables_of(vae, optimizer),
                    start.variables,
                    job.location,
                )
        console.line(
            f"Training on {len(data.train_images):,} images of {data.name} "
            f"with {cluster.describe()}, step {start.step} to "
            f"{schedule.total_steps}."
        )
        loop = _Loop(
            config=config,
            cluster=cluster,
            data=data,
            schedule=schedule,
            job=job,
            vae=vae,
            optimizer=optimizer,
            jit_compile=jit_compile,
            stop=stop,
            console=console,
        )
        rows, blocked_seconds = loop.run(start)
        return _finish(
            job,
            config,
            vae,
            data,
            rows,
            stop,
            console,
            started,
            blocked_seconds,
        )


def _find_start(job, config, console):
    """Returns the checkpoint to start from: of step 0 for a new job."""
    nothing = Checkpoint(step=0, due=(), test_loss=None, variables={})
    if config.resume == "never" and not job.is_empty():
        raise ConfigError(
            f"--resume=never, but {job.location} is not empty; give another "
            "--job_dir, or --resume=auto to go on with it."
        )
    if not job.exists:
        steps = checkpoint_lib.list_steps(job)
        if steps:
            raise JobDirError(
                f"{job.location} holds checkpoints of steps "
                f"{', '.join(map(str, steps))} but no config.json to say what "
                "they are of; restore it, or give another --job_dir."
            )
        if config.resume == "must":
            raise ConfigError(
                f"--resume=must, but {job.location} holds no job; check "
                "--job_dir, or use --resume=auto to start one."
            )
        return nothing
    job.check_settings(config)
    return checkpoint_lib.restore_newest(job, console) or nothing


def _is_finished(job, config, start):
    if not job.finished_path.exists():
        return False
    examples = job.record()["data"]["train_examples"]
    schedule = input_pipeline.Schedule.of(config, examples)
    return start.step >= schedule.total_steps and not start.due


def _resolve_jit(config, cluster):
    if config.jit_compile == "auto":
        return cluster.device_kind == "GPU" and config.free_bits == 0
    return config.jit_compile == "true"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Loop:
    """The training loop and what it works with."""

    config: TrainConfig
    cluster: cluster_lib.Cluster
    data: datasets.Dataset
    schedule: input_pipeline.Schedule
    job: JobDir
    vae: VAE
    optimizer: keras.optimizers.Optimizer
    jit_compile: bool
    stop: StopSignal
    console: Console

    def run(self, start):
        """Trains from a checkpoint to the last step.

        Returns:
            (rows, seconds): all rows of metrics, and how long checkpoints
            blocked this thread.
        """
        config, schedule, stop = self.config, self.schedule, self.stop
        periods = Periods(config, schedule)
        pacer = CallPacer(config.steps_per_call)
        meter = _SpeedMeter(config.batch_size)
        evaluator = Evaluator(
            self.vae, config, self.cluster.strategy, self.data.test_images
        )
        train_steps = make_train_steps(
            self.vae, self.optimizer, config, schedule, self.cluster.strategy,
            self.jit_compile,
        )  # fmt: skip
        batches = iter(
            input_pipeline.train_batches(
                self.data.train_images, config, schedule,
                self.cluster.strategy, start.step + 1,
            )
        )  # fmt: skip
        step, due = start.step, start.due
        with (
            contextlib.closing(
                Summaries(self.job, step, redo=bool(due))
            ) as summaries,
            contextlib.closing(
                CheckpointWriter(self.job, config.keep_checkpoints)
            ) as writer,
            self.console.image_bar(
                "Training",
                schedule.total_steps * config.batch_size,
                step * config.batch_size,
            ) as advance,
        ):
            while step < schedule.total_steps or due:
                if not due:
                    # Train: one call of several steps.
                    stop.check()
                    if periods.profile_starts(step):
                        tf.profiler.experimental.start(str(self.job.train_logs))
                    count = periods.next_end(step, pacer.steps) - step
                    losses, seconds = pacer.timed(
                        lambda count=count: train_steps(batches, count), count
                    )
                    _check_finite(losses, step + 1, step + count)
                    step += count
                    meter.add(count, seconds)
                    advance(
                        count * config.batch_size,
                        f"loss {losses['total_loss']:.2f}",
                    )
                    if periods.profile_ends(step):
                        tf.profiler.experimental.stop()

                    # Summarise: the losses of this very step.
                    if periods.summary(step):
                        summaries.write_row(
                            self._train_row(step, losses, meter.restart())
                        )
                    due = periods.evaluation_work(step)

                # Evaluate and draw, unless a signal comes in between.
                test_row = None
                try:
                    if "evaluation" in due:
                        test_row = self._evaluate(step, evaluator)
                        summaries.write_row(test_row)
                        self._report(test_row)
                    stop.check()
                    if "images" in due:
                        self._draw(step, summaries)
                    due = ()
                except InterruptedJobError:
                    pass  # What is still due goes into the checkpoint.

                # Save: whatever the rows say is on the disk before.
                is_best = test_row is not None and _is_best(
                    test_row, summaries.rows
                )
                if stop.requested or periods.checkpoint(step) or is_best:
                    self._save(step, due, test_row, summaries, writer)
                if stop.requested:
                    writer.wait()
                    raise InterruptedJobError(
                        stop.message(f"everything is saved at step {step}")
                    )
                writer.check()
                self.job.check()
            writer.wait()
            return summaries.rows, writer.blocked_seconds

    def _train_row(self, step, losses, images_per_second):
        kl_weight = objective.kl_weight(
            tf.constant(step), self._warmup_steps(), self.config.beta
        )
        return {
            "step": step,
            "epoch": self._epoch(step),
            "split": "train",
            **losses,
            "kl_weight": float(kl_weight),
            "learning_rate": self.config.learning_rate,
            "images_per_second": images_per_second,
        }

    def _evaluate(self, step, evaluator):
        with self.console.image_bar(
            "Evaluating", len(self.data.test_images)
        ) as advance:
            metrics = evaluator.run(self.stop, advance)
        return {
            "step": step, "epoch": self._epoch(step), "split": "test", **metrics
        }  # fmt: skip

    def _report(self, row):
        config, step = self.config, row["step"]
        self.console.line(
            f"Epoch {row['epoch']}, step {step}: test loss "
            f"{row['total_loss']:.2f} = reconstruction "
            f"{row['reconstruction_loss']:.2f} + {config.beta:g} x KL "
            f"{row['kl_loss']:.2f}; {row['active_units']} of "
            f"{config.latent_dim} latent units active"
        )
        if step > self._warmup_steps() and has_collapsed(
            row["active_units"], config.latent_dim
        ):
            self.console.warning(collapse_message(row, config))

    def _draw(self, step, summaries):
        summaries.write_picture(
            step,
            "reconstructions",
            pictures.reconstruction_rows(self.vae, self.data.test_images),
        )
        summaries.write_picture(
            step,
            "samples",
            pictures.grid(
                self.vae, self.config.latent_dim, _SAMPLE_ROWS, self.config.seed
            ),
        )

    def _save(self, step, due, test_row, summaries, writer):
        started = time.monotonic()
        checkpoint = Checkpoint(
            step=step,
            due=due,
            test_loss=test_row and test_row["total_loss"],
            variables=checkpoint_lib.snapshot(
                checkpoint_lib.variables_of(self.vae, self.optimizer)
            ),
        )
        writer.blocked_seconds += time.monotonic() - started
        writer.save(checkpoint, before=summaries.sync)

    def _warmup_steps(self):
        return self.config.kl_warmup_epochs * self.schedule.steps_per_epoch

    def _epoch(self, step):
        return (step - 1) // self.schedule.steps_per_epoch + 1


def _check_finite(losses, first_step, last_step):
    if not losses.pop("finite"):
        raise NonFiniteError(
            f"A loss became NaN or infinite between steps {first_step} and "
            f"{last_step}; the last checkpoint before is kept. Try a lower "
            "--learning_rate."
        )


def _is_best(test_row, rows):
    losses = [row["total_loss"] for row in rows if row["split"] == "test"]
    return test_row["total_loss"] <= min(losses)


def _finish(job, config, vae, data, rows, stop, console, started, blocked):
    console.line("Drawing the pictures.")
    pictures.save_plots(job, vae, config, data.test_images, rows, stop)
    stop.check()
    export.save_models(vae, job.export)
    test_rows = [row for row in rows if row["split"] == "test"]
    result = Result(
        step=test_rows[-1]["step"],
        test_metrics=test_rows[-1],
        collapsed=has_collapsed(
            test_rows[-1]["active_units"], config.latent_dim
        ),
        seconds=time.monotonic() - started,
        checkpoint_blocked_seconds=blocked,
    )
    write_json(job.finished_path, dataclasses.asdict(result))
    console.line(
        f"Finished at step {result.step} after {result.seconds:.0f} s. "
        f"Pictures: {job.location}/plots  Curves: tensorboard --logdir "
        f"{job.location}/logs"
    )
    return result


class _SpeedMeter:
    """Images per second of the training calls since the last row."""

    def __init__(self, batch_size):
        self._batch_size = batch_size
        self._steps, self._seconds = 0, 0.0
        self._traced = False

    def add(self, steps, seconds):
        if not self._traced:
            # The first call is mostly tracing; it counts only when the row
            # that follows has nothing else.
            self._traced = True
            self._first = (steps, seconds)
            return
        self._steps += steps
        self._seconds += seconds

    def restart(self):
        """Returns the speed since the last call of this function."""
        steps, seconds = (
            (self._steps, self._seconds) if self._steps else self._first
        )
        self._steps, self._seconds = 0, 0.0
        return steps * self._batch_size / seconds
