"""One training from its claim to its end: alone, as the chief, or beside it."""

import contextlib
import dataclasses
import time

from trainer import (
    __version__,
    hang,
    job_end,
    job_start,
    training as training_lib,
)
from trainer.data import classes, sources
from trainer.distributed import bfloat16, devices, peers as peers_lib, secret
from trainer.errors import (
    DataError,
    InterruptedJobError,
    PeerLostError,
    TrainerError,
)
from trainer.job_dir import checkpoint as checkpoint_lib, other_data
from trainer.job_dir.checkpoint import Checkpoint
from trainer.job_dir.checkpoint_writer import publish
from trainer.job_dir.open import open_to_write
from trainer.model import (
    build as build_lib,
    initial_weights,
    priors,
)
from trainer.model.weights import variables_of
from trainer.result import Result
from trainer.runtime import platform
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.schedule import Schedule
from trainer.tracking import run_cards
from trainer.tracking.clock import Clock
from trainer.tracking.exporter import Exporter, served
from trainer.tracking.ledger import Ledger
from trainer.tracking.recorder import Recorder
from trainer.training import Parts, Session


def train_and_evaluate(
    config,
    *,
    topology=None,
    stop=None,
    console=None,
    kept=None,
    parts=None,
    clock=None,
    unfit=None,
):
    """Trains a VAE, or goes on with one, until it is finished.

    Args:
        config: a `TrainConfig`.
        topology: the `Topology` of several machines, each of which calls this
            function; None for this machine alone.
        stop: a `StopSignal`; None for one that never comes.
        console: a `Console`; None for one on stdout.
        kept: a list, to which is added what may take long to be freed; a
            process that ends with `os._exit` keeps it until then. None to
            free it before this function returns.
        parts: `Parts`; None for those of this package.
        clock: the `Clock` of the session; None for one that starts now.
        unfit: a `TrainerError` of this machine, which is one of several. It
            meets the others to tell them, so that all end for that reason and
            not because one did not come. None: the machine is fit.

    Returns:
        A `Result`, also of a job that had finished before; None on all
        workers but the chief.

    Raises:
        TrainerError: see `trainer.errors` for the kinds and exit codes.
    """
    session = Session(
        config=config,
        stop=stop or StopSignal(),
        console=console or Console(config.log_format),
        # Iterators that ended with the loop would keep the pictures waiting.
        kept=[] if kept is None else kept,
        parts=parts or Parts(),
        clock=clock or Clock(),
    )
    if topology is None:
        return _lead(session)
    devices.check_workers(config, topology)
    with contextlib.ExitStack() as stack:
        try:
            with session.clock.over("peers"):
                peers = stack.enter_context(_meeting(session, topology))
        except TrainerError:
            if unfit:
                raise unfit  # noqa: B904 - who did not come matters less.
            raise
        if unfit:
            raise unfit
        session = dataclasses.replace(session, peers=peers)
        return _lead(session) if topology.is_chief else _follow(session)


def _meeting(session, topology):
    """Returns the context that gives the `Peers` of a worker."""
    config = session.config
    return peers_lib.together(
        topology,
        {**config.shared(), "version": __version__},
        config.cluster_timeout_seconds,
        session.stop,
        session.console,
        secret.opened(config, topology.is_chief, session.stop),
    )


def _lead(session):
    """Trains with the job directory in hand: alone, or as the chief."""
    started = time.monotonic()
    config, console = session.config, session.console
    report_trial = platform.trial_reporter()
    exporter = Exporter(session.clock)
    with (
        served(exporter, config),
        open_to_write(config, console, session.stop) as job,
    ):
        start, damaged = job_start.find(job, config)
        losses = job_start.losses_before(job, start)
        initial = None
        if start.variables is None:
            initial = initial_weights.read(job, config, console, session.stop)
        finished = job_start.is_finished(job, config, start, losses)
        session.tell(
            "start",
            {
                "finished": finished,
                "step": start.step,
                "due": start.due,
                "losses": losses,
                "arithmetic": job.arithmetic(),
                "state": _state(start, initial),
            },
            initial.arrays if initial else start.variables,
        )
        if finished:
            checkpoint_lib.set_aside(job, damaged, start, console)
            console.line(f"Finished: {job.location} is at step {start.step}.")
            # A trial that Vertex starts again must say its result again.
            result = Result(**job.finished())
            report_trial(result.test_metrics)
            return result
        training = _prepare_to_lead(session, job, start, damaged, initial)
        # Not before: a start that is refused is none.
        console.line(_beginning(job, start))
        if initial:
            console.line(initial.sentence(training.vae))
        console.line(
            f"Training on {len(training.data.train_images):,} images of "
            f"{training.data.called} with {training.cluster.describe()}, step "
            f"{start.step} to {training.schedule.total_steps}."
        )
        if training.vae.likelihood.may_exceed_one:
            console.line(
                "The losses are minus log-densities, which may be below 0: "
                "lower is better."
            )
        if not start.step:
            _tell_of_bfloat16(config, console)
        ledger = Ledger(job, session.clock, start.step, console)
        recorder = Recorder(
            job, training, start, console, report_trial, ledger, exporter
        )
        # Guarded here, so that the job directory is left knowing of a loss.
        with hang.watched(session, start.step, job) as watchdog, ledger:
            with contextlib.closing(recorder), session.guard():
                try:
                    training_lib.run(
                        session, training, start, losses, watchdog, recorder
                    )
                except InterruptedJobError:
                    recorder.wait()  # Its message says that all is saved.
                    raise
                with session.clock.over("checkpoints"):
                    recorder.wait()
            with watchdog.over("drawing and exporting"):
                return job_end.finish(
                    session, job, training, recorder, ledger, started
                )


