"""The built-in models, and those of docs/own_models.md."""

import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tools.pages import ROOT
from trainer import model_flags
from trainer.config import TrainConfig
from trainer.model import contract, likelihoods
from trainer.model.build import build_vae
from trainer.model.hidden_units import HiddenUnits
from trainer.model.weights import variables_of, weights_of

PAGE = ROOT / "docs" / "own_models.md"


def built(model, shape, classes=0, **settings):
    # The maps of a hierarchy take most of them; the others halve them.
    units = {"hierarchy": 165, "mlp_hierarchy": 6}.get(model, 5)
    config = TrainConfig(model=model, latent_dim=units, **settings)
    return build_vae(config, shape, classes=classes)


@pytest.mark.parametrize("model", ["mlp", "conv", "hierarchy", "mlp_hierarchy"])
@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (8, 8, 3), (33, 50, 3), (17, 64, 1)]
)
def test_images_of_any_sides_come_back(model, shape):
    vae = built(model, shape)
    images = np.random.default_rng(0).uniform(size=(2, *shape))
    assert vae(images, tf.zeros([2, vae.latent_dim])).shape == (2, *shape)


@pytest.mark.parametrize("model", model_flags.BUILT_IN)
@pytest.mark.parametrize("loss", ["bce", "logistic"])
def test_it_keeps_the_contract(model, loss):
    vae = built(model, (16, 16, 3), reconstruction_loss=loss)
    encoder = vae.encoder
    if len(encoder.inputs) > 1:  # Noise of its own for each image.
        images = keras.Input((16, 16, 3))
        noise = keras.layers.Flatten()(images)[:, : vae.latent_dim]
        encoder = keras.Model(images, encoder([images, noise]))
    contract.check(
        (encoder, vae.decoder),
        (16, 16, 3),
        vae.latent_dim,
        likelihoods.LIKELIHOODS[loss],
    )


@pytest.mark.parametrize("model", model_flags.BUILT_IN)
def test_the_first_weights_are_a_function_of_the_seed(model):
    first, same, other = (
        variables_of(built(model, (8, 8, 1), seed=seed), None)
        for seed in (3, 3, 4)
    )
    kernels = [
        name
        for name in first
        if name.endswith("kernel") and np.any(first[name].numpy())
    ]
    assert len(kernels) > 4
    for name in kernels:
        np.testing.assert_array_equal(first[name].numpy(), same[name].numpy())
        assert not np.array_equal(first[name].numpy(), other[name].numpy())


@pytest.mark.parametrize("model", ["conv", "hierarchy", "mlp_hierarchy"])
def test_all_weights_learn_in_two_steps(model):
    """The second convolution of a block begins at zero, and then moves."""
    vae = built(model, (16, 16, 3))
    images = np.random.default_rng(0).uniform(size=(4, 16, 16, 3))
    for _ in range(2):
        with tf.GradientTape() as tape:
            noise = tf.ones([4, vae.latent_dim])
            reconstruction, kl, _ = vae.terms(images, noise)
            loss = tf.reduce_sum(reconstruction) + tf.reduce_sum(kl)
        gradients = tape.gradient(loss, weights_of(vae))
        for weight, gradient in zip(weights_of(vae), gradients, strict=True):
            weight.assign_sub(0.001 * tf.sign(gradient))
    assert all(np.any(gradient.numpy()) for gradient in gradients)


def checkerboard(model):
    """How much of what a fresh decoder draws repeats every second pixel."""
    decoded = built(model, (32, 32, 1)).decode(
        tf.random.stateless_normal([64, 5], [0, 0])
    )
    pixels = decoded.numpy()[:, 8:24, 8:24, 0]
    phases = [pixels[:, y::2, x::2].mean() for y in range(2) for x in range(2)]
    return np.ptp(phases) / pixels.std()


def test_conv_draws_no_checkerboard():
    """Transposed convolutions of stride 2 do: pixels overlap unevenly."""
    assert checkerboard("conv") < checkerboard("notebook") / 4


@pytest.mark.parametrize(
    ("model", "shape", "options", "sentence"),
    [
        ("conv", (4, 32, 1), "", "8x8 pixels or more, not 4x32"),
        ("conv", (32, 32, 1), "width=24", "width=24 .* no multiple of 16"),
        ("hierarchy", (32, 7, 1), "", "8x8 pixels or more, not 32x7"),
        ("notebook", (30, 30, 1), "", "sides divisible by 4"),
    ],
)
def test_images_that_it_cannot_take_are_a_sentence(
    model, shape, options, sentence
):
    with pytest.raises(ValueError, match=sentence):
        built(model, shape, model_options=options)


def test_hidden_units_that_never_fire_are_counted():
    encoder = built("notebook", (8, 8, 1)).encoder
    dense = encoder.get_layer("encoder_dense")
    dense.bias.assign([-1e3] * 5 + [1e3] * 11)
    units = HiddenUnits(encoder)
    assert units.layers == {
        "encoder_conv_1": 32,
        "encoder_conv_2": 64,
        "encoder_dense": 16,
    }
    images = tf.random.stateless_uniform([20, 8, 8, 1], [0, 0])
    posterior, fired = units.encode(images)
    np.testing.assert_array_equal(posterior[0], encoder(images)[0])
    dead = units.dead(np.any(fired, axis=0))
    assert dead["encoder_dense"] == 5
    assert len(HiddenUnits(built("mlp", (8, 8, 1)).encoder)) == 0


def test_the_examples_of_the_page_are_models(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    given = ({}, {}, {"classes": 4, "condition": "labels"})
    for number, (block, labels) in enumerate(zip(blocks, given, strict=True)):
        (tmp_path / f"example_{number}.py").write_text(block)
        for loss in ("mse", "bce", "logistic"):
            vae = built(
                f"example_{number}:build",
                (12, 8, 3),
                reconstruction_loss=loss,
                **labels,
            )
            drawn = vae.sample(2, labels=[1, 3] if labels else None)
            assert drawn.shape == (2, 12, 8, 3)
        del sys.modules[f"example_{number}"]
    small = blocks[0]
    assert len(small.strip().splitlines()) <= 25
