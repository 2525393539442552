"""A model in training: what it is made of, and its way through the loop."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

import keras

from trainer import loop
from trainer.config import TrainConfig
from trainer.data import classes, order, sources
from trainer.data.dataset import Dataset
from trainer.data.images import faults_of
from trainer.distributed import devices, peers as peers_lib
from trainer.distributed.calls import Calls, Workers
from trainer.errors import DataError
from trainer.evaluation.held_out import Evaluator
from trainer.job_dir import checkpoint as checkpoint_lib
from trainer.model import (
    averages,
    initial_weights,
    optimizer as optimizer_lib,
    priors,
)
from trainer.model.build import build_vae
from trainer.model.step import make_train_steps
from trainer.model.vae import VAE
from trainer.model.weights import variables_of, weights_of
from trainer.patience import Patience
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.schedule import Periods, Schedule
from trainer.tracking.clock import Clock
from trainer.tracking.profiling import Profiler


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a job is put together from; a benchmark passes others.

    Attributes:
        load_data: as `data.sources.load`.
        build_vae: as `model.build.build_vae`.
        train_batches: as `data.order.train_batches`.
        make_train_steps: as `model.step.make_train_steps`.
    """

    load_data: Callable = sources.load
    build_vae: Callable = build_vae
    train_batches: Callable = order.train_batches
    make_train_steps: Callable = make_train_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A model in training.

    Attributes:
        config: the `TrainConfig`.
        cluster: the `devices.Cluster` that it trains on.
        data: the `Dataset`.
        jit_compile: whether XLA compiles the step.
        arithmetic: int, the version of the job's arithmetic.
        schedule: the `Schedule`.
        vae: the `VAE`.
        optimizer: its built Keras optimizer.
    """

    config: TrainConfig
    cluster: devices.Cluster
    data: Dataset
    jit_compile: bool
    arithmetic: int
    schedule: Schedule
    vae: VAE
    optimizer: keras.optimizers.Optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """This process, and the others that run the job with it.

    Attributes:
        config: the `TrainConfig`.
        stop: the `StopSignal`.
        console: a `Console`.
        kept: list of what may take long to be freed.
        parts: the `Parts`.
        clock: the `Clock`.
        peers: the `Peers`; None for one machine alone.
    """

    config: TrainConfig
    stop: StopSignal
    console: Console
    kept: list
    parts: Parts
    clock: Clock
    peers: peers_lib.Peers | None = None

    @property
    def topology(self):
        """The `Topology` of several machines; None for one alone."""
        return self.peers and self.peers.topology

    def tell(self, *message):
        """Sends a message to all other workers, if there are any."""
        if self.peers:
            self.peers.tell(*message)

    def guard(self):
        """Returns a context that names the worker that is lost in it."""
        return self.peers.guard() if self.peers else contextlib.nullcontext()


def model_builder(session, cluster, arithmetic):
    """Returns a function that builds the model of a job.

    It takes the shape of images and how many classes the model is given, and
    builds one model, however often it is called: before the images are had, so
    that a model that cannot be is refused at once, and when the training
    begins.

    Args:
        session: the `Session`.
        cluster: the `devices.Cluster` that will train.
        arithmetic: int, the version of the job's.
    """

    @functools.lru_cache(maxsize=1)
    def built(image_shape, class_count):
        with cluster.strategy.scope():
            try:
                return session.parts.build_vae(
                    session.config, image_shape, arithmetic, class_count
                )
            except ValueError as error:
                raise DataError(
                    "The model cannot take images of "
                    f"{' x '.join(map(str, image_shape))}: {error} Make a "
                    "dataset of another size: vae-data prepare --from=… "
                    "--to=… --size=64"
                ) from error

    return lambda image_shape, class_count=0: built(image_shape, class_count)


def resolve_jit(config, cluster):
    """Returns whether XLA compiles the step, a bool: `auto` is decided.

    Args:
        config: a `TrainConfig`.
        cluster: the `devices.Cluster`.
    """
    if config.jit_compile == "auto":
        return cluster.device_kind == "GPU" and config.free_bits == 0
    return config.jit_compile == "true"


def build(
    session,
    cluster,
    data,
    jit_compile,
    arithmetic,
    start,
    model_for,
    initial=None,
):
    """Returns a `Training` whose model has the state of a checkpoint.

    Where there is none yet, a weight is that of another job if it fits, else
    that which the seed gives; pseudo-inputs are images of the data.

    Args:
        session: the `Session`.
        cluster: the `devices.Cluster`.
        data: the `Dataset`.
        jit_compile: bool.
        arithmetic: int, the version of the job's.
        start: a `Checkpoint`; its variables are None if there is none yet.
        model_for: as from `model_builder`.
        initial: dict of arrays, of the weights of another job; None without.

    Raises:
        ConfigError: none of those weights fits.
        JobDirError: the checkpoint is of another model.
    """
    config = session.config
    schedule = Schedule.of(config, len(data.train_images))
    vae = model_for(tuple(data.image_shape), len(classes.names(config, data)))
    with cluster.strategy.scope():
        optimizer = optimizer_lib.make(config, schedule)
        optimizer_lib.build(
            optimizer, weights_of(vae), vae.prior.weights.values()
        )
        if config.prior == "vamp" and start.variables is None:
            vae.prior.pseudo_inputs.assign(
                priors.first_pseudo_inputs(
                    config.seed, data.train_images, config.prior_components
                )
            )
        if initial is not None:
            initial_weights.assign(vae, optimizer, initial)
        if start.variables is not None:
            checkpoint_lib.assign(
                variables_of(vae, optimizer),
                start.variables,
                config.job_dir,
            )
    return Training(
        config=config,
        cluster=cluster,
        data=data,
        jit_compile=jit_compile,
        arithmetic=arithmetic,
        schedule=schedule,
        vae=vae,
        optimizer=optimizer,
    )


def run(session, training, start, losses, watchdog, recorder=None):
    """Trains from a checkpoint to the last step, on every worker alike.

    Args:
        session: the `Session`.
        training: a `Training`, whose model has the state of `start`.
        start: a `Checkpoint`.
        losses: list of [epoch, loss], of the evaluations before it.
        watchdog: a `Watchdog`.
        recorder: the `Recorder` of the chief; None beside it.
    """
    config, data = training.config, training.data
    patience = Patience(config.patience_epochs, losses)
    if patience.is_over and not start.due:
        return
    strategy = training.cluster.strategy
    periods = Periods.of(config, training.schedule)
    workers = Workers(session.stop, session.peers)
    batches = iter(
        session.parts.train_batches(
            data.train_images,
            config,
            training.schedule,
            strategy,
            start.step + 1,
            training.arithmetic,
            classes.given(config, data.train_labels),
        )
    )
    train_steps = functools.partial(
        session.parts.make_train_steps(
            training.vae,
            training.optimizer,
            config,
            training.schedule,
            training.cluster,
            training.jit_compile,
        ),
        batches,
    )
    images = data.held_out_images
    evaluator = Evaluator(
        training.vae,
        config,
        strategy,
        images,
        workers,
        training.cluster.parts,
        classes.given(config, data.held_out_labels),
    )
    session.kept.extend((evaluator, batches))

    def evaluate(moment):
        with (
            session.console.image_bar("Evaluating", len(images)) as advance,
            watchdog.over("evaluation") as go_on,
            averages.in_place(training.vae, training.optimizer),
        ):

            def advanced(count):
                advance(count)
                go_on()

            evaluation = evaluator.run(advanced)
        patience.add(
            training.schedule.epoch_of(moment.step),
            evaluation.metrics["total_loss"],
        )
        moment.ends = patience.is_over
        if recorder:
            recorder.write_evaluation(moment, evaluation)
            if moment.ends:
                session.console.line(patience.message())

    if recorder and config.profile_range():
        train_steps = Profiler(
            train_steps,
            recorder.profile_folder,
            start.step,
            *config.profile_range(),
        )
    works = {"evaluation": evaluate}
    save = None
    if recorder:
        draw = watchdog.around(recorder.draw, "drawing")
        works = {"row": recorder.write_row, **works, "images": draw}
        save = watchdog.around(recorder.save, "saving")
    with (
        faults_of(data.train_images, images),
        session.console.image_bar(
            "Training",
            training.schedule.total_steps * config.batch_size,
            start.step * config.batch_size,
        ) as progress,
    ):
        loop.train(
            start=start,
            periods=periods,
            calls=Calls(
                watchdog.calls(train_steps), workers, config.steps_per_call
            ),
            workers=workers,
            works=works,
            batch_size=config.batch_size,
            progress=progress,
            save=save,
            watch=recorder and recorder.check,
            clock=session.clock,
        )
