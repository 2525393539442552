"""Priors of the latent units: their density, draws from them, the KL.

All take z and noise of shape (batch, latent_dim). What a prior is made of at
a step, its `components`, is computed once and passed on, since it may cost an
encoding of many images.
"""

import math

import numpy as np
import tensorflow as tf

from trainer import randomness
from trainer.errors import ConfigError
from trainer.model import objective

# What rows and reports say of a KL divergence.
EXACT = "exact"
_ONE_SAMPLE = "estimate from one sample of z an image"


class StandardNormal:
    """p(z) = N(0, I), all latent units independent.

    Attributes:
        kl_is_exact: whether the KL is computed, unit by unit; else it is
            estimated, for all units together.
        weights: dict of the weights of the prior, by layer and weight.
    """

    kl_is_exact = True

    def __init__(self, latent_dim):
        self.latent_dim = latent_dim
        self.weights = {}

    def components(self):
        """Returns what the prior is made of at a step: nothing."""
        return ()

    def kl(self, z_mean, z_log_var, z, noise, components):
        """Returns the KL divergence of each unit's posterior from the prior.

        Args:
            z_mean: tensor of shape (batch, latent_dim), of the posterior.
            z_log_var: tensor of the same shape and dtype.
            z: tensor of the same shape, drawn from the posterior.
            noise: tensor of the same shape: what z was made of.
            components: as `components` gives them.

        Returns:
            Tensor of shape (batch, parts) and that dtype, in nats: a part for
            each unit, or one for all where they have no KL of their own.
        """
        del z, noise, components
        return objective.kl_per_unit(z_mean, z_log_var)

    def log_ratio(self, z, z_log_var, noise, components):
        """Returns log p(z) - log q(z | x) of z = z_mean + deviation * noise.

        The log 2 pi of the two Gaussians cancel, and (z - mean)^2 / variance
        is the square of the noise.

        Args:
            z: float64 tensor of shape (batch, latent_dim).
            z_log_var: float64 tensor of the same shape, of the posterior q.
            noise: float64 tensor of the same shape.
            components: as `components` gives them.

        Returns:
            float64 tensor of shape (batch,), in nats.
        """
        del components
        return 0.5 * tf.reduce_sum(
            tf.square(noise) + z_log_var - tf.square(z), axis=1
        )

    def draw(
        self,
        seed,
        tag,
        row,
        position,
        count,
        *,
        temperature=1.0,
        components=None,
    ):
        """Draws z, a function of (seed, tag, row, position).

        Args:
            seed: int or int64 tensor, as for `randomness.normal`.
            tag: a `randomness.Tag`.
            row: int, the page.
            position: int, the first line of it.
            count: int or int32 tensor of shape ().
            temperature: float, by which the standard deviations of the prior
                are multiplied.
            components: as `components` gives them; None to compute them now.

        Returns:
            float32 tensor of shape (count, latent_dim).
        """
        del components
        noise = randomness.normal(
            seed, tag, row, position, count, self.latent_dim
        )
        return noise if temperature == 1 else temperature * noise

    def moments(self):
        """Returns the means and deviations of the units under the prior.

        Returns:
            Two arrays of shape (latent_dim,).
        """
        return np.zeros(self.latent_dim), np.ones(self.latent_dim)


