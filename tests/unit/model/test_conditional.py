"""Models that are given labels: what they compute, take and refuse."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.distributed.calls import Workers
from trainer.errors import ConfigError
from trainer.evaluation import log_likelihood
from trainer.evaluation.held_out import Evaluator
from trainer.model import export
from trainer.model.build import build_vae, find_model
from trainer.model.vae import VAE
from trainer.model.weights import variables_of, weights_of

STRANGERS = "tests.unit.model.strangers"
SHAPE, CLASSES, N = (8, 8, 1), 4, 5
PIXELS = np.random.default_rng(0).integers(0, 256, (N, *SHAPE), np.uint8)
Z = np.random.default_rng(1).normal(size=(N, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 1], np.uint8)
OTHERS = (LABELS + 1) % CLASSES
MODELS = {
    "mlp": {"model": "mlp", "model_options": "width=16"},
    "conv": {"model": "conv", "model_options": "width=16"},
    "stranger": {"model": f"{STRANGERS}:conditional"},
}


def config_of(name, **settings):
    settings = {"condition": "labels", "batch_size": N, **settings}
    return TrainConfig(latent_dim=3, **MODELS[name], **settings)


@functools.cache
def moved(name):
    """A model whose weights are not its first ones.

    A residual block of `conv` begins as nothing, and so does its label.
    """
    vae = build_vae(config_of(name), SHAPE, classes=CLASSES)
    for index, weight in enumerate(weights_of(vae)):
        noise = np.random.default_rng(index).normal(size=weight.shape)
        weight.assign_add(0.1 * noise.astype(np.float32))
    return vae


one_model = pytest.mark.parametrize(
    "name",
    [
        "mlp",
        pytest.param("conv", marks=pytest.mark.slow),
        pytest.param("stranger", marks=pytest.mark.slow),
    ],
)


@pytest.mark.parametrize("name", MODELS)
def test_each_image_is_of_its_own_label(name):
    vae = moved(name)
    for part, values in ((vae.encode, PIXELS), (vae.decode, Z)):
        found = np.asarray(part(values, LABELS))
        others = np.asarray(part(values, OTHERS))
        for one, other in zip(
            found.reshape(-1, N, *found.shape[-1:]),
            others.reshape(-1, N, *found.shape[-1:]),
            strict=True,
        ):
            assert not np.array_equal(one, other)
        alone = np.asarray(part(values[2:3], int(LABELS[2])))
        here = found[:, 2:3] if part == vae.encode else found[2:3]
        np.testing.assert_allclose(alone, here, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_the_other_weights_begin_as_without_labels(name):
    with_labels = variables_of(
        build_vae(config_of(name), SHAPE, classes=CLASSES), None
    )
    again = variables_of(
        build_vae(config_of(name), SHAPE, classes=CLASSES), None
    )
    without = variables_of(
        build_vae(config_of(name, condition="none"), SHAPE), None
    )
    for key, weight in without.items():
        np.testing.assert_array_equal(weight, with_labels[key])
    added = with_labels.keys() - without.keys()
    assert {key.partition("/")[0] for key in added} == {"encoder", "decoder"}
    for key in added:
        assert "label" in key
        assert np.std(with_labels[key]) > 0
        np.testing.assert_array_equal(with_labels[key], again[key])


def test_an_mlp_takes_an_image_with_its_label_as_one_vector():
    encoder = moved("mlp").encoder
    layer, of_label = (
        encoder.get_layer(f"encoder_{name}") for name in ("gated_1", "label")
    )
    inputs = np.concatenate(
        [PIXELS.reshape(N, -1) / 255, np.eye(CLASSES)[LABELS]], axis=1
    )
    kernel = np.concatenate([layer.kernel, of_label.kernel])
    hidden = keras.Model(
        encoder.inputs, encoder.get_layer("encoder_label_sum").output
    )
    np.testing.assert_allclose(
        hidden(
            [
                tf.constant(PIXELS / np.float32(255)),
                tf.constant(LABELS, tf.int32),
            ]
        ),
        inputs @ kernel + np.asarray(layer.bias),
        rtol=1e-4,
        atol=1e-4,
    )


@one_model
def test_evaluations_are_of_images_with_their_labels(name, stop):
    vae, config = moved(name), config_of(name)
    strategy = tf.distribute.get_strategy()
    evaluation = Evaluator(
        vae, config, strategy, PIXELS, Workers(stop), labels=LABELS
    ).run(lambda count: None)
    elbo = -sum(
        evaluation.metrics[f"{part}_loss"] for part in ("reconstruction", "kl")
    ) - vae.likelihood.log_normalizer(PIXELS[0].size)
    assert elbo == pytest.approx(
        vae.elbo(PIXELS, LABELS, seed=config.seed).mean(), rel=1e-5
    )
    other = vae.elbo(PIXELS, OTHERS, seed=config.seed).mean()
    assert elbo != pytest.approx(other, rel=1e-4)

    def log_p(labels, batch_size):
        return log_likelihood.estimate(
            vae,
            config,
            PIXELS,
            3,
            1,
            stop,
            lambda count: None,
            batch_size,
            labels,
        ).values

    in_batches = log_p(LABELS, 2)
    np.testing.assert_allclose(log_p(LABELS, N), in_batches, rtol=1e-5)
    assert not np.allclose(log_p(OTHERS, N), in_batches, rtol=1e-4)
    # Of three samples of z; with little noise, no less than of one.
    assert in_batches.mean() > elbo - 1


@one_model
def test_what_is_exported_and_saved_is_the_model(name, tmp_path):
    vae = moved(name)
    export.save_models(vae, tmp_path)
    assert export.left_out(vae) == ""
    served = tf.saved_model.load(tmp_path / "saved_model" / "1").signatures
    labels = tf.constant(LABELS, tf.int32)
    means = served["encode"](images=PIXELS, labels=labels)["z_mean"]
    images = served["reconstruct"](images=PIXELS, labels=labels)["images"]
    drawn = served["generate"](
        count=tf.constant(N), seed=tf.constant(2), labels=tf.constant([3])
    )["images"]
    encoder, decoder = (
        keras.saving.load_model(tmp_path / f"{role}.keras")
        for role in ("encoder", "decoder")
    )
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    fractions = tf.constant(PIXELS / np.float32(255))
    for found, expected in (
        (means, vae.encode(PIXELS, LABELS)[0]),
        (images, vae.reconstruct(PIXELS, LABELS)),
        (drawn, vae.sample(N, 2, labels=3)),
        (encoder([fractions, labels])[0], vae.encode(PIXELS, LABELS)[0]),
        (decoder([tf.constant(Z), labels]), vae.decode(Z, LABELS)),
        (loaded.elbo(PIXELS, LABELS), vae.elbo(PIXELS, LABELS)),
        (loaded.sample(N, 2, LABELS), vae.sample(N, 2, LABELS)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels are from"):
        served["decode"](z=tf.constant(Z), labels=labels + 1)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (None, "there are no labels; give labels=, whole numbers from 0 to 3"),
        (LABELS / 2, "labels are float64; give whole numbers from 0 to 3"),
        (["Sandal"] * N, "labels are .*; give whole numbers"),
        (LABELS[:3], r"labels are of shape \(3,\), not \(5,\); give one for e"),
        (LABELS[:, np.newaxis], r"of shape \(5, 1\), not \(5,\)"),
        (LABELS + 1, "labels are from 1 to 4, but the model has 4 classes"),
        (-1, "labels are from -1 to -1"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, sentence):
    vae = moved("mlp")
    for call in (
        lambda: vae.encode(PIXELS, labels),
        lambda: vae.decode(Z, labels),
        lambda: vae.reconstruct(PIXELS, labels),
        lambda: vae.sample(N, labels=labels),
        lambda: vae.elbo(PIXELS, labels),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_a_model_without_labels_takes_none():
    vae = build_vae(config_of("mlp", condition="none"), SHAPE)
    for call in (vae.encode, vae.reconstruct, vae.elbo):
        with pytest.raises(ValueError, match="takes no labels, but some were"):
            call(PIXELS, LABELS)


def test_fit_wants_labels_beside_images():
    tf.random.set_seed(0)  # Jobs of other tests have made it necessary.
    vae = build_vae(config_of("mlp"), SHAPE, classes=CLASSES)
    vae = VAE(vae.encoder, vae.decoder, classes=CLASSES)
    vae.compile(optimizer="adam", run_eagerly=True)
    before = vae.encoder.get_layer("encoder_label").kernel.numpy()
    vae.fit(PIXELS / 255, LABELS, verbose=0)
    after = vae.encoder.get_layer("encoder_label").kernel.numpy()
    # Of each class there is an image.
    assert (before != after).any(axis=1).all()
    for labels, sentence in (
        ((), "there are no labels"),
        (
            (LABELS / 2,),
            r"must be whole numbers from 0 to 3.*fit\(images, labe",
        ),
        ((LABELS + 1,), "labels are from 1 to 4"),
    ):
        with pytest.raises(ValueError, match=sentence):
            vae.fit(PIXELS / 255, *labels, verbose=0)


@pytest.mark.parametrize(
    ("model", "condition", "sentence"),
    [
        ("small", "labels", "strangers:small does not take classes; see docs"),
        ("conditional", "none", "takes classes without a default; give --con"),
    ],
)
def test_a_function_says_whether_it_takes_classes(model, condition, sentence):
    config = TrainConfig(model=f"{STRANGERS}:{model}", condition=condition)
    with pytest.raises(ConfigError, match=sentence):
        find_model(config)


def test_a_strangers_model_has_to_take_the_labels():
    config = TrainConfig(
        model=f"{STRANGERS}:label_alone", condition="labels", latent_dim=3
    )
    with pytest.raises(
        ConfigError, match=r"decoder has 1 inputs, but .* take \[z, labels\]"
    ):
        build_vae(config, SHAPE, classes=CLASSES)


def test_parts_that_take_no_labels_are_refused():
    vae = build_vae(config_of("mlp", condition="none"), SHAPE)
    with pytest.raises(
        ValueError, match=r"takes 1 inputs; .*\[images, labels\]"
    ):
        VAE(vae.encoder, vae.decoder, classes=CLASSES)
