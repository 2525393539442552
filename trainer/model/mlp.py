"""`--model=mlp`: gated fully connected layers, for images of any shape.

The VAE of Tomczak & Welling 2018, "VAE with a VampPrior": two hidden layers of
300 gated units on either side, and 40 latent units in the paper.

With classes, the first hidden layer on either side also takes the label as a
one-hot vector, beside the image or z (Sohn, Lee & Yan 2015, "Learning
structured output representation using deep conditional generative models").
"""

import math
from typing import Annotated

import keras

from trainer.model.layers import (
    cut_off,
    dense,
    glorot_of_gates,
    pixels,
    with_labels,
)
from trainer.model.options import Option


def build(
    image_shape,
    latent_dim,
    seed,
    output_channels,
    classes=0,
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
    inputs, label = with_labels(images, classes)
    x = keras.layers.Flatten(name="encoder_flatten")(images)
    x = _hidden(x, label, "encoder", width, depth, seed)
    z_mean, z_log_var = (
        dense(x, latent_dim, name, seed) for name in ("z_mean", "z_log_var")
    )
    encoder = keras.Model(inputs, [z_mean, cut_off(z_log_var)], name="encoder")

    z = keras.Input((latent_dim,), name="z")
    inputs, label = with_labels(z, classes)
    x = _hidden(z, label, "decoder", width, depth, seed)
    *sides, _ = image_shape
    x = dense(x, math.prod(sides) * output_channels, "decoder_dense", seed)
    x = keras.layers.Reshape((*sides, output_channels), name="decoder_image")(x)
    x = pixels(x, image_shape)
    return encoder, keras.Model(inputs, x, name="decoder")


def _hidden(x, label, role, width, depth, seed):
    """Gated layers: (x W + b) * sigmoid(x V + c), Dauphin et al. 2017, eq. 1.

    The two products are computed as one, of twice the width. A label has a
    kernel of its own in the first layer, whose product is added: the same as
    one kernel of both, and that of x fits a model without labels.
    """
    for number in range(1, depth + 1):
        name = f"{role}_gated_{number}"
        both = dense(
            x,
            2 * width,
            name,
            seed,
            kernel_initializer=glorot_of_gates(x.shape[-1], width, seed, name),
        )
        if number == 1 and label is not None:
            of_label = dense(
                label, 2 * width, f"{role}_label", seed, use_bias=False
            )
            both = keras.layers.Add(name=f"{role}_label_sum")([both, of_label])
        x = keras.activations.glu(both)
    return x