def _beginning(job, start):
    """Returns the sentence on where a session begins."""
    if start.step:
        return f"Resuming {job.location} at step {start.step}."
    if len(job.record()["sessions"]) == 1:
        return f"New job in {job.location}."
    return (
        f"Beginning {job.location} anew: it ended before its first checkpoint."
    )


def _tell_of_bfloat16(config, console):
    """Says what would make a new job faster, where the machine has it."""
    if config.mixed_precision != "none" or config.precision != "float32":
        return
    if hardware := bfloat16.hardware():
        console.line(
            f"Computing in float32, though {hardware} has bfloat16: a new job "
            "with --mixed_precision=bfloat16 may be faster (docs/speed.md)."
        )


def _state(start, initial):
    """Returns what a chief sends to the others of its model: which arrays."""
    if initial:
        return "initial"
    return "none" if start.variables is None else "saved"


def _prepare_to_lead(session, job, start, damaged, initial):
    """Returns the `Training`, once all workers have what it needs.

    Nothing is written before all is checked, so that a start that is refused
    changes nothing.
    """
    config = session.config
    model = build_lib.description(config)
    if job.exists:
        job.check_model(model)
    cluster = devices.connect(config, session.topology)
    session.stop.check()
    model_for = training_lib.model_builder(session, cluster, job.arithmetic())
    data = session.parts.load_data(
        config,
        session.console,
        session.stop,
        recorded_name=job.record()["data"]["name"] if job.exists else None,
        # A job that goes on has had its model; other data is named as such.
        # Of several workers all build it at the same time, since TensorFlow
        # sends the first weights of the chief to the others.
        # How many classes there are, only the labels say.
        check_shape=(
            None
            if job.exists or session.peers or config.condition != "none"
            else model_for
        ),
    )
    jit_compile = training_lib.resolve_jit(config, cluster)
    # Before anything is refused that only other data brings about.
    if job.exists:
        job.check_resume(data, jit_compile)
        _check_exact(session, job, cluster, start)
    classes.check(config, data)
    Schedule.of(config, len(data.train_images))  # Refuses too large a batch.
    priors.check_components(config, len(data.train_images))
    if session.peers:
        session.peers.tell(
            "data", _fingerprint(model, data, jit_compile, cluster)
        )
        with session.clock.over("peers"):
            session.peers.hear("ready")
    training = training_lib.build(
        session,
        cluster,
        data,
        jit_compile,
        job.arithmetic(),
        start,
        model_for,
        initial and initial.arrays,
    )
    checkpoint_lib.set_aside(job, damaged, start, session.console)

    def record():
        job.write_record(
            config,
            model,
            data,
            jit_compile,
            cluster,
            initial and initial.record(),
            classes.names(config, data),
        )

    if initial:
        # From here on the job has a copy, whatever becomes of the other one.
        publish(
            job,
            Checkpoint(
                step=0,
                due=(),
                test_loss=None,
                variables=checkpoint_lib.snapshot(
                    variables_of(training.vae, training.optimizer)
                ),
                rows={},
            ),
            before=record,
        )
    else:
        record()
    run_cards.write(job, data.held_out)
    job.finished_path.unlink(missing_ok=True)
    job.start_publishing()
    session.stop.check()
    return training


def _check_exact(session, job, cluster, start):
    """Says, or refuses, that a resume is not exact any more."""
    if not start.step:
        return  # All of it is computed here.
    reason = job.check_exact(cluster.gpu, session.config.require_exact)
    if reason:
        session.console.warning(reason)


def _follow(session):
    """Trains beside the chief, from whose state it starts."""
    config, peers = session.config, session.peers
    ((message, variables),) = peers.hear("start")
    match message:
        case {"finished": True}:
            peers.wait_for_chief()
            return
        case {
            "step": int(step),
            "due": [*due],
            "losses": [*losses],
            "arithmetic": int(arithmetic),
            "state": "none" | "initial" | "saved" as state,
        }:
            saved = variables if state == "saved" else None
            start = Checkpoint(step, tuple(due), None, saved)
        case _:
            raise _no_chief()
    model = build_lib.description(config)
    cluster = devices.connect(config, session.topology)
    ((theirs, _),) = peers.hear("data")
    match theirs:
        case {"name": str(name), "md5": dict(), "sha256": dict()}:
            sources.check_folder(config, name)
        case _:
            raise _no_chief()
    data = session.parts.load_data(
        config, session.console, session.stop, recorded_name=name
    )
    jit_compile = training_lib.resolve_jit(config, cluster)
    ours = _fingerprint(model, data, jit_compile, cluster)
    if ours != theirs:
        differences = other_data.phrases(theirs, ours, "the chief has")
        raise DataError(
            f"The {peers.topology.name} has {'; '.join(differences)}; all "
            "workers need the same data and the same kind of device."
        )
    peers.tell("ready", None)
    training = training_lib.build(
        session,
        cluster,
        data,
        jit_compile,
        arithmetic,
        start,
        training_lib.model_builder(session, cluster, arithmetic),
        variables if state == "initial" else None,
    )
    with (
        hang.watched(session, start.step) as watchdog,
        # When stopped, the chief saves, and then says how it went.
        contextlib.suppress(InterruptedJobError),
    ):
        training_lib.run(session, training, start, losses, watchdog)
    peers.wait_for_chief()


def _no_chief():
    return PeerLostError(
        "What leads this job does not speak as its chief does; start all "
        "workers again."
    )


def _fingerprint(model, data, jit_compile, cluster):
    """Returns what must be the same on all workers, as JSON values."""
    return {
        "model": model,
        "name": data.name,
        "md5": data.md5,
        "sha256": data.sha256,
        "jit_compile": jit_compile,
        "devices": cluster.describe(),
    }
