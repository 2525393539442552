"""A resume misses the rows that its checkpoint was saved after."""

import itertools
import json
import shutil

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.tools.small_jobs import (
    BINARY,
    StopAfterRows,
    rows_of,
    small_job,
)
from trainer.errors import InterruptedJobError, JobDirError
from trainer.job import train_and_evaluate
from trainer.job_dir import checkpoint
from trainer.job_dir.open import JobDir

# Of `small_job`, of ten steps an epoch: train rows of steps 5, 10, 15 and 20,
# and evaluations at 10 and 20, which is where the checkpoints are.
ROWS = 6
LAST_OF_FIRST_CHECKPOINT = 3


@pytest.fixture
def job_dir(finished_job, tmp_path):
    return shutil.copytree(finished_job, tmp_path / "job")


def lines_of(job_dir):
    return (job_dir / "metrics.jsonl").read_bytes().splitlines(keepends=True)


def write(job_dir, lines):
    (job_dir / "metrics.jsonl").write_bytes(b"".join(lines))


def train(job_dir, **settings):
    return train_and_evaluate(small_job(job_dir=str(job_dir), **settings))


def content_of(job_dir):
    return {
        path: path.read_bytes()
        for path in job_dir.rglob("*")
        if path.is_file() and path.name != "claim.lock"
    }


def assert_refused(job_dir, match=None, epochs=(2, 3)):
    """Neither the same command, which has finished, goes on, nor a longer."""
    before = content_of(job_dir)
    for count in epochs:
        with pytest.raises(JobDirError, match=match) as error:
            train(job_dir, epochs=count)
        assert error.value.exit_code == 1
        message = str(error.value)
        assert message.startswith(f"{job_dir}/metrics.jsonl")
        assert message.endswith("or start anew in another --job_dir.")
    assert content_of(job_dir) == before


@pytest.mark.parametrize("kept", range(ROWS))
def test_rows_cut_off_are_missed(job_dir, kept):
    lines = lines_of(job_dir)
    assert len(lines) == ROWS
    write(job_dir, lines[:kept])
    assert_refused(job_dir, "was saved after 2 test and 4 train rows")


@pytest.mark.parametrize("row", range(ROWS))
def test_a_row_taken_out_is_missed(job_dir, row):
    lines = lines_of(job_dir)
    del lines[row]
    write(job_dir, lines)
    assert_refused(job_dir, "rows up to step 20")


def test_a_file_that_is_gone_is_missed(job_dir):
    (job_dir / "metrics.jsonl").unlink()
    assert_refused(job_dir, "holds 0 test and 0 train rows up to step 20")


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(cut=st.integers(1, 10_000))
def test_a_file_cut_anywhere_is_missed(finished_job, tmp_path_factory, cut):
    job_dir = shutil.copytree(
        finished_job, tmp_path_factory.mktemp("cut") / "job"
    )
    content = b"".join(lines_of(job_dir))
    write(job_dir, [content[: -1 - cut % len(content)]])
    assert_refused(job_dir, epochs=[3])


@pytest.mark.parametrize(
    ("row", "other"), list(itertools.permutations(range(ROWS), 2))
)
def test_a_row_in_the_place_of_another_is_noticed(job_dir, row, other):
    lines = lines_of(job_dir)
    lines[row] = lines[other]
    write(job_dir, lines)
    assert_refused(job_dir, epochs=[3])


def test_a_row_that_is_there_twice_is_noticed(job_dir):
    lines = lines_of(job_dir)
    write(job_dir, [*lines, lines[-1]])
    assert_refused(job_dir, "holds 3 test and 4 train rows")


def test_rows_in_another_order_are_noticed(job_dir):
    lines = lines_of(job_dir)
    lines[0], lines[1] = lines[1], lines[0]
    write(job_dir, lines)
    assert_refused(job_dir, "does not have its train rows in order")


def test_rows_ahead_of_the_checkpoint_and_a_torn_one_are_no_fault(
    job_dir, tmp_path
):
    untouched = small_job(job_dir=str(tmp_path / "untouched"), epochs=3)
    train_and_evaluate(untouched)
    lines = lines_of(job_dir)
    ahead = json.dumps(json.loads(lines[-2]) | {"step": 25}).encode()
    write(job_dir, [*lines, ahead + b"\n", ahead[:40]])
    assert train(job_dir, epochs=3).step == 30
    assert rows_of(small_job(job_dir=str(job_dir))) == rows_of(untouched)


