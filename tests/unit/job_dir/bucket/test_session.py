"""What goes wrong with a bucket in the middle of a job, in this process."""

import pytest

from tests.tools import deadline
from tests.tools.job_places import BucketPlace
from tests.tools.small_jobs import small_job
from tests.tools.soak import differences
from trainer.errors import TrainerError
from trainer.job import train_and_evaluate
from trainer.runtime.console import Console


class Tripwire(Console):
    """A console that does something when a line starts with a text."""

    def __init__(self, text, action):
        super().__init__()
        self._text = text
        self._action = action

    def line(self, text):
        super().line(text)
        if text.startswith(self._text):
            self._action()


@pytest.fixture
def place(bucket, tmp_path, monkeypatch):
    """Where the job goes in the bucket."""
    place = BucketPlace(bucket, tmp_path / "job")
    monkeypatch.setenv("XDG_CACHE_HOME", place.environment["XDG_CACHE_HOME"])
    return place


def take_the_object(bucket):
    bucket.write("job/metrics.jsonl", b'{"step": 1, "split": "train"}\n')


FAULTS = {
    "503 burst": (lambda s: s.fail(503, times=3), 0, ""),
    "429 burst": (lambda s: s.fail(429, times=3), 0, ""),
    "dropped connections": (lambda s: s.drop(times=3), 0, ""),
    "lost answers": (
        lambda s: s.lose_answer(times=3, match="upload|compose"), 0, ""
    ),
    "slow link": (lambda s: s.slow(2_000_000), 0, ""),
    "outage": (
        lambda s: s.outage(True), 75, "The bucket could not be reached",
    ),
    "expired token": (lambda s: s.fail(401, times=999), 1, "Not signed in"),
    "permission denied": (
        lambda s: s.fail(403, times=999), 1, "Permission denied",
    ),
    "an object that changes under us": (
        take_the_object, 1, "gs://bucket/job/metrics.jsonl",
    ),
}  # fmt: skip


# Of each kind one that `make test` has.
QUICK = ("lost answers", "outage", "an object that changes under us")


@pytest.mark.parametrize(
    "fault",
    [
        fault if fault in QUICK else pytest.param(fault, marks=pytest.mark.slow)
        for fault in FAULTS
    ],
)
def test_a_fault_in_mid_run_is_survived_or_said_and_loses_nothing(
    place, bucket, finished_job, fault, capsys
):
    break_it, exit_code, message = FAULTS[fault]
    config = small_job(
        job_dir=place.location,
        # An outage is to be given up soon.
        storage_timeout_seconds=2.0 if exit_code == 75 else deadline.SECONDS,
    )
    console = Tripwire("Epoch 1", lambda: break_it(bucket))
    if not exit_code:
        train_and_evaluate(config, console=console)
        assert differences(finished_job, place.fetch()) == []
        return
    with pytest.raises(TrainerError) as error:
        train_and_evaluate(config, console=console)
    assert error.value.exit_code == exit_code
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    bucket.forget_faults()
    bucket.outage(False)
    if fault == "an object that changes under us":
        return  # Somebody else's job is there now; ours wrote nothing more.
    # The next start on this machine sends what is left, without waiting.
    capsys.readouterr()
    train_and_evaluate(small_job(job_dir=place.location))
    assert "New job" not in capsys.readouterr().out
    assert differences(finished_job, place.fetch()) == []
