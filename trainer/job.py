"""train_and_evaluate(config): the loop."""

import contextlib
import dataclasses
import os
import time

import keras

from trainer import __version__, files
from trainer.commands import export
from trainer.config import TrainConfig
from trainer.data import order, sources
from trainer.data.dataset import Dataset
from trainer.distributed import (
    devices as cluster_lib,
    peers as peers_lib,
    topology as topology_lib,
)
from trainer.distributed.agreement import Agreement
from trainer.distributed.pacing import CallPacer, Periods
from trainer.errors import (
    ConfigError,
    DataError,
    InterruptedJobError,
    JobDirError,
    NonFiniteError,
)
from trainer.evaluation.held_out import Evaluator, has_collapsed
from trainer.job_dir import checkpoint as checkpoint_lib
from trainer.job_dir.checkpoint import Checkpoint
from trainer.job_dir.open import open_to_write
from trainer.model import optimizer as optimizer_lib
from trainer.model.step import make_train_steps
from trainer.model.vae import VAE, build_vae
from trainer.model.weights import variables_of, weights_of
from trainer.pictures import drawing
from trainer.runtime import platform
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.tracking import projector, run_cards, summaries
from trainer.tracking.recorder import NoRecorder, Recorder


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


def train_and_evaluate(config, *, stop=None, console=None, kept=None):
    """Trains a VAE, or goes on with one, until it is finished.

    Args:
        config: a `TrainConfig`.
        stop: a `StopSignal`; None for one that never comes.
        console: a `progress.Console`; None for one on stdout.
        kept: a list, to which is added what may take long to be freed; a
            process that ends with `os._exit` keeps it until then. None to
            free it before this function returns.

    Returns:
        A `Result`; None when the job had finished before, and on all workers
        but the chief.

    Raises:
        TrainerError: see `trainer.errors` for the kinds and exit codes.
    """
    stop, console = stop or StopSignal(), console or Console(config.log_format)
    # Iterators that ended with the loop would keep the pictures waiting.
    kept = [] if kept is None else kept
    topology = topology_lib.find(os.environ, config.strategy)
    if topology is None:
        return _lead(config, stop, console, kept)
    cluster_lib.check_workers(config, topology)
    with peers_lib.together(
        topology,
        {**config.shared(), "version": __version__},
        config.cluster_timeout_seconds,
        stop,
        console,
    ) as peers:
        if topology.is_chief:
            return _lead(config, stop, console, kept, peers)
        return _follow(config, stop, console, kept, peers)


def _lead(config, stop, console, kept, peers=None):
    """Trains with the job directory in hand: alone, or as the chief."""
    started = time.monotonic()
    report_trial = platform.trial_reporter()
    with open_to_write(config, console, stop) as job:
        start = _find_start(job, config, console)
        arithmetic = job.arithmetic()
        finished = _is_finished(job, config, start)
        if peers:
            peers.tell(
                "start",
                {
                    "finished": finished,
                    "step": start.step,
                    "due": start.due,
                    "arithmetic": arithmetic,
                },
                start.variables,
            )
        if finished:
            console.line(f"Finished: {job.location} is at step {start.step}.")
            # A trial that Vertex starts again must say its result again.
            report_trial(job.finished()["test_metrics"])
            return None
        console.line(
            f"Resuming {job.location} at step {start.step}."
            if start.step
            else f"New job in {job.location}."
        )
        cluster = cluster_lib.connect(config, peers and peers.topology)
        stop.check()
        recorded_name = job.record()["data"]["name"] if job.exists else None
        data = sources.load(config, console, stop, recorded_name=recorded_name)
        jit_compile = _resolve_jit(config, cluster)
        # Before anything is refused that only other data brings about.
        if job.exists:
            job.check_resume(data, jit_compile)
        schedule = order.Schedule.of(config, len(data.train_images))
        job.write_record(config, data, jit_compile, cluster)
        run_cards.write(job, data.held_out)
        if peers:
            peers.tell("data", _fingerprint(data, jit_compile, cluster))
            peers.hear("ready")
        job.finished_path.unlink(missing_ok=True)
        job.start_publishing()
        stop.check()
        loop = _Loop.build(
            config, cluster, data, jit_compile, start, stop, console, peers,
            arithmetic,
        )  # fmt: skip
        console.line(
            f"Training on {len(data.train_images):,} images of {data.name} "
            f"with {cluster.describe()}, step {start.step} to "
            f"{schedule.total_steps}."
        )
        recorder = Recorder(
            job=job,
            config=config,
            schedule=schedule,
            vae=loop.vae,
            optimizer=loop.optimizer,
            held_out=data.held_out,
            images=data.held_out_images,
            console=console,
            report_trial=report_trial,
            start=start,
        )
        # Guarded here, so that the job directory is left knowing of a loss.
        guard = peers.guard() if peers else contextlib.nullcontext()
        with contextlib.closing(recorder), guard:
            loop.run(start, recorder, kept)
        return _finish(
            job, config, loop.vae, data, recorder, stop, console, started
        )


