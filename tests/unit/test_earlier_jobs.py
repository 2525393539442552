"""Jobs of earlier versions go on as they began.

`tests/jobs/` has a small job directory of each version that was published, and
its data: 64 images of 4x4 pixels, 2 epochs of 4 steps, seed 300, whose order
is the one that version 0.1.0 gave it.
"""

import json
import pathlib
import shutil

import pytest

import trainer
from trainer import arithmetic
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.job import train_and_evaluate
from trainer.job_dir.open import JobDir

JOBS = pathlib.Path(__file__).parents[1] / "jobs"
VERSIONS = sorted(path.name for path in JOBS.iterdir())


@pytest.fixture(params=VERSIONS)
def folder(request, tmp_path, monkeypatch):
    """A copy of a job and its data, where the job finds them."""
    shutil.copytree(JOBS / request.param, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(folder, **changes):
    recorded = JobDir(folder / "job").config().to_json()
    return TrainConfig.from_json({**recorded, "epochs": 4, **changes})


def losses_of(job_dir):
    rows = map(json.loads, (job_dir / "metrics.jsonl").read_text().splitlines())
    return {(row["split"], row["step"]): row["total_loss"] for row in rows}


def test_it_goes_on_in_the_order_that_it_began_with(folder, monkeypatch):
    before = losses_of(folder / "job")
    assert max(step for _, step in before) == 8
    train_and_evaluate(config_of(folder))
    resumed = losses_of(folder / "job")
    assert resumed.items() >= before.items()
    record = json.loads((folder / "job" / "config.json").read_text())
    # That version can go on with it as well.
    assert (record["format"], record["arithmetic"]) == (
        1,
        arithmetic.FIRST,
    )
    train_and_evaluate(config_of(folder, job_dir="newest"))
    newest = losses_of(folder / "newest")
    monkeypatch.setattr(arithmetic, "NEWEST", arithmetic.FIRST)
    train_and_evaluate(config_of(folder, job_dir="first"))
    # Another machine may round otherwise; another order shows at once.
    assert resumed == pytest.approx(losses_of(folder / "first"), rel=1e-3)
    assert resumed != pytest.approx(newest, rel=1e-3)


def test_it_is_read_as_before(folder):
    vae = trainer.load(folder / "job")
    assert vae.encoder.input_shape == (None, 4, 4, 1)


def test_a_new_job_has_an_id_and_the_newest_arithmetic(small_config):
    config = small_config(max_steps=2)
    train_and_evaluate(config)
    record = JobDir(config.job_dir).record()
    assert (record["format"], record["arithmetic"]) == (
        2,
        arithmetic.NEWEST,
    )
    train_and_evaluate(small_config(max_steps=4))
    again = JobDir(config.job_dir).record()
    assert again["id"] == record["id"]
    assert again["arithmetic"] == record["arithmetic"]


@pytest.mark.parametrize("version", [0, 4, 99, "2", None, 1.5, True, [1]])
def test_an_arithmetic_that_is_not_known_is_refused(folder, version):
    job = JobDir(folder / "job")
    record = json.dumps(job.record() | {"arithmetic": version})
    job.config_path.write_text(record)
    with pytest.raises(ConfigError, match="has the arithmetic"):
        train_and_evaluate(config_of(folder))
    assert job.config_path.read_text() == record
