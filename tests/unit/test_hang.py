"""What ends a training that hangs, whatever else fails."""

import dataclasses

import pytest

from trainer import hang
from trainer.config import TrainConfig
from trainer.job_dir.open import JobDir
from trainer.runtime.console import Console
from trainer.runtime.watchdog import Hang

FROM_5_TO_9 = Hang("training", 130.0, 5, 9)


@dataclasses.dataclass
class Alone:
    """A session of one worker."""

    config: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    console: Console = dataclasses.field(default_factory=Console)
    peers: None = None


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Reports a hang of a job; returns the exit code and the job."""
    codes = []
    monkeypatch.setattr(hang.os, "_exit", codes.append)
    job = JobDir(tmp_path)

    def report(before=lambda job: None):
        before(job)
        with hang.watched(Alone(), 4, job) as watchdog:
            watchdog._report(FROM_5_TO_9)
        return codes.pop()

    return report


def test_the_third_time_at_one_step_is_the_end(report, capsys):
    assert [report() for _ in range(3)] == [75, 75, 1]
    assert "number 3 at these steps" in capsys.readouterr().err


def test_what_cannot_be_written_down_ends_the_process_all_the_same(
    report, capsys
):
    assert report(lambda job: job.hangs.write_text("in the way")) == 75
    said = capsys.readouterr().err
    assert "could not be kept" in said
    assert "most recent call first" in said


def test_a_defect_in_between_ends_the_process_all_the_same(
    report, monkeypatch, capsys
):
    def fails(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(hang, "_all_stand", fails)
    assert report() == 75
    assert "(a defect)" in capsys.readouterr().err
