"""The methods of a `VAE` for scripts and notebooks: any number of images.

They take arrays and give arrays, or tensors and tensors. The images are
checked first, and computed in batches, so that ten thousand of them need no
more memory than a few hundred.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from trainer import randomness
from trainer.model.array_checks import (
    as_fractions,
    check_levels,
    checked_images,
    checked_labels,
    checked_latents,
)
from trainer.model.inference import BATCH_SIZE
from trainer.model.likelihoods import Likelihood
from trainer.model.pixel_parameters import PixelParameters

Values: TypeAlias = "np.ndarray | tf.Tensor"
Labels: TypeAlias = "np.ndarray | tf.Tensor | int | None"

# What an int64 holds.
_MOST = 2**63 - 1


class ArrayMethods:
    """What a `VAE` makes of images and of latent vectors.

    Images are of shape (N, height, width, channels): floats or bools from 0 to
    1, or uint8 from 0 to 255. What is given as an array or a list comes back
    as an array, a tensor as a tensor, through which gradients go. Results are
    in the precision that the model computes in; arrays of bfloat16, for which
    NumPy has no type, are float32.

    A model of `--condition=labels` wants the labels of them, too: integers of
    shape (N,), or one for all. Other models take none.

    Inside of a `tf.function` all is one batch, and pixels cannot be looked at.

    All raise a ValueError for images, z or labels that the model cannot take;
    the message says what was expected.
    """

    # Of the `VAE` whose methods these are.
    image_shape: tuple[int, int, int]
    latent_dim: int
    classes: int
    encoder: keras.Model
    decoder: keras.Model
    likelihood: Likelihood
    _pixels: PixelParameters

    def encode(
        self, images: Values, labels: Labels = None
    ) -> tuple[Values, Values]:
        """Returns the posterior of images.

        Of groups of latent units, that of each group where the groups above
        are at their means.

        Args:
            images: see the class.
            labels: see the class.

        Returns:
            (z_mean, z_log_var), each of shape (N, latent_dim).
        """
        images = checked_images(images, self.image_shape)
        return _in_batches(
            lambda batch, labels, _: self._posterior(batch, labels),
            images,
            self._labels(labels, images),
        )

    def decode(self, z: Values, labels: Labels = None) -> Values:
        """Returns what latent vectors look like.

        Args:
            z: numbers of shape (N, latent_dim).
            labels: see the class.

        Returns:
            Images of shape (N, height, width, channels), floats in [0, 1].
        """
        z = checked_latents(z, self.latent_dim)
        (images,) = _in_batches(
            lambda batch, labels, _: (self._decoded(batch, labels),),
            z,
            self._labels(labels, z),
        )
        return images

    def reconstruct(self, images: Values, labels: Labels = None) -> Values:
        """Decodes the posterior means of images.

        Args:
            images: see the class.
            labels: see the class.

        Returns:
            Images of the same shape, floats in [0, 1].
        """
        images = checked_images(images, self.image_shape)

        def reconstructed(batch, labels, _):
            z_mean, _ = self._posterior(batch, labels)
            return (self._decoded(z_mean, labels),)

        (found,) = _in_batches(
            reconstructed, images, self._labels(labels, images)
        )
        return found

    def sample(
        self, count: int, seed: int = 0, labels: Labels = None
    ) -> np.ndarray:
        """Decodes draws from the prior: those that `vae-generate` decodes.

        Args:
            count: how many images, from 1.
            seed: from 0. The images are a function of it, and the first ones
                of a larger count are the same.
            labels: see the class.

        Returns:
            Float array of shape (count, height, width, channels), in [0, 1].
        """
        count, seed = _checked("count", count, 1), _checked("seed", seed)
        labels = checked_labels(labels, self.classes, count)
        components = self.components()

        def drawn(batch, labels, start):
            z = self.prior.draw(
                seed,
                randomness.Tag.PICTURES,
                row=0,
                position=start,
                count=len(batch),
                components=components,
            )
            return (self._decoded(z, labels),)

        (images,) = _in_batches(drawn, np.empty(count), labels)
        return images

    def elbo(
        self, images: Values, labels: Labels = None, seed: int = 0
    ) -> Values:
        """Returns a lower bound of log p(x) for each image, in nats.

        With labels it is one of log p(x | label).

        log p(x | z) of one z of the posterior, less the KL divergence of the
        posterior from the prior (Kingma & Welling 2014, equation 3), whatever
        the `beta` of the training. The KL is exact, but with a VampPrior an
        estimate from that z. What kind of number log p(x) is depends on the
        likelihood: docs/likelihoods.md.

        Args:
            images: see the class; for a likelihood of 256 levels, multiples of
                1/255.
            labels: see the class.
            seed: from 0, of the noise that z is made of, which also depends on
                the place of an image. The mean over the test images with the
                seed of the job is the ELBO of `vae-evaluate`.

        Returns:
            float64 of shape (N,).
        """
        images = checked_images(images, self.image_shape)
        labels = self._labels(labels, images)
        seed = _checked("seed", seed)
        components = self.components()
        log_normalizer = self.likelihood.log_normalizer(
            math.prod(self.image_shape)
        )

        def bounds(batch, labels, start):
            batch = as_fractions(batch, self.encoder.variable_dtype)
            if self.likelihood.of_levels:
                check_levels(batch)
            noise = randomness.normal(
                seed,
                randomness.Tag.TEST_NOISE,
                row=0,
                position=start,
                count=tf.shape(batch)[0],
                width=self.latent_dim,
            )
            reconstruction_loss, kl, _, _ = self.terms_and_fired(
                batch, noise, components, labels
            )
            kl = tf.reduce_sum(tf.cast(kl, tf.float64), axis=1)
            return (
                -tf.cast(reconstruction_loss, tf.float64) - log_normalizer - kl,
            )

        (found,) = _in_batches(bounds, images, labels)
        return found

    def _labels(self, labels, values):
        """Returns the labels of values, as `checked_labels` does."""
        count = len(values) if tf.executing_eagerly() else tf.shape(values)[0]
        return checked_labels(labels, self.classes, count)

    def _posterior(self, images, labels):
        if images.dtype != tf.uint8:
            images = tf.cast(images, self.encoder.variable_dtype)
        return self._graphs.run(self._posterior_of_pixels, images, labels)

    def _decoded(self, z, labels):
        z = tf.cast(z, self.decoder.variable_dtype)
        return self._graphs.run(self._means, z, labels)

    def _posterior_of_pixels(self, images, labels=None):
        images = as_fractions(images, self.encoder.variable_dtype)
        return self.latents.posterior(self.features(images, labels))

    def _means(self, z, labels=None):
        return self._pixels.means(z, self.image_shape[-1], labels)

    @functools.cached_property
    def _graphs(self):
        return _Graphs()


class _Graphs:
    """Ways through a model as graphs, each traced when it is first taken.

    A graph is that of the SavedModel, and computes the same to the bit. One
    by one its operations take about twice as long, and differ in the last
    bits: a graph multiplies by 1/255 where it says to divide by 255, and adds
    a bias within the convolution.
    """

    def __init__(self):
        self._traced = {}

    def run(self, method, values, labels):
        """Returns what a method makes of values and their labels, if any.

        Args:
            method: of a model: takes values, and labels where there are any.
            values: tensor of shape (N, ...).
            labels: int32 tensor of shape (N,), or None.
        """
        values = tf.convert_to_tensor(values)
        inputs = [values] if labels is None else [values, labels]
        if not tf.executing_eagerly():
            return method(*inputs)
        kind = method.__name__, values.dtype
        if kind not in self._traced:
            self._traced[kind] = tf.function(
                method,
                input_signature=[
                    tf.TensorSpec([None, *each.shape[1:]], each.dtype)
                    for each in inputs
                ],
            )
        return self._traced[kind](*inputs)


def _in_batches(function, values, labels):
    """Returns what a function makes of values, joined.

    Args:
        function: of a batch, its labels and the index of its first value;
            returns a tuple of tensors, each as long as the batch.
        values: array or tensor.
        labels: tensor as long as the values, or None.
    """
    if not tf.executing_eagerly():
        return function(values, labels, 0)

    def of_batch(start):
        stop = start + BATCH_SIZE
        of_these = None if labels is None else labels[start:stop]
        found = function(values[start:stop], of_these, start)
        return found if tf.is_tensor(values) else map(_array, found)

    batches = map(of_batch, range(0, len(values), BATCH_SIZE))
    join = tf.concat if tf.is_tensor(values) else np.concatenate
    return tuple(join(parts, axis=0) for parts in zip(*batches, strict=True))


def _array(tensor):
    if tensor.dtype == tf.bfloat16:
        tensor = tf.cast(tensor, tf.float32)
    return tensor.numpy()


def _checked(name, number, least=0):
    """Returns a count or a seed as an int."""
    try:
        found = operator.index(number)
    except TypeError:
        found = -1
    if isinstance(number, bool) or not least <= found <= _MOST:
        raise ValueError(
            f"{name}={number!r} is not a whole number from {least}."
        )
    return found
