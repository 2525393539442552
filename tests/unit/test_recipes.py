"""EMA, early stopping, clipping, decay, warm-up: what they do, and the laws."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import trainer
from tests.tools.small_jobs import StopAfterRows, rows_of, train_only
from tests.tools.soak import differences
from trainer.config import TrainConfig
from trainer.errors import ConfigError, InterruptedJobError
from trainer.job import train_and_evaluate
from trainer.job_dir import checkpoint
from trainer.job_dir.open import JobDir
from trainer.model import optimizer as optimizer_lib
from trainer.model.averages import arrays_of
from trainer.patience import Patience
from trainer.schedule import Schedule

SCHEDULE = Schedule(steps_per_epoch=10, total_steps=100)
RECIPE = {
    "ema": 0.9,
    "clip_norm": 5.0,
    "weight_decay": 0.1,
    "warmup_steps": 4,
    "train_examples": 80,
    "test_examples": 20,
    "batch_size": 16,
    "latent_dim": 4,
    "image_epochs": 0,
    "summary_steps": 1,
}


def made(weight, **settings):
    """Returns a built optimizer of one weight."""
    optimizer = optimizer_lib.make(TrainConfig(**settings), SCHEDULE)
    optimizer_lib.build(optimizer, [weight])
    return optimizer


def kernel(value=1.0):
    import keras

    return keras.Variable(np.full((2, 2), value, np.float32), name="kernel")


def test_the_average_looks_back_over_a_tenth_of_the_steps_at_first():
    weight = kernel()
    optimizer = made(weight, ema=0.5, learning_rate=0.1)
    expected = None
    for step in range(30):
        optimizer.apply([tf.ones([2, 2])], [weight])
        decay = min(0.5, step / (step + 10))
        now = weight.numpy()
        expected = now if step == 0 else now + decay * (expected - now)
        (average,) = optimizer.moments()["ema"]
        np.testing.assert_allclose(average.numpy(), expected, rtol=1e-6)
    assert not np.allclose(weight.numpy(), expected)


def test_without_an_average_a_checkpoint_has_what_it_had():
    assert list(made(kernel()).moments()) == ["momentum", "velocity"]


@pytest.mark.parametrize(("clip_norm", "expected"), [(0.0, 4.0), (1.0, 1.0)])
def test_a_long_gradient_is_cut_as_a_whole(clip_norm, expected):
    weight = kernel()
    optimizer = made(weight, clip_norm=clip_norm)
    ((gradient, _),) = optimizer._all_reduce_sum_gradients(
        [(tf.fill([2, 2], 2.0), weight.value)]
    )
    assert np.linalg.norm(gradient) == pytest.approx(expected)


def test_kernels_decay_and_biases_and_pseudo_inputs_do_not():
    import keras

    weights = [
        kernel(),
        keras.Variable(np.ones(2, np.float32), name="bias"),
        keras.Variable(np.ones([2, 2, 2, 1], np.float32), name="pseudo_inputs"),
    ]
    config = TrainConfig(weight_decay=0.5, learning_rate=0.1)
    optimizer = optimizer_lib.make(config, SCHEDULE)
    optimizer_lib.build(optimizer, weights, images=weights[2:])
    optimizer.apply([tf.zeros(weight.shape) for weight in weights], weights)
    np.testing.assert_allclose(weights[0].numpy(), 0.95, rtol=1e-6)
    for weight in weights[1:]:
        np.testing.assert_array_equal(weight.numpy(), 1)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_rises_over_the_warm_up(schedule):
    config = TrainConfig(learning_rate_schedule=schedule)
    warm = dataclasses.replace(config, warmup_steps=20)
    for step in (1, 10, 20, 21, 90):
        plain, risen = (
            optimizer_lib.learning_rate_at(step, each, SCHEDULE)
            for each in (config, warm)
        )
        assert risen == pytest.approx(plain * min(1, step / 20), rel=1e-5)


@pytest.mark.parametrize(
    ("losses", "ended_at"),
    [
        ([5, 4, 3, 2, 1], None),
        ([5, 4, 4, 4, 3], 4),
        ([5, 6, 5, 1], 3),
        ([1, 2], None),
    ],
)
def test_patience_counts_the_epochs_since_the_best(losses, ended_at):
    patience = Patience(2)
    ended = None
    for epoch, loss in enumerate(losses, 1):
        patience.add(epoch, loss)
        if patience.is_over:
            ended = epoch
            break
    assert ended == ended_at
    before = list(enumerate(losses[: ended_at or len(losses)], 1))
    assert Patience(2, before).is_over == (ended_at is not None)
    assert not Patience(0, before).is_over


def test_a_job_with_all_of_it_is_one_result(small_config, tmp_path):
    settings = {**RECIPE, "precision": "float64"}
    whole, killed, two = (
        small_config(job_dir=str(tmp_path / name), **settings)
        for name in ("whole", "killed", "two")
    )
    two = dataclasses.replace(two, virtual_devices=2)
    train_and_evaluate(whole)
    for rows in (3, 8):
        with pytest.raises(InterruptedJobError):
            train_and_evaluate(killed, stop=StopAfterRows(killed, rows))
    train_and_evaluate(killed)
    assert differences(*(JobDir(c.job_dir).root for c in (whole, killed))) == []
    train_only(two)
    for ours, theirs in zip(rows_of(whole), rows_of(two), strict=True):
        assert ours.pop("split") == theirs.pop("split")
        if "weights" in ours:
            assert ours.pop("weights") == theirs.pop("weights") == "average"
        assert theirs == pytest.approx(ours, rel=1e-10)
    # What is loaded is the average, which the last row is of.
    vae = trainer.load(whole.job_dir)
    saved = checkpoint.select(JobDir(whole.job_dir), "last").variables
    average = arrays_of(vae, saved)["decoder/decoder_dense/kernel"]
    found = vae.decoder.get_layer("decoder_dense").kernel.numpy()
    np.testing.assert_array_equal(found, average)
    assert not np.array_equal(found, saved["decoder/decoder_dense/kernel"])


def test_a_job_ends_when_it_gets_no_better_and_stays_ended(
    small_config, tmp_path
):
    # So high a learning rate that the losses rise after a while.
    settings = {**RECIPE, "learning_rate": 0.1, "weight_decay": 0.0}
    settings |= {"patience_epochs": 2, "epochs": 60, "checkpoint_steps": 3}
    whole, killed = (
        small_config(job_dir=str(tmp_path / name), **settings)
        for name in ("whole", "killed")
    )
    result = train_and_evaluate(whole)
    held_out = rows_of(whole, "test")
    losses = [row["total_loss"] for row in held_out]
    assert len(losses) < 60
    assert np.argmin(losses) == len(losses) - 3
    assert result.step == held_out[-1]["step"] == 5 * len(losses)
    # Once more is no more; a longer patience goes on.
    assert train_and_evaluate(whole) == result
    # In the last epoch.
    rows = 6 * len(losses) - 3
    with pytest.raises(InterruptedJobError):
        train_and_evaluate(killed, stop=StopAfterRows(killed, rows))
    train_and_evaluate(killed)
    assert differences(*(JobDir(c.job_dir).root for c in (whole, killed))) == []
    finished = json.loads(JobDir(whole.job_dir).finished_path.read_text())
    assert finished["step"] == result.step
    longer = dataclasses.replace(
        whole, patience_epochs=0, max_steps=result.step + 2
    )
    assert train_and_evaluate(longer).step == result.step + 2


def test_patience_without_evaluations_is_refused():
    with pytest.raises(ConfigError, match="evaluates only at the end"):
        TrainConfig(patience_epochs=2, eval_epochs=0)
