"""A job that begins with the weights of another one."""

import json
import os
import shutil

import numpy as np
import pytest

import trainer
from tests.tools.small_jobs import StopAfterRows, small_job
from tests.tools.soak import differences
from trainer.config import TrainConfig
from trainer.errors import ConfigError, InterruptedJobError, JobDirError
from trainer.job import train_and_evaluate
from trainer.job_dir import checkpoint
from trainer.job_dir.open import JobDir
from trainer.model import initial_weights, optimizer as optimizer_lib
from trainer.model.build import build_vae
from trainer.model.weights import variables_of, weights_of
from trainer.runtime.console import Console
from trainer.schedule import Schedule

SHORT = {"epochs": 1, "image_epochs": 0}
COUNT = 18  # Weights of the default model.


class KilledError(Exception):
    pass


class DiesAtTheFirstStep(Console):
    def line(self, text):
        super().line(text)
        if text.startswith("Training on"):
            raise KilledError


@pytest.fixture
def source(finished_job, tmp_path):
    """A job whose model nobody has here."""
    folder = shutil.copytree(finished_job, tmp_path / "source")
    record = JobDir(folder).record()
    record["config"]["model"] = "module_of_nobody:build"
    JobDir(folder).config_path.write_text(json.dumps(record))
    return folder


def state_of(config, which):
    return checkpoint.select(JobDir(config.job_dir), which).variables


def test_a_killed_job_needs_the_other_one_no_more(
    small_config, tmp_path, source, capsys
):
    flags = {**SHORT, "init_from": f"{source}@10"}
    taken = checkpoint.select(JobDir(source), "10")
    whole = small_config(job_dir=str(tmp_path / "whole"), **flags)
    train_and_evaluate(whole)
    assert (
        f"Taken from {source} at step 10: all {COUNT} weights.\n"
        in capsys.readouterr().out
    )
    record = JobDir(whole.job_dir).record()
    recorded = {"job": str(source), "step": 10, "sha256": taken.sha256}
    assert record["initial_weights"] == recorded
    first = state_of(whole, "0")
    assert first["optimizer/adam/iteration"] == 0
    for name, array in first.items():
        if name.startswith("optimizer/"):
            assert not array.any() or name.endswith("learning_rate")
        else:
            np.testing.assert_array_equal(array, taken.variables[name])

    killed = small_config(**flags)
    with pytest.raises(KilledError):
        train_and_evaluate(killed, console=DiesAtTheFirstStep())
    assert checkpoint.list_steps(JobDir(killed.job_dir)) == [0]
    shutil.rmtree(source)
    with pytest.raises(InterruptedJobError):
        train_and_evaluate(killed, stop=StopAfterRows(killed, 1))
    for other in ({"init_from": f"{source}@20"}, {"init_from": "elsewhere"}):
        with pytest.raises(ConfigError, match=f"{other['init_from']} .was "):
            train_and_evaluate(small_config(**{**flags, **other}))
    train_and_evaluate(small_config(**SHORT))
    assert differences(*(tmp_path / name for name in ("whole", "job"))) == []
    record = JobDir(killed.job_dir).record()
    assert record["initial_weights"] == recorded
    assert record["config"]["init_from"] == flags["init_from"]


def test_a_job_that_had_no_copy_yet_takes_the_same_or_nothing(
    small_config, source
):
    config = small_config(init_from=str(source), **SHORT, max_steps=1)
    job = JobDir(config.job_dir)
    with pytest.raises(KilledError):
        train_and_evaluate(config, console=DiesAtTheFirstStep())
    shutil.rmtree(job.checkpoints)
    newest = JobDir(source).checkpoint(20)
    away = newest.rename(source / "away")
    with pytest.raises(JobDirError, match=r"killed before .* no checkpoint of"):
        train_and_evaluate(config)
    shutil.copytree(JobDir(source).checkpoint(10), newest)
    with pytest.raises(JobDirError, match="killed before it had a copy"):
        train_and_evaluate(config)
    shutil.rmtree(newest)
    away.rename(newest)
    train_and_evaluate(small_config(**SHORT, max_steps=1))
    taken = checkpoint.select(JobDir(source), "20").variables
    for name, array in state_of(config, "0").items():
        if not name.startswith("optimizer/"):
            np.testing.assert_array_equal(array, taken[name])
    # It is a checkpoint like any other.
    vae = trainer.load(config.job_dir, "0")
    np.testing.assert_array_equal(
        weights_of(vae)[0], next(iter(taken.values()))
    )