def test_an_earlier_checkpoint_needs_its_own_rows_alone(job_dir):
    (job_dir / "checkpoints" / "step-0000020" / "state.npz").write_bytes(b"")
    lines = lines_of(job_dir)
    write(job_dir, lines[: LAST_OF_FIRST_CHECKPOINT - 1])
    with pytest.raises(JobDirError, match="saved after 1 test and 2 train row"):
        train(job_dir)
    write(job_dir, lines[:LAST_OF_FIRST_CHECKPOINT])
    assert train(job_dir).step == 20
    assert len(lines_of(job_dir)) == ROWS


def manifests_of(job_dir):
    job = JobDir(job_dir)
    return [
        checkpoint.read_manifest(job.checkpoint(step))
        for step in checkpoint.list_steps(job)
    ]


# The third row is the first evaluation, before the pictures of its step.
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(2, marks=pytest.mark.slow),
        3,
        pytest.param(ROWS, marks=pytest.mark.slow),
    ],
)
def test_the_rows_of_a_checkpoint_do_not_depend_on_interruptions(
    finished_job, tmp_path, rows
):
    expected = [manifest["rows"] for manifest in manifests_of(finished_job)]
    assert expected == [{"test": 1, "train": 2}, {"test": 2, "train": 4}]
    config = small_job(job_dir=str(tmp_path / "job"))
    with pytest.raises(InterruptedJobError):
        train_and_evaluate(config, stop=StopAfterRows(config, rows))
    saved = manifests_of(tmp_path / "job")[-1]
    # An evaluation that will be done again has no row yet.
    done = (saved["step"] - (bool(saved["due"]))) // 10
    assert saved["rows"].get("test", 0) == done
    train_and_evaluate(config)
    manifests = manifests_of(tmp_path / "job")
    found = {each["step"]: each["rows"] for each in manifests}
    assert [found[10], found[20]] == expected


@pytest.mark.slow
def test_other_periods_in_between_are_no_fault(tmp_path):
    job_dir = tmp_path / "job"
    for epochs, settings in enumerate(
        (
            {"summary_steps": 3, "checkpoint_steps": 4},
            {"summary_steps": 7, "eval_epochs": 0},
            {"summary_steps": 1, "checkpoint_steps": 5},
            {"summary_steps": 100},
        ),
        start=1,
    ):
        assert train(job_dir, epochs=epochs, **settings).step == 10 * epochs
    lines = lines_of(job_dir)
    for row in range(len(lines)):
        write(job_dir, lines[:row] + lines[row + 1 :])
        assert_refused(job_dir, epochs=[5])


def test_rows_of_a_validation_set_are_missed_too(tmp_path):
    job_dir = tmp_path / "job"
    train(job_dir, max_steps=2, **BINARY)
    (row, _) = lines_of(job_dir)
    write(job_dir, [row])
    with pytest.raises(JobDirError, match="after 1 train and 1 validation row"):
        train(job_dir, max_steps=3, **BINARY)


def forget_rows(job_dir):
    """Makes the checkpoints those of a version that did not count rows."""
    job = JobDir(job_dir)
    for step in checkpoint.list_steps(job):
        path = job.checkpoint(step) / "manifest.json"
        manifest = json.loads(path.read_bytes())
        del manifest["rows"]
        manifest["sha256"] = checkpoint._manifest_digest(manifest)
        path.write_text(json.dumps(manifest))


def test_a_job_of_an_earlier_version_goes_on_with_the_rows_it_has(job_dir):
    forget_rows(job_dir)
    assert train(job_dir, epochs=3).step == 30
    counts = [manifest.get("rows") for manifest in manifests_of(job_dir)]
    assert counts == [None, None, {"test": 3, "train": 6}]


def test_a_job_of_an_earlier_version_misses_its_evaluations(job_dir):
    forget_rows(job_dir)
    lines = lines_of(job_dir)
    for kept in range(ROWS):
        write(job_dir, lines[:kept])
        step = 10 if kept < LAST_OF_FIRST_CHECKPOINT else 20
        assert_refused(job_dir, f"holds no evaluation of step {step}")
