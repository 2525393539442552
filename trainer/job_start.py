"""Where a job goes on, or begins: what is in its folder decides."""

from trainer import stored
from trainer.data import sources
from trainer.errors import ConfigError, JobDirError
from trainer.job_dir import checkpoint as checkpoint_lib
from trainer.job_dir.checkpoint import Checkpoint
from trainer.model import initial_weights
from trainer.patience import Patience, losses_of
from trainer.schedule import Schedule
from trainer.tracking import rows


def find(job, config):
    """Returns the checkpoint to start from, and the newer ones.

    It is that of step 0 for a new job. The newer ones are damaged: a dict of
    what is wrong, by step.
    """
    nothing = Checkpoint(step=0, due=(), test_loss=None, variables=None)
    if config.resume == "never" and not job.is_empty():
        raise ConfigError(
            f"--resume=never, but {job.location} is not empty; give another "
            "--job_dir, or --resume=auto to go on with it."
        )
    job.check_folders()
    initial_weights.refuse_itself(config)
    if not job.exists:
        _check_new(job, config)
        return nothing, {}
    sources.check_folder(config, job.check_settings(config))
    start, damaged = checkpoint_lib.find_newest(job)
    if start is None:
        rows.read_rows(job.metrics_path)
        return nothing, {}
    steps = [s for s in checkpoint_lib.list_steps(job) if s <= start.step]
    # Before anything is written that would rest on these rows.
    rows.check_rows(job, start, checkpoint_lib.test_losses(job, steps))
    return start, damaged


def _check_new(job, config):
    """Refuses a folder that has something of a job, but no job."""
    steps = checkpoint_lib.list_steps(job)
    if steps:
        raise JobDirError(
            f"{job.location} holds checkpoints of steps "
            f"{', '.join(map(str, steps))} but no config.json to say what "
            "they are of; restore it, or give another --job_dir."
        )
    # The job would write its own in their place.
    for path in (job.metrics_path, job.finished_path):
        if stored.is_there(path):
            raise JobDirError(
                f"{job.location} holds {path.name} but no config.json to "
                "say what it is of; restore it, or give another --job_dir."
            )
    if config.resume == "must":
        raise ConfigError(
            f"--resume=must, but {job.location} holds no job; check "
            "--job_dir, or use --resume=auto to start one."
        )


def losses_before(job, start):
    """Returns [epoch, loss] of the evaluations that belong to a checkpoint."""
    if not start.step:
        return []
    recorded = rows.read_rows(job.metrics_path)
    return losses_of(rows.rows_until(recorded, start.step, bool(start.due)))


def is_finished(job, config, start, losses):
    """Whether a job has done all that its settings ask for."""
    if job.finished() is None or start.due:
        return False
    schedule = Schedule.of(config, job.of_data("train_examples"))
    patience = Patience(config.patience_epochs, losses)
    return start.step >= schedule.total_steps or patience.is_over
