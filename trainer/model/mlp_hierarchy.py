"""`--model=mlp_hierarchy`: groups of latent units in gated dense layers.

Each group is a vector. With two groups it is much as the HVAE of Tomczak &
Welling 2018, "VAE with a VampPrior", section 3; but the groups share the
features of the image, and the posterior of a group is relative to its prior,
as `top_down` says.
"""

import math
from typing import Annotated

import keras

from trainer.errors import ConfigError
from trainer.model import top_down
from trainer.model.blocks import Blocks
from trainer.model.layers import cut_off, pixels
from trainer.model.options import Option


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
        int,
        Option(
            "hidden layers from the image, and from the top group to the next",
            least=1,
            most=64,
        ),
    ] = 2,
    groups: Annotated[
        int,
        Option("groups of latent units, of the same size", least=2, most=3),
    ] = 2,
):
    """Returns the encoder and the decoder, for images of any shape.

    The encoder takes noise beside images: see `top_down.build`.

    Raises:
        ConfigError: `latent_dim` cannot be divided among the groups.
    """
    units, left = divmod(latent_dim, groups)
    if left or not units:
        raise ConfigError(
            f"--latent_dim={latent_dim} cannot be divided among the {groups} "
            "groups of --model=mlp_hierarchy, which are of one size; use "
            f"--latent_dim={max(units, 1) * groups}."
        )
    blocks = Blocks(seed)
    images = keras.Input(image_shape, name="images")
    features = keras.layers.Flatten(name="encoder_flatten")(images)
    for number in range(1, depth + 1):
        features = blocks.gated(features, width, f"encoder_gated_{number}")
    *sides, _ = image_shape

    def of_pixels(state):
        x = blocks.dense(
            state, math.prod(sides) * output_channels, "decoder_dense"
        )
        x = keras.layers.Reshape(
            (*sides, output_channels), name="decoder_image"
        )(x)
        return pixels(x, image_shape)

    way_down = _WayDown(width, depth, units, blocks)
    return top_down.build(
        images, features, (units,) * groups, way_down, of_pixels
    )


class _WayDown(top_down.WayDown):
    """The way from z to the last hidden layer before the pixels.

    Args:
        width: int, gated units of a layer.
        depth: int, layers below the top group.
        units: int, latent units of a group.
        blocks: `Blocks`.
    """

    def __init__(self, width, depth, units, blocks):
        self._width, self._depth, self._units = width, depth, units
        self._blocks = blocks

    def top_posterior(self, features):
        return self._posterior(features, 1)

    def first(self, z):
        for number in range(1, self._depth + 1):
            z = self._blocks.gated(z, self._width, f"state_1_gated_{number}")
        return z

    def prior(self, state, group):
        # Begins as N(0, I).
        x = self._blocks.dense(
            state,
            2 * self._units,
            f"prior_{group}",
            kernel_initializer="zeros",
        )
        return x[..., : self._units], x[..., self._units :]

    def posterior(self, state, features, group):
        x = keras.layers.Concatenate(name=f"posterior_{group}_both")(
            [state, features]
        )
        x = self._blocks.gated(x, self._width, f"posterior_{group}_gated")
        return self._posterior(x, group)

    def next(self, state, value, group):
        x = self._blocks.gated(value, self._width, f"latents_{group}_gated")
        x = keras.layers.Concatenate(name=f"state_{group}_both")([state, x])
        return self._blocks.gated(x, self._width, f"state_{group}_gated")

    def _posterior(self, x, group):
        mean, log_var = (
            self._blocks.dense(x, self._units, f"{part}_{group}")
            for part in ("z_mean", "z_log_var")
        )
        return [mean, cut_off(log_var)]
