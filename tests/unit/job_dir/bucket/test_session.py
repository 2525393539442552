"""What goes wrong with a bucket in the middle of a job, in this process."""

import pytest

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


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """The folder of the same job on the disk."""
    job_dir = tmp_path_factory.mktemp("untouched") / "job"
    train_and_evaluate(small_job(job_dir=str(job_dir)))
    return job_dir


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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_mid_run_is_survived_or_said_and_loses_nothing(
    place, bucket, untouched, fault, capsys
):
    break_it, exit_code, message = FAULTS[fault]
    config = small_job(job_dir=place.location, storage_timeout_seconds=2.0)
    console = Tripwire("Epoch 1", lambda: break_it(bucket))
    if not exit_code:
        train_and_evaluate(config, console=console)
        assert differences(untouched, place.fetch()) == []
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
    train_and_evaluate(config)
    assert "New job" not in capsys.readouterr().out
    assert differences(untouched, place.fetch()) == []
