"""A start that was refused leaves nothing: no folder, no lock, no copy."""

import pytest

from tests.tools.idx import write_idx_folder
from trainer.errors import InterruptedJobError, TrainerError
from trainer.job import train_and_evaluate
from trainer.job_dir.open import open_to_write
from trainer.places import cache_folder


@pytest.fixture
def data(tmp_path):
    """A folder of 64 training images."""
    write_idx_folder(tmp_path / "data", train=64, test=10)
    return tmp_path / "data"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Returns a function that goes to another machine."""

    def use(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    use("machine")
    return use


@pytest.fixture
def idx_config(small_config, data):
    """Returns the config of a job on that folder."""

    def make(**settings):
        return small_config(
            **{
                "dataset": "idx",
                "data_dir": str(data),
                "train_examples": 0,
                "test_examples": 0,
                "max_steps": 1,
                "latent_dim": 2,
                **settings,
            }
        )

    return make


# Each is refused when the job directory is already held.
REFUSED = {
    "no job": ({"resume": "must"}, "holds no job"),
    "no data": ({"data_dir": "nothing"}, "There is no folder nothing"),
    "no data in a bucket": (
        {"data_dir": "gs://bucket/data"},
        "gs://bucket/data holds no train-images",
    ),
    "too few images": ({"train_examples": 65}, "more than the 64 train"),
    "a large batch": ({"batch_size": 128}, "--batch_size=128"),
    "an uneven batch": (
        {"batch_size": 31, "virtual_devices": 2},
        "split evenly among 2 replicas",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_start_leaves_no_folder(
    tmp_path, bucket, machine, idx_config, case
):
    settings, message = REFUSED[case]
    before = set(tmp_path.rglob("*"))
    job_dir = tmp_path / "runs" / "vae"
    with pytest.raises(TrainerError, match=message):
        train_and_evaluate(idx_config(job_dir=str(job_dir), **settings))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_start_leaves_an_empty_folder_empty(
    tmp_path, bucket, machine, idx_config, case
):
    settings, message = REFUSED[case]
    job_dir = tmp_path / "vae"
    job_dir.mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(TrainerError, match=message):
        train_and_evaluate(idx_config(job_dir=str(job_dir), **settings))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_start_leaves_no_staging_folder(
    tmp_path, bucket, machine, idx_config, case
):
    settings, message = REFUSED[case]
    before = set(tmp_path.rglob("*"))
    with pytest.raises(TrainerError, match=message):
        train_and_evaluate(idx_config(job_dir="gs://bucket/job", **settings))
    assert set(tmp_path.rglob("*")) == before
    assert bucket.objects() == {}


def test_a_refused_resume_leaves_no_copy_of_a_job_in_a_bucket(
    tmp_path, bucket, machine, idx_config, data
):
    train_and_evaluate(idx_config(job_dir="gs://bucket/job"))
    in_bucket = bucket.objects()
    write_idx_folder(data, train=63, test=10)
    machine("another")
    before = set(tmp_path.rglob("*"))
    for settings, message in (
        ({}, "train_examples 63"),
        ({"beta": 2.0}, "--beta=2.0"),
        ({"resume": "never"}, "is not empty"),
    ):
        with pytest.raises(TrainerError, match=message):
            train_and_evaluate(
                idx_config(
                    **{
                        "job_dir": "gs://bucket/job",
                        "max_steps": 2,
                        **settings,
                    }
                )
            )
        assert set(tmp_path.rglob("*")) == before
        assert bucket.objects() == in_bucket
    # A machine that has staged it before keeps what it has.
    machine("machine")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(TrainerError, match="--beta"):
        train_and_evaluate(idx_config(job_dir="gs://bucket/job", beta=2.0))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("job_dir", ["here", "gs://bucket/job"])
def test_an_interruption_before_anything_was_written_leaves_nothing(
    tmp_path, bucket, machine, idx_config, console, stop, monkeypatch, job_dir
):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    with (
        pytest.raises(InterruptedJobError),
        open_to_write(idx_config(job_dir=job_dir), console, stop) as job,
    ):
        assert job.is_empty()
        stop.request("SIGTERM")
        stop.check()
    assert set(tmp_path.rglob("*")) == before
    assert bucket.objects() == {}


def test_a_bucket_that_cannot_be_reached_leaves_nothing_here(
    tmp_path, bucket, machine, idx_config
):
    before = set(tmp_path.rglob("*"))
    bucket.outage(True)
    with pytest.raises(TrainerError, match="could not be reached"):
        train_and_evaluate(
            idx_config(job_dir="gs://bucket/job", storage_timeout_seconds=0.3)
        )
    assert set(tmp_path.rglob("*")) == before


def test_a_claim_that_could_not_be_given_back_is_known_by_the_next_start(
    bucket, machine, idx_config, console, stop
):
    config = idx_config(job_dir="gs://bucket/job", storage_timeout_seconds=0.3)
    with (
        pytest.raises(ZeroDivisionError),
        open_to_write(config, console, stop),
    ):
        bucket.outage(True)
        raise ZeroDivisionError
    bucket.outage(False)
    assert list(bucket.objects()) == ["job/claim.json"]
    # It need not wait for the claim to go stale, which takes 90 seconds.
    with open_to_write(config, console, stop):
        pass
    assert bucket.objects() == {}
    assert cache_folder().exists()
