"""`--model=mlp`: gated fully connected layers, for images of any shape.

The VAE of Tomczak & Welling 2018, "VAE with a VampPrior": two hidden layers of
300 gated units on either side, and 40 latent units in the paper.
"""

import math
from typing import Annotated

import keras

from trainer.model.layers import dense, pixels
from trainer.model.options import Option
from trainer.randomness import layer_seed

# The paper's code (github.com/jmtomczak/vae_vampprior) holds the logarithm of
# a posterior's variance between these.
_LEAST_LOG_VAR, _MOST_LOG_VAR = -6.0, 2.0


def build(
    image_shape,
    latent_dim,
    seed,
    output_channels,
    *,
    width: Annotated[
        int, Option("gated units of a hidden layer", least=1, most=65536)
    ] = 300,
    depth: Annotated[
        int, Option("hidden layers on either side", least=1, most=64)
    ] = 2,
):
    """Returns the encoder and the decoder, for images of any shape."""
    images = keras.Input(image_shape, name="images")
    x = keras.layers.Flatten(name="encoder_flatten")(images)
    x = _hidden(x, "encoder", width, depth, seed)
    z_mean, z_log_var = (
        dense(x, latent_dim, name, seed) for name in ("z_mean", "z_log_var")
    )
    z_log_var = keras.ops.clip(z_log_var, _LEAST_LOG_VAR, _MOST_LOG_VAR)
    encoder = keras.Model(images, [z_mean, z_log_var], name="encoder")

    z = keras.Input((latent_dim,), name="z")
    x = _hidden(z, "decoder", width, depth, seed)
    *sides, _ = image_shape
    x = dense(x, math.prod(sides) * output_channels, "decoder_dense", seed)
    x = keras.layers.Reshape((*sides, output_channels), name="decoder_image")(x)
    x = pixels(x, image_shape)
    return encoder, keras.Model(z, x, name="decoder")


def _hidden(x, role, width, depth, seed):
    """Gated layers: (x W + b) * sigmoid(x V + c), Dauphin et al. 2017, eq. 1.

    The two products are computed as one, of twice the width.
    """
    for number in range(1, depth + 1):
        name = f"{role}_gated_{number}"
        # Glorot's, of a layer as wide as the result.
        limit = math.sqrt(6 / (x.shape[-1] + width))
        both = dense(
            x,
            2 * width,
            name,
            seed,
            kernel_initializer=keras.initializers.RandomUniform(
                -limit, limit, seed=layer_seed(seed, name)
            ),
        )
        x = keras.activations.glu(both)
    return x