def _follow(config, stop, console, kept, peers):
    """Trains beside the chief, from whose state it starts."""
    ((message, variables),) = peers.hear("start")
    if message["finished"]:
        peers.wait_for_chief()
        return
    start = Checkpoint(
        step=message["step"],
        due=tuple(message["due"]),
        test_loss=None,
        variables=variables,
    )
    cluster = cluster_lib.connect(config, peers.topology)
    ((theirs, _),) = peers.hear("data")
    sources.check_folder(config, theirs["name"])
    data = sources.load(config, console, stop, recorded_name=theirs["name"])
    jit_compile = _resolve_jit(config, cluster)
    ours = _fingerprint(data, jit_compile, cluster)
    if ours != theirs:
        differences = [
            f"{name} {ours[name]} (the chief has {theirs[name]})"
            for name in ours
            if ours[name] != theirs[name]
        ]
        raise DataError(
            f"The {peers.topology.name} has {'; '.join(differences)}; all "
            "workers need the same data and the same kind of device."
        )
    peers.tell("ready", None)
    loop = _Loop.build(
        config, cluster, data, jit_compile, start, stop, console, peers,
        message["arithmetic"],
    )  # fmt: skip
    # When stopped, the chief saves, and then says how it went.
    with contextlib.suppress(InterruptedJobError):
        loop.run(start, NoRecorder(), kept)
    peers.wait_for_chief()


def _fingerprint(data, jit_compile, cluster):
    """Returns what must be the same on all workers, as JSON values."""
    return {
        "name": data.name,
        "md5": data.md5,
        "jit_compile": jit_compile,
        "devices": cluster.describe(),
    }


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
    sources.check_folder(config, job.check_settings(config))
    start = checkpoint_lib.restore_newest(job, console)
    if start is None:
        return nothing
    steps = checkpoint_lib.list_steps(job)
    # Before anything is written that would rest on these rows.
    summaries.check_rows(job, start, checkpoint_lib.test_losses(job, steps))
    return start


