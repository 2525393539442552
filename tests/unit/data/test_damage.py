"""A dataset that is damaged under a running job, here and in a bucket."""

import os
import shutil

import pytest

from tests.tools.colour_jobs import (
    ActsInMidRun,
    job_on,
    states_of,
    write_dataset,
)
from tests.tools.datasets import content_of
from tests.tools.small_jobs import metrics_path, rows_of, train_only
from trainer.data import images
from trainer.errors import ConfigError, DataError

STEPS = 20
TRAIN = "train/images-00001-of-00004.npy"
TEST = "test/images-00000-of-00001.npy"
MANIFEST = "dataset.json"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("damage"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The files of another dataset, of the same names and sizes, by name."""
    return content_of(write_dataset(tmp_path_factory.mktemp("other"), seed=1))


def config_of(data, job_dir):
    return job_on(
        data,
        job_dir,
        epochs=STEPS // 5,
        summary_steps=1,
        checkpoint_steps=2,
        keep_checkpoints=1000,
    )


@pytest.fixture(scope="module")
def untouched(original, tmp_path_factory):
    """The config of a job that nobody disturbed, with its images in memory."""
    config = config_of(original, tmp_path_factory.mktemp("damage") / "job")
    train_only(config)
    # Those of two steps each, and that of the best test loss.
    assert set(states_of(config)) >= set(range(2, STEPS + 1, 2))
    return config


@pytest.fixture
def folder(original, tmp_path, monkeypatch):
    """A copy of the dataset, on a machine without memory for images."""
    monkeypatch.setattr(images, "memory_bytes", lambda: 0)
    return shutil.copytree(original, tmp_path / "data")


def assert_fails(config, said, *, action=None, kind=DataError):
    """Asserts that a job ends with a sentence, and has lost nothing.

    Args:
        config: its `TrainConfig`.
        said: str, what the sentence has.
        action: function, called in the middle of the training; None where the
            training is not to begin.
        kind: the class of the error.
    """
    before = states_of(config)
    stop = ActsInMidRun(metrics_path(config), action) if action else None
    with pytest.raises(kind) as error:
        train_only(config, stop=stop)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert error.value.exit_code == (2 if kind is ConfigError else 1)
    after = states_of(config)
    assert before.items() <= after.items()
    # None at all where the damage comes before the first checkpoint.
    assert max(after, default=0) < STEPS


def assert_ends_as(untouched, config):
    train_only(config)
    assert states_of(config) == states_of(untouched)
    assert rows_of(config) == rows_of(untouched)


def flip(path):
    """Flips a bit of each record where it lies."""
    content = bytearray(path.read_bytes())
    for at in range(len(content) - 1, 128, -288):
        content[at] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def write(folder, content):
    for name, each in content.items():
        (folder / name).write_bytes(each)


def test_what_is_damaged_in_mid_run_is_named_and_nothing_is_lost(
    folder, original, other, untouched, tmp_path
):
    config, whole = config_of(folder, tmp_path / "job"), content_of(original)
    train, test = folder / TRAIN, folder / TEST
    for damage, said, later in (
        (lambda: flip(train), f"{train} is damaged at record", None),
        (test.unlink, f"{test} is missing, but", f"{test} is missing, but"),
        (lambda: cut(train), f"{train} is cut at record", "bytes, but dataset"),
        (lambda: write(folder, {TEST: other[TEST]}), f"{test} is damag", None),
    ):
        assert_fails(config, said, action=damage)
        if later:
            assert_fails(config, later)
        write(folder, whole)
    write(folder, {MANIFEST: other[MANIFEST]})
    assert_fails(config, "is damaged (its SHA-256 is not that of dataset.json")
    write(folder, other)
    assert_fails(config, MANIFEST, kind=ConfigError)
    write(folder, whole)
    assert_ends_as(untouched, config)


def test_a_copy_of_a_bucket_that_is_damaged_in_mid_run_is_fetched_anew(
    folder, other, untouched, bucket, tmp_path, monkeypatch
):
    def upload(content):
        for name, each in content.items():
            bucket.write(f"data/{name}", each)

    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    whole = content_of(folder)
    upload(whole)
    config = config_of("gs://bucket/data", tmp_path / "job")

    def copy_of(name):
        (path,) = (cache / "vae-trainer" / "data").glob(f"*/{name}")
        return path

    again = "was removed: run the same command again, which fetches it anew."
    assert_fails(config, again, action=lambda: flip(copy_of(TRAIN)))
    assert_fails(config, again, action=lambda: copy_of(TEST).unlink())
    # On a machine that has no copy yet.
    shutil.rmtree(cache)
    upload({TRAIN: other[TRAIN]})
    assert_fails(config, f"gs://bucket/data/{TRAIN} is damaged (its SHA-256")
    upload({MANIFEST: other[MANIFEST]})
    assert_fails(config, "is damaged (its SHA-256")
    upload(other)
    assert_fails(config, MANIFEST, kind=ConfigError)
    upload(whole)
    assert_ends_as(untouched, config)
