"""How latent units are drawn given an image: all at once, or in groups."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("vae_trainer")
class Sampler(keras.layers.Layer):
    """Draws z from the posterior: the reparameterisation trick.

    Kingma & Welling 2014, section 2.4.
    """

    def call(
        self,
        z_mean: tf.Tensor,
        z_log_var: tf.Tensor,
        epsilon: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns z_mean + exp(z_log_var / 2) * epsilon.

        Args:
            z_mean: tensor of shape (batch, latent_dim).
            z_log_var: tensor of the same shape.
            epsilon: standard normal noise of the same shape; None draws some
                from TensorFlow's global generator, for use in notebooks.

        Returns:
            Tensor of shape (batch, latent_dim).
        """
        if epsilon is None:
            epsilon = tf.random.normal(tf.shape(z_mean), dtype=z_mean.dtype)
        return z_mean + tf.exp(0.5 * z_log_var) * epsilon


class OneGroup:
    """All latent units at once: their posterior is of the image alone.

    Args:
        encoder: `keras.Model` from images to [z_mean, z_log_var].
        latent_dim: int.

    Attributes:
        groups: tuple of int, the latent units of each group.
        bottom_up: model from images to what `posterior` takes.
    """

    def __init__(self, encoder, latent_dim):
        self.groups = (latent_dim,)
        self.bottom_up = encoder

    def posterior(self, features, noise=None):
        """Returns the posterior of each latent unit.

        Args:
            features: of `bottom_up`.
            noise: tensor of shape (batch, latent_dim), what z is made of;
                None for zeros, so that each z is its mean.

        Returns:
            (z_mean, z_log_var), each of shape (batch, latent_dim).
        """
        del noise
        z_mean, z_log_var = features
        return z_mean, z_log_var


class Groups:
    """One group after the other: a posterior depends on what was drawn above.

    Args:
        groups: tuple of int, as of `OneGroup`, the top one first.
        bottom_up: `keras.Model` from images to features.
        top_down: `keras.Model` from features and noise to [z_mean, z_log_var].

    Attributes:
        groups: see above.
        bottom_up: see above.
    """

    def __init__(self, groups, bottom_up, top_down):
        self.groups = groups
        self.bottom_up = bottom_up
        self._top_down = top_down

    def posterior(self, features, noise=None):
        """As `OneGroup.posterior`."""
        if noise is None:
            noise = tf.zeros([tf.shape(features)[0], sum(self.groups)])
        noise = tf.cast(noise, self._top_down.compute_dtype)
        z_mean, z_log_var = self._top_down([features, noise])
        return z_mean, z_log_var


def of(encoder, latent_dim):
    """Returns how the latent units of an encoder are drawn.

    Args:
        encoder: `keras.Model`; one whose units come in groups says so in its
            attribute `latents`.
        latent_dim: int.
    """
    found = getattr(encoder, "latents", None)
    if isinstance(found, Groups):  # A user's may mean something else by it.
        return found
    return OneGroup(encoder, latent_dim)
