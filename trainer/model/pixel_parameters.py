"""What a decoder makes of z: parameters of pixels, and pixels to look at."""

import tensorflow as tf

from trainer.model import last_layer, likelihoods


class PixelParameters:
    """A decoder with the likelihood that its parameters are for.

    Args:
        decoder: `keras.Model` from z to the parameters of pixels.
        likelihood: the `Likelihood` that was asked for.
        dtype: of the weights, in which the parameters are given.
        is_exact: whether parameters are computed in that precision from the
            last layer on, as of arithmetic 3.

    Attributes:
        likelihood: the `Likelihood` that they are for: another one where the
            logits of a decoder cannot be had.
    """

    def __init__(self, decoder, likelihood, dtype, is_exact):
        self._decoder = decoder
        self._dtype = dtype
        self._gives_pixels = (
            last_layer.gives(decoder) == last_layer.PROBABILITIES
        )
        without_sigmoid = likelihood.from_logits and self._gives_pixels
        if without_sigmoid and not last_layer.has_logits(decoder):
            likelihood = likelihoods.OF_PROBABILITIES
            without_sigmoid = False
        self.likelihood = likelihood
        # bfloat16 has a hundred values from 1/2 to 1.
        is_mixed = is_exact and decoder.compute_dtype != dtype
        sigmoid_apart = is_mixed and last_layer.has_logits(decoder)
        self._decode = last_layer.decode(
            decoder, without_sigmoid or sigmoid_apart, fast=not is_mixed
        )
        self._needs_sigmoid = sigmoid_apart and not without_sigmoid

    def parameters(self, z, labels=None):
        """Returns the parameters of pixels, in the precision of the weights.

        Args:
            z: tensor of shape (batch, latent_dim), in the precision that the
                decoder computes in.
            labels: int32 tensor of shape (batch,), if the decoder takes them.
        """
        inputs = z if labels is None else [z, labels]
        found = tf.cast(self._decode(inputs), self._dtype)
        return tf.sigmoid(found) if self._needs_sigmoid else found

    def means(self, z, channels, labels=None):
        """Returns the mean of each value, from 0 to 1.

        Args:
            z: tensor of shape (batch, latent_dim).
            channels: int, of an image.
            labels: as of `parameters`.

        Returns:
            Tensor of shape (batch, height, width, channels), in the precision
            that the decoder computes in.
        """
        z = tf.cast(z, self._decoder.compute_dtype)
        inputs = z if labels is None else [z, labels]
        parameters = self._decoder(inputs, training=False)
        if self._gives_pixels:
            return parameters
        return self.likelihood.means(parameters, channels)
