import pytest

from trainer.job_dir import hangs
from trainer.job_dir.bucket import ownership
from trainer.job_dir.open import JobDir


@pytest.fixture
def job(tmp_path):
    return JobDir(tmp_path)


def test_hangs_at_one_step_are_counted_however_long_the_call_was(job):
    for number, steps in enumerate([(11, 20), (15, 15), (20, 29)], start=1):
        _, times = hangs.record(job, *steps, "where they stood")
        assert times == min(number, 2) if steps == (20, 29) else number
    # It has the last step of the first call, and not that of the second.
    assert hangs.record(job, 30, 30, "")[1] == 1
    assert hangs.record(job, 1, 100, "")[1] == 5


def test_what_is_written_is_a_file_of_its_own_and_of_the_job(job):
    names = [hangs.record(job, 7, 9, text)[0] for text in "abc"]
    assert len(set(names)) == 3
    assert [(job.root / name).read_text() for name in names] == [*"abc"]
    assert all(map(ownership.is_file, names))


def test_other_files_there_do_not_count(job):
    job.hangs.mkdir()
    for name in ("steps-1-2.1.txt", "notes.txt", "steps-0000001-0000009.x.txt"):
        (job.hangs / name).write_text("")
    assert hangs.record(job, 1, 9, "")[1] == 1
