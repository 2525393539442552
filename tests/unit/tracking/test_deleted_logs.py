"""What becomes of a job whose files are deleted while it runs."""

import shutil

import pytest

from tests.tools.small_jobs import rows_of, small_job
from tests.tools.soak import curves_of
from trainer.errors import InterruptedJobError, JobDirError
from trainer.job import train_and_evaluate
from trainer.job_dir.checkpoint import list_steps
from trainer.job_dir.open import JobDir, open_to_write
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.tracking.rows import read_rows
from trainer.tracking.summaries import Summaries

LOSS = "losses/total_loss"


def row(step, split="train"):
    of_split = {"learning_rate": 0.1, "images_per_second": 1.0}
    return {
        "step": step,
        "epoch": 1,
        "split": split,
        "total_loss": step / 2,
        "reconstruction_loss": step / 4,
        "kl_loss": step / 4,
        "kl_weight": 1.0,
        **(of_split if split == "train" else {"active_units": 1}),
    }


def losses_of(job, split):
    return curves_of(job.logs / split).get(LOSS, [])


@pytest.fixture
def job(small_config, console, stop):
    with open_to_write(small_config(), console, stop) as job:
        yield job


@pytest.fixture
def summaries(job, console):
    """Those of a session that went on after step 2 and wrote two rows."""
    earlier = Summaries(job, 0, console=console)
    earlier.write_row(row(1))
    earlier.write_row(row(2, "test"))
    earlier.close()
    summaries = Summaries(job, 2, console=console)
    summaries.write_row(row(3))
    summaries.write_row(row(4, "test"))
    yield summaries
    summaries.close()


def delete_logs(job):
    shutil.rmtree(job.logs)


def delete_newest_events(job):
    for split in ("train", "test"):
        max((job.logs / split).iterdir()).unlink()


def delete_rows(job):
    job.metrics_path.unlink()


def replace_rows(job):
    job.metrics_path.rename(job.root / "moved.jsonl")
    job.metrics_path.write_text("notes\n")


@pytest.mark.parametrize(
    ("meddle", "warnings"),
    [
        (delete_logs, 2),
        (delete_newest_events, 2),
        (delete_rows, 1),
        (replace_rows, 1),
    ],
)
def test_what_is_deleted_is_written_again_and_said(
    job, summaries, meddle, warnings, capsys
):
    meddle(job)
    summaries.sync()
    assert capsys.readouterr().err.count("written again") == warnings
    summaries.write_row(row(5))
    summaries.sync()
    summaries.check()
    assert capsys.readouterr().err == ""
    assert read_rows(job.metrics_path) == summaries.rows
    assert [r["step"] for r in summaries.rows] == [1, 2, 3, 4, 5]
    assert losses_of(job, "train") == [(1, 0.5), (3, 1.5), (5, 2.5)]
    assert losses_of(job, "test") == [(2, 1.0), (4, 2.0)]


def test_rows_that_cannot_be_written_again_are_an_error(job, summaries):
    delete_rows(job)
    job.metrics_path.mkdir()
    with pytest.raises(OSError):
        summaries.sync()


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_job_directory_that_is_deleted_is_not_written_to(
    job, summaries, is_made_again
):
    gone = job.root.rename(job.root.with_name("gone"))
    if is_made_again:
        job.root.mkdir()
        (job.root / "claim.lock").write_text("process 1 on another\n")
    for check in (summaries.sync, job.check):
        with pytest.raises(JobDirError, match="was deleted or replaced while"):
            check()
    if is_made_again:
        assert [path.name for path in job.root.iterdir()] == ["claim.lock"]
        shutil.rmtree(job.root)
    gone.rename(job.root)
    job.check()


def test_a_claim_file_that_is_deleted_ends_nothing(job, summaries):
    (job.root / "claim.lock").unlink()
    summaries.sync()
    job.check()


class Meddler(Console):
    """Does something when the first epoch is said to be over, and not saved."""

    def __init__(self, meddle):
        super().__init__()
        self._meddle = meddle

    def line(self, text):
        super().line(text)
        if text.startswith("Epoch 1,"):
            self._meddle()


@pytest.fixture
def new_job(tmp_path):
    return JobDir(tmp_path / "job")


def test_a_job_whose_files_are_deleted_saves_its_state(finished_job, new_job):
    stop = StopSignal()

    def meddle():
        delete_logs(new_job)
        delete_rows(new_job)
        shutil.rmtree(new_job.checkpoints, ignore_errors=True)
        stop.request("SIGHUP")

    config = small_job(job_dir=str(new_job.root))
    with pytest.raises(InterruptedJobError, match="saved at step 10;"):
        train_and_evaluate(config, stop=stop, console=Meddler(meddle))
    assert list_steps(new_job) == [10]
    assert train_and_evaluate(config).step == 20
    finished = JobDir(finished_job)
    assert rows_of(config) == rows_of(small_job(job_dir=str(finished_job)))
    for split in ("train", "test"):
        assert losses_of(new_job, split) == losses_of(finished, split)


def test_curves_that_cannot_come_back_are_said_when_the_state_is_saved(new_job):
    def put_a_file_there():
        delete_logs(new_job)
        new_job.logs.write_text("mine")

    config = small_job(job_dir=str(new_job.root))
    with pytest.raises(JobDirError) as error:
        train_and_evaluate(config, console=Meddler(put_a_file_there))
    assert str(error.value) == (
        f"The event files in {new_job.train_logs} were deleted while the job "
        "ran, and cannot be made again (Not a directory); the checkpoint is "
        "saved. Restore that folder, and run the same command again."
    )
    assert list_steps(new_job) == [10]
    assert new_job.logs.read_text() == "mine"
