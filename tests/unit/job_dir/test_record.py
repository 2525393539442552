"""What `config.json` may say, and what is said of one that says otherwise."""

import json

import pytest

from trainer import __version__
from trainer.config import TrainConfig
from trainer.errors import ConfigError, JobDirError
from trainer.job_dir.open import JobDir


@pytest.fixture
def job(tmp_path):
    """A job directory with the record of a job of some other version."""
    job = JobDir(tmp_path)
    config = TrainConfig(beta=2.0, job_dir="where/it/was")
    write(
        job,
        {
            "format": 2,
            "id": "abc",
            "arithmetic": 2,
            "config": config.to_json(),
            "data": {"name": "idx"},
            "jit_compile": False,
            "versions": {"vae-trainer": "9.1.0"},
            "sessions": [],
        },
    )
    return job


def write(job, record):
    job.config_path.write_text(json.dumps(record))


def test_a_job_is_where_it_was_found(job, tmp_path):
    assert job.config() == TrainConfig(beta=2.0, job_dir=str(tmp_path))


def test_settings_that_this_version_does_not_have_are_named(job):
    record = job.record()
    record["config"] |= {"warp": 3, "engine": "ion"}
    write(job, record)
    for ask in (job.config, lambda: job.check_settings(TrainConfig())):
        with pytest.raises(ConfigError) as error:
            ask()
        assert str(error.value) == (
            f"{job.config_path}, written by vae-trainer 9.1.0, has engine, "
            f"warp among its settings, which this vae-trainer {__version__} "
            "does not know. Install that version, or give another --job_dir."
        )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("beta", "2", "--beta='2' is a str; expected float."),
        ("epochs", 1.5, "--epochs=1.5 is a float; expected int."),
        ("epochs", None, "--epochs=None is a NoneType; expected int."),
        ("deterministic", 1, "--deterministic=1 is a int; expected bool."),
        ("seed", -1, "--seed=-1 is too small"),
        ("learning_rate", float("inf"), "is not a finite number."),
        ("beta", 10**400, "is not a finite number."),
        ("epochs", 10**400, "is too large; the most is"),
        ("reconstruction_loss", ["mse"], "is a list; expected str."),
        ("binarize", "static", "is not one of none, dynamic."),
    ],
)
def test_a_value_that_no_setting_has_is_said_to_be_in_the_record(
    job, name, value, message
):
    record = job.record()
    record["config"][name] = value
    write(job, record)
    with pytest.raises(ConfigError) as error:
        job.config()
    assert str(error.value).startswith(f"{job.config_path} records settings")
    assert message in str(error.value)
    assert str(error.value).endswith("or give another --job_dir.")


PARTS = ("config", "data", "jit_compile", "versions", "sessions")


@pytest.mark.parametrize("name", ["format", *PARTS])
def test_a_part_that_is_missing_is_said(job, name):
    record = job.record()
    del record[name]
    write(job, record)
    with pytest.raises(JobDirError) as error:
        job.record()
    assert str(error.value) == (
        f'{job.config_path} is not the record of a job (it has no "{name}"); '
        "restore it, or give another --job_dir."
    )


@pytest.mark.parametrize("value", [None, "text", 1.5])
@pytest.mark.parametrize("name", ["format", *PARTS])
def test_a_part_of_another_type_is_said(job, name, value):
    write(job, job.record() | {name: value})
    with pytest.raises(JobDirError, match=f'its "{name}" is .*, expected '):
        job.record()


@pytest.mark.parametrize(
    ("name", "value"),
    [("config", []), ("data", []), ("versions", []), ("sessions", {})],
)
def test_a_list_is_no_object_and_an_object_no_list(job, name, value):
    write(job, job.record() | {name: value})
    with pytest.raises(JobDirError, match=f'its "{name}" is a '):
        job.record()


def test_data_without_a_name_is_said(job):
    write(job, job.record() | {"data": {"train_examples": 3}})
    with pytest.raises(JobDirError, match='its "data" has no "name"'):
        job.record()


@pytest.mark.parametrize("content", ["[]", "3", '"config"', "null", "{"])
def test_what_is_no_object_is_said(job, content):
    job.config_path.write_text(content)
    with pytest.raises(JobDirError, match="restore it, or give another"):
        job.record()


@pytest.mark.parametrize("versions", [None, [], {}, {"vae-trainer": "9.1.0"}])
def test_a_newer_format_is_refused_whatever_else_it_has(job, versions):
    write(job, {"format": 3, "versions": versions})
    writer = "9.1.0" if versions else "unknown"
    with pytest.raises(ConfigError, match=f"written by vae-trainer {writer};"):
        job.record()


def test_a_part_that_this_version_does_not_know_is_named(job):
    write(job, job.record() | {"warp": 3})
    with pytest.raises(ConfigError, match=r"9\.1\.0, has 'warp', which"):
        job.record()


SESSION = {"started": "2026-11-25T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 0}, '"format" is 0'),
        ({"id": ["abc"]}, r'"id" is \[.abc.\], expected a word'),
        ({"id": "a\nb"}, "expected a word"),
        ({"data": {"name": "idx", "train_examples": "x"}}, "train_examples"),
        ({"data": {"name": "idx", "test_examples": -1}}, "test_examples"),
        ({"data": {"name": "idx", "image_shape": [28, 28]}}, "image_shape"),
        ({"data": {"name": "idx", "image_shape": "abc"}}, "image_shape"),
        ({"data": {"name": "idx", "image_shape": [28, 28, 0]}}, "image_shape"),
        ({"data": {"name": "idx", "md5": []}}, "md5"),
        ({"data": {"name": "idx", "md5": {"a": 1}}}, "md5"),
        ({"initial_weights": []}, "expected a job, a step and a checksum"),
        ({"initial_weights": {"job": "a", "step": 1}}, "a step and a checksum"),
        ({"sessions": [1]}, "sessions is 1"),
        ({"sessions": [SESSION, {}]}, "without a start"),
        ({"sessions": [{"started": "soon"}]}, "without a start"),
        ({"sessions": [SESSION | {"gpu": ["L4"]}]}, '"gpu" is .*an object'),
        ({"sessions": ["x" * 1000]}, "x{90}"),
    ],
)
def test_what_no_version_wrote_is_said(job, change, message):
    write(job, job.record() | change)
    with pytest.raises(JobDirError, match=message) as error:
        job.record()
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


def test_what_is_not_recorded_of_the_data_is_said_when_it_is_needed(job):
    with pytest.raises(JobDirError, match='its "data" has no "image_shape"'):
        job.of_data("image_shape")


def test_a_record_that_is_a_link_to_nowhere_is_not_a_new_job(job):
    job.config_path.unlink()
    assert not job.exists
    job.config_path.symlink_to("nothing")
    assert job.exists
    with pytest.raises(JobDirError, match=r"config\.json is a link that leads"):
        job.record()
