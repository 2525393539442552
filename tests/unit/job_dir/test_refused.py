"""A start that is refused for what lies in a job directory changes nothing."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.tools.mutations import resign
from tests.tools.small_jobs import small_job
from trainer.errors import ConfigError, JobDirError
from trainer.job import train_and_evaluate

STATE = "checkpoints/step-0000020/state.npz"


@pytest.fixture
def job_dir(finished_job, tmp_path):
    return shutil.copytree(finished_job, tmp_path / "job")


def content_of(folder):
    return {
        path: path.read_bytes() if path.is_file() else os.lstat(path).st_mode
        for path in folder.rglob("*")
        if path.name != "claim.lock"
    }


def assert_refused(job_dir, match, error=JobDirError, **settings):
    before = content_of(job_dir)
    config = small_job(job_dir=str(job_dir), **{"epochs": 3, **settings})
    with pytest.raises(error, match=match):
        train_and_evaluate(config)
    assert content_of(job_dir) == before


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_file(path):
    path.write_text("a file")


def link_to_nowhere(path):
    path.symlink_to("/nothing/here")


@pytest.mark.parametrize("make", [make_file, link_to_nowhere, os.mkfifo])
@pytest.mark.parametrize(
    "name",
    ["damaged", "logs", "logs/train", "logs/test", "plots", "export"],
)
def test_what_lies_where_a_folder_is_made(job_dir, name, make):
    remove(job_dir / name)
    make(job_dir / name)
    assert_refused(job_dir, f"{name} is no folder, and the job makes one")


@pytest.mark.parametrize("make", [make_file, link_to_nowhere, os.mkfifo])
def test_what_lies_where_a_checkpoint_is_written(job_dir, make):
    make(job_dir / "unfinished")
    assert_refused(job_dir, "unfinished cannot be removed")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"test_metrics": {"step": 20}}', "[" * 10**5]
)
@pytest.mark.parametrize("epochs", [2, 3])
def test_an_end_that_says_nothing(job_dir, content, epochs):
    (job_dir / "finished.json").write_text(content)
    match = r"finished\.json .* does not say how the job ended; restore it"
    assert_refused(job_dir, match, epochs=epochs)


def test_an_end_that_was_removed_is_written_once_more(job_dir):
    before = json.loads((job_dir / "finished.json").read_text())
    (job_dir / "finished.json").unlink()
    train_and_evaluate(small_job(job_dir=str(job_dir)))
    after = json.loads((job_dir / "finished.json").read_text())
    assert after["test_metrics"] == before["test_metrics"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "finished.json"])
def test_what_is_of_no_job(tmp_path, name):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / name).write_text("precious")
    assert_refused(tmp_path / "job", f"holds {name} but no config.json")


def test_a_state_of_another_model(job_dir):
    with np.load(job_dir / STATE) as state:
        arrays = {name: state[name] for name in state.files}
    missing = next(iter(arrays))
    del arrays[missing]
    np.savez(job_dir / STATE, **arrays)
    resign(job_dir / STATE)
    assert_refused(job_dir, f"holds no variable {missing}, which this model")


def test_a_damaged_checkpoint_is_not_moved_by_a_start_that_is_refused(job_dir):
    (job_dir / STATE).write_bytes(b"damaged")
    match = "--beta=2.0"
    assert_refused(job_dir, match, error=ConfigError, beta=2.0)
    shutil.copy(job_dir / "metrics.jsonl", job_dir / "rows")
    (job_dir / "metrics.jsonl").write_text("")
    assert_refused(job_dir, "holds 0 test and 0 train rows up to step 10")
    assert not (job_dir / "damaged").exists()


def test_more_steps_than_can_be_counted(job_dir):
    match = "the most is 9223372036854775807"
    assert_refused(job_dir, match, error=ConfigError, epochs=2**63 - 1)
