"""The laws hold for any model: restarts, replicas, what commands make of it."""

import dataclasses
import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf

import trainer
from tests.tools.colour_jobs import write_dataset
from tests.tools.commands import run_command
from tests.tools.small_jobs import StopAfterRows, rows_of, train_only
from tests.tools.soak import differences
from trainer import randomness
from trainer.data import prepared
from trainer.errors import ConfigError, InterruptedJobError
from trainer.job import train_and_evaluate
from trainer.job_dir.open import JobDir
from trainer.model import inference

STRANGERS = "tests.unit.model.strangers"
SLOW = pytest.mark.slow
MLP = {"model": "mlp", "model_options": "width=16"}
BCE = {"reconstruction_loss": "bce"}
CONV = {
    "model": "conv",
    "model_options": "width=16,depth=1",
    "reconstruction_loss": "logistic",
}
HIERARCHY = {
    "model": "hierarchy",
    "model_options": "width=16,depth=1,channels=1",
    "latent_dim": 52,
}
# Units of three groups.
MLP_HIERARCHY = {
    "model": "mlp_hierarchy",
    "model_options": "width=16,groups=3",
    "latent_dim": 6,
}
LABELS = {"condition": "labels"}
VAMP = {"prior": "vamp", "prior_components": 7, "ema": 0.9}
MODELS = [
    pytest.param(MLP | BCE, 2, id="mlp"),
    pytest.param(CONV, 2, id="conv", marks=SLOW),
    pytest.param(
        {"model": f"{STRANGERS}:subclassed", "microbatches": 4} | BCE,
        2,
        id="subclassed",
    ),
    pytest.param(MLP | BCE | VAMP, 4, id="vamp"),
    pytest.param(
        {"model": f"{STRANGERS}:conditional", "microbatches": 2} | LABELS,
        4,
        id="conditional",
    ),
    pytest.param(MLP | BCE | LABELS, 4, id="mlp-labels", marks=SLOW),
    pytest.param(CONV | LABELS, 2, id="conv-labels", marks=SLOW),
    pytest.param(HIERARCHY | BCE, 2, id="hierarchy", marks=SLOW),
    pytest.param(MLP_HIERARCHY | BCE, 4, id="mlp_hierarchy"),
]
IMAGES = (3, 28, 28, 1)
LABELS_OF_IMAGES = [0, 9, 3]
# Two epochs of five steps.
SHORT = {
    "train_examples": 80,
    "test_examples": 20,
    "batch_size": 16,
    "latent_dim": 4,
    "image_epochs": 0,
}


@pytest.mark.parametrize(("model", "replicas"), MODELS)
def test_a_job_of_any_model_is_one_result(
    small_config, tmp_path, model, replicas
):
    settings = {
        **SHORT,
        **model,
        "precision": "float64",
        "summary_steps": 1,
    }
    whole = small_config(job_dir=str(tmp_path / "whole"), **settings)
    train_and_evaluate(whole)
    killed = small_config(job_dir=str(tmp_path / "killed"), **settings)
    with pytest.raises(InterruptedJobError):
        train_and_evaluate(killed, stop=StopAfterRows(killed, 3))
    train_and_evaluate(killed)
    assert differences(*(JobDir(c.job_dir).root for c in (whole, killed))) == []
    many = small_config(
        job_dir=str(tmp_path / "many"), virtual_devices=replicas, **settings
    )
    train_only(many)
    for ours, theirs in zip(rows_of(whole), rows_of(many), strict=True):
        # The gradients of pseudo-inputs are so small that Adam divides them by
        # little more than their rounding; an estimate of the KL shows it.
        estimated = "kl" in ours
        for name in ("split", "kl", "weights"):
            assert ours.pop(name, "") == theirs.pop(name, "")
        nats = 1e-10 * ours["total_loss"] if estimated else None
        assert theirs == pytest.approx(ours, rel=1e-10, abs=nats)
    check_export(whole)


