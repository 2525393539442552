"""Latent units in groups, from the top down: what the groups are to each other.

The prior of a group depends on the groups above it, and so does its posterior,
which shares the way down with the decoder (Sonderby et al. 2016, "Ladder
variational autoencoders"; Child 2021, "Very deep VAEs").

A posterior is relative to its prior, as in NVAE (Vahdat & Kautz 2020, section
3.2): of a latent value with the prior N(m, s^2), given the groups above, it is

    q = N(m + s * mean, s^2 * variance)

Here z holds not that value v but (v - m) / s. So all of z has the prior
N(0, I), the encoder gives `mean` and `variance`, the KL is that of
N(mean, variance) from N(0, 1) unit by unit, and the decoder makes v of z.
"""

import abc

import keras

from trainer.model.latents import Groups

# Logarithms of a prior's variance lie softly between -5 and 5.
_MOST_LOG_VAR = 5.0


class WayDown(abc.ABC):
    """The layers from the top group down, which encoder and decoder share.

    A state is what the groups so far have made: a tensor.
    """

    @abc.abstractmethod
    def top_posterior(self, features):
        """Returns [mean, log-variance] of the top group, (batch, units).

        Args:
            features: tensor, of the image.
        """

    @abc.abstractmethod
    def first(self, z):
        """Returns the state after the top group.

        Args:
            z: tensor of shape (batch, units) of that group.
        """

    @abc.abstractmethod
    def prior(self, state, group):
        """Returns (mean, log-variance) of the values of a group.

        Args:
            state: tensor, after the group above.
            group: int, from 2.
        """

    @abc.abstractmethod
    def posterior(self, state, features, group):
        """Returns [mean, log-variance] of a group, relative to its prior.

        Args:
            state: tensor, after the group above.
            features: tensor, of the image.
            group: int, from 2.
        """

    @abc.abstractmethod
    def next(self, state, value, group):
        """Returns the state after another group.

        Args:
            state: tensor, after the group above.
            value: tensor of the shape that `prior` gives.
            group: int, from 2.
        """


def build(images, features, sizes, way_down, pixels):
    """Returns the encoder and the decoder.

    The encoder takes noise beside images: the posterior of a group depends on
    what is drawn in the groups above it. Its `latents` are the `Groups`.

    Args:
        images: `keras.Input`.
        features: tensor that the layers of the encoder make of them.
        sizes: tuple of int, the latent units of each group, the top one first.
        way_down: a `WayDown`.
        pixels: function from the last state to the parameters of pixels.
    """
    # What is drawn here is what `Sampler` draws, to the bit.
    dtype = keras.config.dtype_policy().compute_dtype
    noise = keras.Input((sum(sizes),), name="noise", dtype=dtype)
    encoder = keras.Model(
        [images, noise],
        _posterior(features, noise, sizes, way_down),
        name="encoder",
    )
    # The same in two parts: many z of one image need its features once.
    given = keras.Input(features.shape[1:], name="features", dtype=dtype)
    encoder.latents = Groups(
        sizes,
        keras.Model(images, features, name="bottom_up"),
        keras.Model(
            [given, noise],
            _posterior(given, noise, sizes, way_down),
            name="top_down",
        ),
    )
    z = keras.Input((sum(sizes),), name="z", dtype=dtype)
    top, *others = _split(z, sizes)
    state = way_down.first(top)
    for group, z_of_group in enumerate(others, 2):
        state = _next(way_down, state, z_of_group, group)
    return encoder, keras.Model(z, pixels(state), name="decoder")


def _posterior(features, noise, sizes, way_down):
    """Returns [z_mean, z_log_var] of all groups."""
    mean, log_var = way_down.top_posterior(features)
    means, log_vars, state = [mean], [log_var], None
    for group, noise_above in enumerate(_split(noise, sizes[:-1]), 2):
        z = mean + keras.ops.exp(0.5 * log_var) * noise_above
        state = (
            way_down.first(z)
            if group == 2
            else _next(way_down, state, z, group - 1)
        )
        mean, log_var = way_down.posterior(state, features, group)
        means.append(mean)
        log_vars.append(log_var)
    return [
        keras.layers.Concatenate(name=name)(parts)
        for name, parts in (("z_mean", means), ("z_log_var", log_vars))
    ]


def _next(way_down, state, z, group):
    """Returns the state after a group whose z, under N(0, I), is given."""
    mean, log_var = way_down.prior(state, group)
    log_var = _MOST_LOG_VAR * keras.ops.tanh(log_var / _MOST_LOG_VAR)
    z = keras.ops.reshape(z, (-1, *mean.shape[1:]))
    value = mean + keras.ops.exp(0.5 * log_var) * z
    return way_down.next(state, value, group)


def _split(z, sizes):
    """Yields the part of each group."""
    start = 0
    for size in sizes:
        yield z[:, start : start + size]
        start += size
