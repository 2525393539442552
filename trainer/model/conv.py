"""`--model=conv`: residual blocks, for pictures from 28x28 to 256x256.

An encoder halves the sides until the shorter one has 4 to 7 pixels, with
residual blocks at each size but the first, and a decoder doubles them again.
Sides that cannot be halved so often get margins of zeros first, and the
decoder cuts them off at the end.

With classes, each residual block on either side adds a bias of the image's
class to the channels between its two convolutions.
"""

from typing import Annotated

import keras

from trainer.model.blocks import Blocks, Plan
from trainer.model.layers import with_labels
from trainer.model.options import Option


def build(
    image_shape,
    latent_dim,
    seed,
    output_channels,
    classes=0,
    *,
    width: Annotated[
        int,
        Option(
            "channels at half the size of the image, and half of them at the "
            "full size; a multiple of 16",
            least=16,
            most=2048,
        ),
    ] = 32,
    depth: Annotated[
        int, Option("residual blocks at each size", least=1, most=64)
    ] = 1,
):
    """Returns the encoder and the decoder, for images of sides from 8."""
    plan = Plan.of(image_shape, width, "conv")
    blocks = Blocks(seed)
    return (
        _encoder(plan, latent_dim, classes, depth, blocks),
        _decoder(plan, latent_dim, classes, output_channels, depth, blocks),
    )


def _encoder(plan, latent_dim, classes, depth, blocks):
    images = keras.Input(plan.image_shape, name="images")
    inputs, label = with_labels(images, classes)
    x = blocks.shrunk(images, plan, depth, label)
    x = keras.layers.Flatten(name="encoder_flatten")(x)
    posterior = [
        blocks.dense(x, latent_dim, name) for name in ("z_mean", "z_log_var")
    ]
    return keras.Model(inputs, posterior, name="encoder")


def _decoder(plan, latent_dim, classes, output_channels, depth, blocks):
    z = keras.Input((latent_dim,), name="z")
    inputs, label = with_labels(z, classes)
    height, width = plan.smallest
    channels = plan.widths[-1]
    x = blocks.dense(z, height * width * channels, "decoder_dense")
    x = keras.layers.Reshape((height, width, channels), name="decoder_image")(x)
    x = blocks.grown(x, plan, depth, output_channels, label)
    return keras.Model(inputs, x, name="decoder")
