"""`--model=hierarchy`: two or three groups of latent units, from the top down.

The top group is a vector; the others are maps of the smallest size. The prior
of a group depends on the groups above it, and so does its posterior, which
shares the way down with the decoder (Sonderby et al. 2016, "Ladder variational
autoencoders"; Child 2021, "Very deep VAEs").

A posterior is relative to its prior, as in NVAE (Vahdat & Kautz 2020, section
3.2): of a latent value with the prior N(m, s^2), given the groups above, it is

    q = N(m + s * mean, s^2 * variance)

Here z holds not that value v but (v - m) / s. So all of z has the prior
N(0, I), the encoder gives `mean` and `variance`, the KL is that of
N(mean, variance) from N(0, 1) unit by unit, and the decoder makes v of z.
"""

import math
from typing import Annotated

import keras

from trainer.errors import ConfigError
from trainer.model.blocks import Blocks, Plan
from trainer.model.latents import Groups
from trainer.model.options import Option

# Logarithms of a prior's variance lie softly between -5 and 5.
_MOST_LOG_VAR = 5.0


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
    way_down = _WayDown(plan, channels, blocks)
    return (
        _encoder(plan, sizes, depth, blocks, way_down),
        _decoder(plan, sizes, depth, output_channels, blocks, way_down),
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


class _WayDown:
    """The way from z to the pixels that encoder and decoder share.

    Args:
        plan: a `Plan`.
        channels: int, latent units at each place of a map.
        blocks: `Blocks`.
    """

    def __init__(self, plan, channels, blocks):
        self._image = (*plan.smallest, plan.widths[-1])
        self._map = (*plan.smallest, channels)
        self._blocks = blocks

    def first(self, z):
        """Returns the state after the top group, of shape (batch, *image)."""
        x = self._blocks.dense(z, math.prod(self._image), "state_1")
        x = keras.layers.Reshape(self._image)(x)
        return self._blocks.residual(x, 1, "state_1")

    def next(self, state, z, group):
        """Returns the state after another group.

        Args:
            state: tensor, after the group above.
            z: tensor of shape (batch, units) of the group, under N(0, I).
            group: int, from 2.
        """
        blocks, channels = self._blocks, self._map[-1]
        name = f"prior_{group}"
        x = blocks.normalised(state, name)
        # Begins as N(0, I).
        x = blocks.convolution(
            x, 2 * channels, 1, name, kernel_initializer="zeros"
        )
        mean, log_var = x[..., :channels], x[..., channels:]
        log_var = _MOST_LOG_VAR * keras.ops.tanh(log_var / _MOST_LOG_VAR)
        value = mean + keras.ops.exp(0.5 * log_var) * keras.ops.reshape(
            z, (-1, *self._map)
        )
        x = blocks.convolution(value, self._image[-1], 3, f"latents_{group}")
        x = blocks.layer(keras.layers.Add, [state, x], f"state_{group}_sum")
        return blocks.residual(x, 1, f"state_{group}")

    def posterior(self, state, features, group):
        """Returns mean and log-variance of a group, relative to its prior.

        Args:
            state: tensor, after the group above.
            features: tensor of that shape, of the image.
            group: int, from 2.
        """
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


def _encoder(plan, sizes, depth, blocks, way_down):
    # What is drawn here is what `Sampler` draws, to the bit.
    dtype = keras.config.dtype_policy().compute_dtype
    images = keras.Input(plan.image_shape, name="images")
    noise = keras.Input((sum(sizes),), name="noise", dtype=dtype)
    features = blocks.shrunk(images, plan, depth)
    encoder = keras.Model(
        [images, noise],
        _posterior(features, noise, sizes, blocks, way_down),
        name="encoder",
    )
    # The same in two parts: many z of one image need its features once.
    given = keras.Input(features.shape[1:], name="features", dtype=dtype)
    encoder.latents = Groups(
        sizes,
        keras.Model(images, features, name="bottom_up"),
        keras.Model(
            [given, noise],
            _posterior(given, noise, sizes, blocks, way_down),
            name="top_down",
        ),
    )
    return encoder


def _posterior(features, noise, sizes, blocks, way_down):
    """Returns [z_mean, z_log_var] of all groups."""
    x = keras.layers.Flatten(name="encoder_flatten")(features)
    mean, log_var = (
        blocks.dense(x, sizes[0], name) for name in ("z_mean_1", "z_log_var_1")
    )
    means, log_vars, state = [mean], [log_var], None
    for group, noise_above in enumerate(_split(noise, sizes[:-1]), 2):
        z = mean + keras.ops.exp(0.5 * log_var) * noise_above
        state = (
            way_down.first(z)
            if group == 2
            else way_down.next(state, z, group - 1)
        )
        mean, log_var = way_down.posterior(state, features, group)
        means.append(mean)
        log_vars.append(log_var)
    return [
        keras.layers.Concatenate(name=name)(parts)
        for name, parts in (("z_mean", means), ("z_log_var", log_vars))
    ]


def _decoder(plan, sizes, depth, output_channels, blocks, way_down):
    dtype = keras.config.dtype_policy().compute_dtype
    z = keras.Input((sum(sizes),), name="z", dtype=dtype)
    top, *others = _split(z, sizes)
    state = way_down.first(top)
    for group, z_of_group in enumerate(others, 2):
        state = way_down.next(state, z_of_group, group)
    x = blocks.grown(state, plan, depth, output_channels)
    return keras.Model(z, x, name="decoder")


def _split(z, sizes):
    """Yields the part of each group."""
    start = 0
    for size in sizes:
        yield z[:, start : start + size]
        start += size
