"""`--model=hierarchy`: two or three groups of latent units, from the top down.

The top group is a vector; the others are maps of the smallest size. What the
groups are to each other is in `top_down`.
"""

import math
from typing import Annotated

import keras

from trainer.errors import ConfigError
from trainer.model import top_down
from trainer.model.blocks import Blocks, Plan
from trainer.model.options import Option


def build(
    image_shape,
    latent_dim,
    seed,
    output_channels,
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
    ] = 2,
    groups: Annotated[
        int, Option("groups of latent units", least=2, most=3)
    ] = 2,
    channels: Annotated[
        int,
        Option(
            "latent units at each place of the smallest size, in each group "
            "but the top one",
            least=1,
            most=1024,
        ),
    ] = 2,
):
    """Returns the encoder and the decoder, for images of sides from 8.

    The encoder takes noise beside images: the posterior of a group depends on
    what is drawn in the groups above it. Its `latents` are the `Groups`.

    Raises:
        ConfigError: `latent_dim` leaves no unit to the top group.
    """
    plan = Plan.of(image_shape, width, "hierarchy")
    sizes = _sizes(plan, latent_dim, groups, channels)
    blocks = Blocks(seed)
    images = keras.Input(plan.image_shape, name="images")
    features = blocks.shrunk(images, plan, depth)
    return top_down.build(
        images,
        features,
        sizes,
        _WayDown(plan, sizes[0], channels, blocks),
        lambda state: blocks.grown(state, plan, depth, output_channels),
    )


def _sizes(plan, latent_dim, groups, channels):
    """Returns the latent units of each group, the top one first."""
    of_map = math.prod(plan.smallest) * channels
    below = (groups - 1) * of_map
    if latent_dim <= below:
        height, width = plan.smallest
        raise ConfigError(
            f"--latent_dim={latent_dim} leaves no unit to the top group of "
            f"--model=hierarchy: {groups - 1} below it take {height} x {width} "
            f"x {channels} units each; use --latent_dim={below + 1} or more, "
            "or fewer of --model_options=groups or channels."
        )
    return (latent_dim - below, *[of_map] * (groups - 1))


class _WayDown(top_down.WayDown):
    """The way from z to the last map before the pixels.

    Args:
        plan: a `Plan`.
        top: int, latent units of the top group.
        channels: int, latent units at each place of a map.
        blocks: `Blocks`.
    """

    def __init__(self, plan, top, channels, blocks):
        self._top = top
        self._image = (*plan.smallest, plan.widths[-1])
        self._map = (*plan.smallest, channels)
        self._blocks = blocks

    def top_posterior(self, features):
        x = keras.layers.Flatten(name="encoder_flatten")(features)
        return [
            self._blocks.dense(x, self._top, name)
            for name in ("z_mean_1", "z_log_var_1")
        ]

    def first(self, z):
        x = self._blocks.dense(z, math.prod(self._image), "state_1")
        x = keras.layers.Reshape(self._image)(x)
        return self._blocks.residual(x, 1, "state_1")

    def prior(self, state, group):
        blocks, channels = self._blocks, self._map[-1]
        name = f"prior_{group}"
        x = blocks.normalised(state, name)
        # Begins as N(0, I).
        x = blocks.convolution(
            x, 2 * channels, 1, name, kernel_initializer="zeros"
        )
        return x[..., :channels], x[..., channels:]

    def next(self, state, value, group):
        blocks = self._blocks
        x = blocks.convolution(value, self._image[-1], 3, f"latents_{group}")
        x = blocks.layer(keras.layers.Add, [state, x], f"state_{group}_sum")
        return blocks.residual(x, 1, f"state_{group}")

    def posterior(self, state, features, group):
        blocks, channels = self._blocks, self._map[-1]
        name = f"posterior_{group}"
        x = blocks.normalised(state, f"{name}_state")
        x = keras.layers.Concatenate(name=f"{name}_both")([x, features])
        x = blocks.convolution(x, self._image[-1], 3, f"{name}_hidden")
        x = blocks.normalised(x, name)
        # Begins as the prior.
        x = blocks.convolution(
            x, 2 * channels, 1, name, kernel_initializer="zeros"
        )
        return [
            keras.layers.Flatten(name=f"{part}_{group}")(values)
            for part, values in (
                ("z_mean", x[..., :channels]),
                ("z_log_var", x[..., channels:]),
            )
        ]
