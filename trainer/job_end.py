"""The end of a job: its pictures, its export, and the word that it is over."""

import dataclasses
import time

from trainer import files
from trainer.data import classes
from trainer.evaluation.held_out import has_collapsed
from trainer.model import averages, export
from trainer.pictures import picture_files
from trainer.result import Result
from trainer.runtime import platform
from trainer.tracking import projector, run_cards


def finish(session, job, training, recorder, ledger, started):
    """Draws the pictures, exports the model and records the end of a job."""
    config, console, stop = session.config, session.console, session.stop
    vae, data = training.vae, training.data
    console.line("Drawing the pictures.")
    session.clock.become("pictures")
    # Nothing is saved any more: the model is what is drawn and exported.
    averages.settle(vae, training.optimizer)
    picture_files.save_plots(job, vae, config, data, recorder.rows, stop)
    labels = classes.given(config, data.test_labels)
    projector.save(job.logs / data.held_out, vae, data, console, stop, labels)
    stop.check()
    export.save_models(vae, job.export)
    if note := export.left_out(vae):
        console.line(note)
    if platform.wants_model(job.location):
        export.save_model_for_vertex(vae, job.model)
    evaluations = [row for row in recorder.rows if row["split"] != "train"]
    result = Result(
        step=evaluations[-1]["step"],
        test_metrics=evaluations[-1],
        collapsed=has_collapsed(evaluations[-1], config.latent_dim),
        seconds=time.monotonic() - started,
        checkpoint_blocked_seconds=recorder.blocked_seconds,
    )
    run_cards.write_end(job, data.held_out)
    # What says that a job is finished is the last that it writes.
    ledger.close("finished")
    files.write_json(job.finished_path, dataclasses.asdict(result))
    console.line(
        f"Finished at step {result.step} after {result.seconds:.0f} s. "
        f"Pictures: {job.location}/plots  Curves: tensorboard --logdir "
        f"{job.location}/logs"
    )
    console.line(ledger.now().sentence())
    return result
