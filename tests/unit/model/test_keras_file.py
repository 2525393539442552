"""`vae.save`, and what `keras.models.load_model` makes of the file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unit.model import strangers
from trainer.config import TrainConfig
from trainer.model import VAE, build_decoder, build_encoder
from trainer.model.build import build_vae

SHAPE = (8, 8, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
CONFIGS = {
    "notebook": {"reconstruction_loss": "gaussian", "initial_units": 2},
    "mlp": {
        "model": "mlp",
        "prior": "vamp",
        "prior_components": 3,
        "mixed_precision": "bfloat16",
    },
    "conv": {
        "model": "conv",
        "model_options": "width=16",
        "reconstruction_loss": "logistic",
        "precision": "float64",
        "beta": 0.5,
    },
    "hierarchy": {
        "model": "hierarchy",
        "model_options": "width=16,depth=1,channels=1",
        "latent_dim": 20,
        "reconstruction_loss": "bce",
    },
    "mlp_hierarchy": {
        "model": "mlp_hierarchy",
        "model_options": "groups=3",
        "latent_dim": 6,
    },
    "a stranger's": {
        "model": "tests.unit.model.strangers:small",
        "reconstruction_loss": "bce",
    },
}


def built(**settings):
    return build_vae(TrainConfig(**{"latent_dim": 5, **settings}), SHAPE)


@keras.saving.register_keras_serializable("tests")
class Encoder(strangers.Encoder):
    def __init__(self, latent_dim, **kwargs):
        super().__init__(latent_dim)
        self.latent_dim = latent_dim

    def get_config(self):
        return {"latent_dim": self.latent_dim}


@keras.saving.register_keras_serializable("tests")
class Decoder(strangers.Decoder):
    def __init__(self, image_shape, **kwargs):
        super().__init__(image_shape)
        self.image_shape = list(image_shape)

    def get_config(self):
        return {"image_shape": self.image_shape}


def with_configs():
    decoder = Decoder(SHAPE)
    decoder.gives = "logits"
    encoder = Encoder(5)
    encoder(tf.zeros([1, *SHAPE])), decoder(tf.zeros([1, 5]))
    return VAE(
        encoder,
        decoder,
        reconstruction_loss="bce",
        image_shape=SHAPE,
        latent_dim=5,
    )


def compiled():
    vae = VAE(build_encoder(5, SHAPE), build_decoder(5, SHAPE), beta=2.0)
    vae.compile(optimizer="adam", run_eagerly=True)
    tf.random.set_seed(0)
    vae.fit(PIXELS / 255, verbose=0)
    return vae


def saved_and_loaded(vae, tmp_path):
    """Moves the weights of a model, and returns what Keras reads of it."""
    for index, weight in enumerate(vae.trainable_variables):
        noise = np.random.default_rng(index).normal(size=weight.shape)
        weight.assign_add(tf.cast(0.1 * noise, weight.dtype))
    path = tmp_path / "vae.keras"
    vae.save(path)
    return keras.models.load_model(path)


def assert_same(loaded, vae):
    for found, expected in (
        (loaded.encode(PIXELS), vae.encode(PIXELS)),
        (loaded.reconstruct(PIXELS), vae.reconstruct(PIXELS)),
        (loaded.sample(4, seed=1), vae.sample(4, seed=1)),
        (loaded.elbo(PIXELS), vae.elbo(PIXELS)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (loaded.beta, loaded.likelihood) == (vae.beta, vae.likelihood)
    assert loaded.latents.groups == vae.latents.groups
    assert len(loaded.weights) == len(vae.weights)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_file_is_the_model(kind, tmp_path):
    vae = built(**CONFIGS[kind])
    loaded = saved_and_loaded(vae, tmp_path)
    assert_same(loaded, vae)
    if kind == "notebook":  # What came of a file makes one.
        assert_same(saved_and_loaded(loaded, tmp_path), loaded)


@pytest.mark.parametrize("make", [with_configs, compiled])
def test_a_model_that_was_put_together_is_saved_too(make, tmp_path):
    vae = make()
    loaded = saved_and_loaded(vae, tmp_path)
    assert_same(loaded, vae)
    if make is compiled:  # One step of training; the next goes on from it.
        assert int(loaded.optimizer.iterations) == 1


def shared():
    """An encoder and a decoder with a layer that both use."""
    encoder, decoder = build_encoder(5, SHAPE), build_decoder(5, SHAPE)
    layer = keras.layers.Dense(5)
    z_mean, z_log_var = encoder.outputs
    z = keras.Input((5,))
    return VAE(
        keras.Model(encoder.inputs, [layer(z_mean), z_log_var]),
        keras.Model(z, decoder(layer(z))),
    )


def regrouped():
    vae = built(**CONFIGS["hierarchy"])
    parts = vae.encoder, vae.decoder
    return VAE(*parts, image_shape=SHAPE, latent_dim=20)


def without_config():
    parts = strangers.Encoder(5), strangers.Decoder(SHAPE)
    return VAE(*parts, image_shape=SHAPE, latent_dim=5)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (without_config, "encoder is a Encoder that Keras cannot save with"),
        (shared, "encoder and the decoder share weights"),
        (regrouped, "latent units come in groups"),
    ],
)
def test_what_keras_would_not_bring_back_is_refused(make, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as error:
        make().save(tmp_path / "vae.keras")
    assert str(error.value).endswith("writes a SavedModel, which has all.")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "vae.keras").exists()
