"""The `VAE` that a `TrainConfig` describes, with its first weights."""

import keras
import tensorflow as tf

from trainer.model.notebook import build_decoder, build_encoder
from trainer.model.vae import VAE


def build_vae(config, image_shape):
    """Returns the `VAE` of a `TrainConfig`, built, with its first weights."""
    policy = keras.dtype_policies.DTypePolicy(
        config.precision
        if config.mixed_precision == "none"
        else f"mixed_{config.mixed_precision}"
    )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        vae = VAE(
            build_encoder(config.latent_dim, image_shape, config.seed),
            build_decoder(config.latent_dim, image_shape, config.seed),
            reconstruction_loss=config.reconstruction_loss,
            beta=config.beta,
            name="vae",
        )
    finally:
        keras.config.set_dtype_policy(before)
    if config.initial_units:
        _start_with(config.initial_units, vae)
    return vae


def _start_with(units, vae):
    """Gives the first latent units the weights of a model without others.

    The weights of all others are 0, so that the decoder gets no noise from
    them. The 16 values before the latent units are all that these can tell:
    of 200 units most tell the same, and training takes long to silence them.
    """
    for layer, axis in (
        (vae.encoder.get_layer("z_mean"), 1),
        (vae.encoder.get_layer("z_log_var"), 1),
        (vae.decoder.get_layer("decoder_dense"), 0),
    ):
        shape, paddings = list(layer.kernel.shape), [[0, 0], [0, 0]]
        paddings[axis][1] = shape[axis] - units
        shape[axis] = units
        kernel = layer.kernel_initializer(shape, layer.kernel.dtype)
        layer.kernel.assign(tf.pad(kernel, paddings))
