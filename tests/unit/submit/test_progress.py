import subprocess
import sys

import pytest

from tests.tools.recorded_jobs import record
from trainer.errors import JobDirError, StorageUnavailableError
from trainer.job_dir.bucket import object_store
from trainer.submit import progress


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        (
            {"epoch": 12, "loss": 25.14, "ends": ["interrupted", None, None]},
            "epoch 12 of 30, test loss 25.1, 36 minutes left, interrupted "
            "twice",
        ),
        (
            {"epoch": 30, "loss": 2.456, "ends": ["failed", "finished"]},
            "finished after epoch 30 of 30, test loss 2.46, failed once",
        ),
        (
            {"epoch": 1, "loss": 9.0, "ends": [None], "seconds_a_step": 4000.0},
            "epoch 1 of 30, test loss 9, 5.4 days left",
        ),
        (
            {"epoch": 29, "loss": 9.0, "ends": ["interrupted"]},
            "epoch 29 of 30, test loss 9, 2 minutes left, interrupted once",
        ),
        (
            {"epoch": 5, "loss": 9.0, "ends": [None], "max_steps": 40},
            "step 20 of 40, test loss 9, 10 minutes left",
        ),
        (
            {"epoch": 30, "loss": 9.0, "ends": ["finished", None]}
            | {"epochs": 60, "patience_epochs": 3, "seconds_a_step": 45.0},
            "epoch 30 of 60, test loss 9, at most 1.5 hours left",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_far_a_training_is_stands_in_its_directory(
    tmp_path, stop, job, sentence
):
    assert str(progress.read(str(record(tmp_path, **job)), stop)) == sentence


def test_the_same_is_read_from_a_bucket_without_tensorflow(tmp_path, bucket):
    folder = record(tmp_path, epoch=12, loss=25.14, ends=[None, None])
    for path in folder.iterdir():
        bucket.write(f"runs/vae/{path.name}", path.read_bytes(), owner="job")
    program = (
        "import sys\n"
        "from trainer.runtime.stop_signal import StopSignal\n"
        "from trainer.submit import progress\n"
        "for name in ('vae', 'none'):\n"
        "    print(progress.read(f'gs://bucket/runs/{name}', StopSignal()))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "epoch 12 of 30, test loss 25.1, 36 minutes left, interrupted once",
        "not started",
    ]


def test_a_job_directory_that_is_not_there_is_not_started(tmp_path, stop):
    assert str(progress.read(str(tmp_path / "none"), stop)) == "not started"


def test_what_cannot_be_read_is_no_job_that_has_not_started(
    tmp_path, stop, bucket, monkeypatch
):
    folder = record(tmp_path, epoch=1, loss=9.0, ends=[None])
    (folder / "goodput.json").write_text("[]")
    with pytest.raises(JobDirError, match=r'goodput.json has no "format" 1'):
        progress.read(str(folder), stop)
    monkeypatch.setattr(
        object_store,
        "DEFAULT_RETRY",
        object_store.DEFAULT_RETRY.with_timeout(0.2),
    )
    bucket.outage(on=True)
    monkeypatch.setattr(
        "trainer.config.TrainConfig.storage_timeout_seconds", 0.5
    )
    with pytest.raises(StorageUnavailableError):
        progress.read("gs://bucket/runs/vae", stop)