def check_export(config):
    """What serves the model is the model."""
    vae = trainer.load(config.job_dir, model=config.model)
    served = tf.saved_model.load(f"{config.job_dir}/export/saved_model/1")
    images = tf.constant(np.random.default_rng(0).integers(256, size=IMAGES))
    labels = LABELS_OF_IMAGES if config.condition == "labels" else None
    given = {} if labels is None else {"labels": tf.constant(labels)}
    encoded = served.signatures["encode"](
        images=tf.cast(images, tf.uint8), **given
    )
    for part, expected in zip(
        ("z_mean", "z_log_var"), vae.encode(images / 255, labels), strict=True
    ):
        assert encoded[part].numpy() == pytest.approx(
            expected.numpy(), rel=1e-5, abs=1e-5
        )
    z = tf.random.stateless_normal([3, vae.latent_dim], [0, 0])
    decoded = served.signatures["decode"](z=z, **given)
    assert decoded["images"].numpy() == pytest.approx(
        vae.decode(z, labels).numpy(), abs=1e-6
    )
    pixels = inference.decode(vae, z, labels)
    assert (decoded["pixels"].numpy() == pixels).all()
    drawn = served.signatures["generate"](
        count=tf.constant(3), seed=tf.constant(1), **given
    )
    z = vae.prior.draw(1, randomness.Tag.PICTURES, 0, 0, 3)
    assert drawn["images"].numpy() == pytest.approx(
        vae.decode(z, labels).numpy(), abs=1e-6
    )


@pytest.mark.parametrize("place", ["download", "bucket", "folder"])
def test_a_model_that_does_not_fit_is_refused_before_images_are_had(
    small_config, tmp_path, monkeypatch, bucket, place
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = write_dataset(tmp_path)
    # No other file of it is there.
    bucket.write("data/dataset.json", (folder / "dataset.json").read_bytes())
    if place == "folder":
        monkeypatch.setattr(prepared, "of_stored", None)
    data = {
        "download": {"dataset": "cifar10", "data_url": "http://127.0.0.1:1"},
        "bucket": {"dataset": "auto", "data_dir": "gs://bucket/data"},
        "folder": {"dataset": "auto", "data_dir": str(folder)},
    }[place]
    shape = (32, 32, 4) if place == "download" else (12, 8, 4)
    config = small_config(**SHORT, **data, model=f"{STRANGERS}:other_pixels")
    sentence = f"The decoder gives {re.escape(str(shape))} for an image"
    with pytest.raises(ConfigError, match=sentence):
        train_and_evaluate(config)
    assert not JobDir(config.job_dir).exists


def test_a_source_that_has_changed_is_another_model(
    small_config, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "model_of_a_test.py"
    text = f"from {STRANGERS} import small as build\n"
    source.write_text(text)
    config = small_config(**SHORT, model="model_of_a_test:build", max_steps=2)
    train_and_evaluate(config)
    trainer.load(config.job_dir, model=config.model)
    record = json.loads(JobDir(config.job_dir).config_path.read_text())
    assert record["model"]["options"] == {"width": 16}

    def load(config):
        trainer.load(config.job_dir, model=config.model)

    source.write_text(f"{text}# Another source.\n")
    more = dataclasses.replace(config, max_steps=3)
    for use in (train_and_evaluate, load):
        with pytest.raises(ConfigError, match="made with another source of"):
            use(more)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "conv"}, r"--model=conv \(was mlp\)"),
        ({"model_options": "width=8"}, r"--model_options=width=8 \(was wi"),
    ],
)
def test_a_resume_with_another_model_is_refused(small_config, change, sentence):
    settings = {**SHORT, "model": "mlp", "model_options": "width=4"}
    train_and_evaluate(small_config(**settings, max_steps=1))
    with pytest.raises(ConfigError, match=sentence):
        train_and_evaluate(small_config(**{**settings, **change}))


def test_no_code_runs_that_only_the_job_directory_names(
    small_config, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "model_of_somebody.py"
    source.write_text(f"from {STRANGERS} import small as build\n")
    name = "model_of_somebody:build"
    config = small_config(**SHORT, model=name, max_steps=1)
    train_and_evaluate(config)
    monkeypatch.delitem(sys.modules, "model_of_somebody", raising=False)
    flags = f"--job_dir={config.job_dir}", f"--output={tmp_path / 'z.png'}"
    refused = run_command("vae-generate", *flags)
    assert refused.exit_code == 2
    assert f"if you trust that, add --model={name} (in" in refused.err
    other = run_command("vae-generate", *flags, "--model=conv")
    assert other.exit_code == 2
    assert f"was trained with --model={name}; give that" in other.err
    assert "model_of_somebody" not in sys.modules
    named = run_command("vae-generate", *flags, f"--model={name}")
    assert named.exit_code == 0, named.err