def refused(error, match, **settings):
    with pytest.raises(error, match=match) as raised:
        train_and_evaluate(small_job(**settings))
    assert "\n" not in str(raised.value)
    assert not os.path.exists(settings["job_dir"])


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("{0}/nothing", "^--init_from={0}/nothing: {0}/nothing holds no job"),
        ("{0}@7", "step 7; it has those of steps 10, 20"),
        ("{0}@20", "damaged .* choose another with --init_from={0}@STEP"),
        ("gs://Bad", "cannot be the name of a bucket"),
        ("{0}@bets", "bets is not last, best or a step number"),
    ],
)
def test_a_job_that_cannot_be_read_is_said(tmp_path, source, where, match):
    state = JobDir(source).checkpoint(20) / "state.npz"
    state.write_bytes(state.read_bytes()[:-1])
    refused(
        (ConfigError, JobDirError),
        match.format(source),
        job_dir=str(tmp_path / "job"),
        init_from=where.format(source),
    )


def test_a_job_does_not_begin_with_itself(tmp_path, finished_job):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "job")
    for where in (link, f"{tmp_path}/job@best"):
        refused(
            ConfigError,
            "is the --job_dir of this job",
            job_dir=str(tmp_path / "job"),
            init_from=str(where),
        )
    with pytest.raises(ConfigError, match=r"--init_from=x \(was not given\)"):
        train_and_evaluate(small_job(job_dir=str(finished_job), init_from="x"))


def test_weights_of_which_none_fits_are_refused(tmp_path, source):
    refused(
        ConfigError,
        r"No weight of the job that --init_from names fits .*\(not there\)",
        job_dir=str(tmp_path / "job"),
        init_from=str(source),
        model="mlp",
        model_options="width=4",
        latent_dim=5,
    )


def test_what_does_not_fit_is_said_and_stays_as_it_was():
    config = TrainConfig(latent_dim=3, reconstruction_loss="gaussian", ema=0.9)
    vae = build_vae(config, (8, 8, 1))
    before = {n: w.numpy() for n, w in variables_of(vae, None).items()}
    optimizer = optimizer_lib.make(config, Schedule.of(config, 128))
    optimizer_lib.build(optimizer, weights_of(vae))
    arrays = {name: 0.5 + array for name, array in before.items()}
    arrays["encoder/z_mean/kernel"] = np.zeros((16, 9))
    arrays["encoder/z_mean/bias"] = np.full(3, 1e300)
    arrays["decoder/unknown/kernel"] = np.zeros(3)
    del arrays["vae/log_variance"]
    arrays["encoder/z_log_var/bias"] = np.array([1, 2, 3], "i8")
    taken = initial_weights.InitialWeights("runs/a", 7, "", arrays, True)
    assert taken.sentence(vae) == (
        f"Taken from runs/a at step 7: {COUNT - 2} of {COUNT + 1} weights, as "
        "their averages; not: encoder/z_mean/kernel (shape (16, 3), was "
        "(16, 9)), encoder/z_mean/bias (too large for float32), "
        "vae/log_variance (not there)."
    )
    initial_weights.assign(vae, optimizer, arrays)
    stay = {"encoder/z_mean/kernel", "encoder/z_mean/bias", "vae/log_variance"}
    averages = optimizer.moments()["ema"]
    for (name, weight), average in zip(
        variables_of(vae, None).items(), averages, strict=True
    ):
        expected = before[name] if name in stay else arrays[name]
        np.testing.assert_array_equal(weight.numpy(), expected)
        np.testing.assert_array_equal(average.numpy(), expected)


def test_averages_are_taken_from_a_bucket(
    bucket, small_config, tmp_path, finished_job, console, stop
):
    """Where a job has them: they are what its evaluations are of."""
    job = JobDir(finished_job)
    saved = checkpoint.select(job, "best")
    name = "encoder/z_mean/kernel"
    average = saved.variables[name] + 1
    folder = tmp_path / checkpoint.checkpoint_name(saved.step)
    extra = {"optimizer/adam/z_mean_kernel_ema": average}
    checkpoint.write(
        folder,
        checkpoint.Checkpoint(
            saved.step, (), 1.0, {**saved.variables, **extra}
        ),
    )
    bucket.write("a/config.json", job.config_path.read_bytes(), job.id())
    for path in folder.iterdir():
        bucket.write(
            f"a/checkpoints/{folder.name}/{path.name}",
            path.read_bytes(),
            job.id(),
        )
    config = small_config(init_from="gs://bucket/a@best")
    found = initial_weights.read(
        JobDir(tmp_path / "new"), config, console, stop
    )
    assert (found.job, found.step) == ("gs://bucket/a", saved.step)
    np.testing.assert_array_equal(found.arrays[name], average)
    other = "encoder/z_log_var/kernel"
    np.testing.assert_array_equal(found.arrays[other], saved.variables[other])
    assert not any(name.startswith("optimizer/") for name in found.arrays)
    assert found.are_averages


def test_weights_of_zero_and_of_another_job_contradict_each_other():
    with pytest.raises(ConfigError, match="begins with weights of zero, but"):
        TrainConfig(initial_units=2, init_from="runs/a")
