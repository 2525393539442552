import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.model import export
from trainer.model.build import build_vae
from trainer.model.group_normalization import GroupNormalization


@pytest.mark.parametrize("shape", [(3, 4, 6, 8), (1, 1, 1, 8), (2, 16, 3, 24)])
def test_it_is_kerass_layer_forward_and_backward(shape):
    rng = np.random.default_rng(0)
    x, upstream = rng.normal(3, 2, (2, *shape))
    results = []
    for kind in (keras.layers.GroupNormalization, GroupNormalization):
        layer = kind(4, dtype="float64")
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 2, shape[-1]))
        layer.beta.assign(np.linspace(-1, 1, shape[-1]))
        with tf.GradientTape() as tape:
            given = tf.constant(x)
            tape.watch(given)
            y = layer(given)
        sources = [given, *layer.trainable_variables]
        results.append([y, *tape.gradient(y, sources, tf.constant(upstream))])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_flat_image_has_no_variance_and_stays_finite():
    layer = GroupNormalization(2)
    y = layer(tf.fill([2, 4, 4, 4], 1000.0))
    assert np.isfinite(y).all()


def test_the_keras_file_needs_no_layer_of_this_package(tmp_path):
    vae = build_vae(
        TrainConfig(model="conv", model_options="width=16", latent_dim=3),
        (8, 8, 1),
    )
    for part in (vae.encoder, vae.decoder):
        for weight in part.weights:
            weight.assign_add(tf.ones_like(weight) * 0.01)
    export.save_models(vae, tmp_path)
    decoder = keras.models.load_model(tmp_path / "decoder.keras")
    assert not any(
        type(layer).__module__.startswith("trainer") for layer in decoder.layers
    )
    z = tf.random.stateless_normal([2, 3], [0, 0])
    np.testing.assert_allclose(decoder(z), vae.decoder(z), atol=1e-5)