class VampPrior:
    """p(z) = 1/K sum_k q(z | u_k): the mean posterior of K trained images.

    Tomczak & Welling 2018, "VAE with a VampPrior", equation 9. The
    pseudo-inputs u_k are used cut off to [0, 1], by the Hardtanh of the
    paper's code (github.com/jmtomczak/vae_vampprior): a value that training
    has pushed beyond has no gradient any more.

    Args:
        encoder: `keras.Model` from images to [z_mean, z_log_var].
        pseudo_inputs: variable of shape (K, height, width, channels).
        latent_dim: int.
    """

    kl_is_exact = False

    def __init__(self, encoder, pseudo_inputs, latent_dim):
        self._encoder = encoder
        self.pseudo_inputs = pseudo_inputs
        self.latent_dim = latent_dim
        self.weights = {"pseudo_inputs/images": pseudo_inputs}

    def components(self):
        """Encodes the pseudo-inputs.

        Returns:
            (means, log_vars), float64 tensors of shape (K, latent_dim).
        """
        images = tf.clip_by_value(
            tf.convert_to_tensor(self.pseudo_inputs), 0, 1
        )
        posterior = self._encoder(tf.cast(images, self._encoder.compute_dtype))
        return tuple(tf.cast(part, tf.float64) for part in posterior)

    def log_density(self, z, components):
        """Returns log p(z).

        Args:
            z: float64 tensor of shape (batch, latent_dim).
            components: as `components` gives them.

        Returns:
            float64 tensor of shape (batch,), in nats.
        """
        means, log_vars = components
        # (z - mean)^2 / variance as products of matrices: with a place for
        # each z, component and unit it would take a hundred times the memory.
        # What cancels is below float64's rounding, not below float32's.
        precisions = tf.exp(-log_vars)
        scaled = precisions * means
        distances = (
            tf.matmul(tf.square(z), precisions, transpose_b=True)
            - 2 * tf.matmul(z, scaled, transpose_b=True)
            + tf.reduce_sum(scaled * means + log_vars, axis=1)
        )
        constant = math.log(means.shape[0]) + 0.5 * self.latent_dim * math.log(
            2 * math.pi
        )
        return tf.reduce_logsumexp(-0.5 * distances, axis=1) - constant

    def log_ratio(self, z, z_log_var, noise, components):
        """Returns log p(z) - log q(z | x): see `StandardNormal`."""
        log_posterior = -0.5 * tf.reduce_sum(
            math.log(2 * math.pi) + z_log_var + tf.square(noise), axis=1
        )
        return self.log_density(z, components) - log_posterior

    def kl(self, z_mean, z_log_var, z, noise, components):
        """Estimates the KL divergence from one z: log q(z | x) - log p(z).

        Its mean over z is the KL divergence; one estimate may be negative.
        For arguments and result see `StandardNormal`; there is one part.
        """
        estimate = -self.log_ratio(
            *(tf.cast(value, tf.float64) for value in (z, z_log_var, noise)),
            components,
        )
        return tf.cast(estimate[:, tf.newaxis], z_mean.dtype)

    def draw(
        self,
        seed,
        tag,
        row,
        position,
        count,
        *,
        temperature=1.0,
        components=None,
    ):
        """Draws a component and then z of it: see `StandardNormal`.

        The temperature is of the deviations of each component.
        """
        means, log_vars = components or self.components()
        noise = randomness.normal(
            seed, tag, row, position, count, self.latent_dim
        )
        shares = randomness.uniform(
            seed, randomness.Tag.PRIOR_COMPONENT, row, position, count, 1
        )
        number = tf.cast(means.shape[0] * shares[:, 0], tf.int32)
        deviations = tf.exp(0.5 * tf.gather(log_vars, number))
        z = tf.gather(means, number) + (
            temperature * deviations * tf.cast(noise, tf.float64)
        )
        return tf.cast(z, tf.float32)

    def moments(self):
        """Returns the means and deviations of the units: see above."""
        means, log_vars = (part.numpy() for part in self.components())
        squares = np.mean(np.exp(log_vars) + np.square(means), axis=0)
        mean = means.mean(axis=0)
        return mean, np.sqrt(squares - np.square(mean))


def description(prior):
    """Returns what to say of the KL divergence from a prior."""
    return EXACT if prior.kl_is_exact else _ONE_SAMPLE


def check_components(config, train_examples):
    """Refuses more pseudo-inputs than there are images to begin as.

    Raises:
        ConfigError: there are too few training images.
    """
    count = config.prior_components
    if config.prior == "vamp" and count > train_examples:
        raise ConfigError(
            f"--prior_components={count} pseudo-inputs begin as so many "
            f"training images, but there are {train_examples}; use "
            f"--prior_components={train_examples} or less."
        )


def first_pseudo_inputs(seed, images, count):
    """Returns what pseudo-inputs begin as: training images, none twice.

    Args:
        seed: int, the job's seed.
        images: uint8 array, or `StoredImages`, of shape (N, height, width,
            channels).
        count: int, K, at most N.

    Returns:
        float64 array of shape (K, height, width, channels), in [0, 1], a
        function of the seed and of the images.
    """
    chosen = randomness.chosen(
        seed, randomness.Tag.PSEUDO_INPUTS, count, len(images)
    )
    return np.asarray(images[chosen.numpy()], np.float64) / 255