def _is_finished(job, config, start):
    if not job.finished_path.exists():
        return False
    examples = job.record()["data"]["train_examples"]
    schedule = order.Schedule.of(config, examples)
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
    data: Dataset
    schedule: order.Schedule
    vae: VAE
    optimizer: keras.optimizers.Optimizer
    jit_compile: bool
    agreement: Agreement
    console: Console
    arithmetic: int

    @classmethod
    def build(
        cls, config, cluster, data, jit_compile, start, stop, console, peers,
        arithmetic,
    ):  # fmt: skip
        """Returns a loop whose model has the state of a checkpoint."""
        schedule = order.Schedule.of(config, len(data.train_images))
        with cluster.strategy.scope():
            vae = build_vae(config, data.image_shape)
            # Keras would call a second one in a process "adam_1", and its
            # variables would not be found in a checkpoint.
            optimizer = optimizer_lib.Adam(
                optimizer_lib.learning_rate(config, schedule),
                epsilon=config.adam_epsilon,
                name="adam",
            )
            optimizer.build(weights_of(vae))
            if start.step:
                checkpoint_lib.assign(
                    variables_of(vae, optimizer),
                    start.variables,
                    config.job_dir,
                )
        return cls(
            config=config,
            cluster=cluster,
            data=data,
            schedule=schedule,
            vae=vae,
            optimizer=optimizer,
            jit_compile=jit_compile,
            agreement=Agreement(stop, peers),
            console=console,
            arithmetic=arithmetic,
        )

    def run(self, start, recorder, kept):
        """Trains from a checkpoint to the last step.

        Args:
            start: a `Checkpoint`, whose state the model has.
            recorder: a `Recorder`.
            kept: a list, to which the iterators are added.
        """
        config, schedule = self.config, self.schedule
        # All that follows happens on every worker in the same order.
        agreement = self.agreement
        periods = Periods(config, schedule)
        pacer = CallPacer(config.steps_per_call)
        meter = _SpeedMeter(config.batch_size)
        evaluator = Evaluator(
            self.vae, config, self.cluster.strategy, self.data.held_out_images,
            self.cluster.parts,
        )  # fmt: skip
        train_steps = make_train_steps(
            self.vae, self.optimizer, config, schedule, self.cluster,
            self.jit_compile,
        )  # fmt: skip
        batches = iter(
            order.train_batches(
                self.data.train_images, config, schedule,
                self.cluster.strategy, start.step + 1, self.arithmetic,
            )
        )  # fmt: skip
        kept += (evaluator, batches)
        step, due = start.step, start.due
        with self.console.image_bar(
            "Training",
            schedule.total_steps * config.batch_size,
            step * config.batch_size,
        ) as advance:
            while step < schedule.total_steps or due:
                if not due:
                    # Train: one call of several steps.
                    agreement.check()
                    if periods.profile_starts(step):
                        recorder.start_profile()
                    count = periods.next_end(step, pacer.steps) - step
                    proposal = agreement.propose(pacer)
                    (losses, agreed), seconds = pacer.timed(
                        lambda count=count, proposal=proposal: train_steps(
                            batches, count, proposal
                        ),
                        count,
                    )
                    agreement.settle(pacer, agreed)
                    _check_finite(losses, step + 1, step + count)
                    step += count
                    meter.add(count, seconds)
                    advance(
                        count * config.batch_size,
                        f"loss {losses['total_loss']:.2f}",
                    )
                    if periods.profile_ends(step):
                        recorder.stop_profile()

                    # Summarise: the losses of this very step.
                    if periods.summary(step):
                        recorder.train_row(step, losses, meter.restart())
                    due = periods.evaluation_work(step)

                # Evaluate and draw, unless a signal comes in between.
                test_loss, is_best = None, False
                try:
                    if "evaluation" in due:
                        evaluation = self._evaluate(evaluator)
                        test_loss = evaluation.metrics["total_loss"]
                        is_best = recorder.test_row(step, evaluation)
                    agreement.check()
                    if "images" in due:
                        recorder.draw(step)
                    due = ()
                except InterruptedJobError:
                    pass  # What is still due goes into the checkpoint.

                # Save.
                if agreement.requested or periods.checkpoint(step) or is_best:
                    recorder.save(step, due, test_loss)
                if agreement.requested:
                    recorder.wait()
                    raise InterruptedJobError(
                        agreement.message(f"everything is saved at step {step}")
                    )
                recorder.check()
            recorder.wait()

    def _evaluate(self, evaluator):
        with self.console.image_bar(
            "Evaluating", len(self.data.held_out_images)
        ) as advance:
            return evaluator.run(self.agreement, advance)


def _check_finite(losses, first_step, last_step):
    if not losses.pop("finite"):
        raise NonFiniteError(
            f"A loss became NaN or infinite between steps {first_step} and "
            f"{last_step}; the last checkpoint before is kept. Try a lower "
            "--learning_rate."
        )


def _finish(job, config, vae, data, recorder, stop, console, started):
    console.line("Drawing the pictures.")
    drawing.save_plots(job, vae, config, data.test_images, recorder.rows, stop)
    projector.save(job.logs / data.held_out, vae, data, console, stop)
    stop.check()
    export.save_models(vae, job.export)
    if platform.wants_model(job.location):
        export.save_model_for_vertex(vae, job.model)
    test_rows = [row for row in recorder.rows if row["split"] != "train"]
    result = Result(
        step=test_rows[-1]["step"],
        test_metrics=test_rows[-1],
        collapsed=has_collapsed(
            test_rows[-1]["active_units"], config.latent_dim
        ),
        seconds=time.monotonic() - started,
        checkpoint_blocked_seconds=recorder.blocked_seconds,
    )
    run_cards.write_end(job, data.held_out)
    files.write_json(job.finished_path, dataclasses.asdict(result))
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
