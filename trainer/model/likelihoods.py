"""Likelihoods of an image: what p(x | z) is, given what a decoder says of it.

A decoder gives the *parameters* of a distribution of pixels: the logits of
their probabilities for `bce`, their means for all others, and for `logistic`
their scales as well if it has twice the channels. All losses are in nats per
image, summed over its values; a value is one channel of one pixel, from 0 to
1, and an image has height x width x channels of them.
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from trainer import arithmetic

# The first deviation is 0.22. Adam moves a weight by at most about its
# learning rate a step (Kingma & Ba 2015, section 2.1): from a variance of 1 it
# would take nine epochs of Fashion-MNIST to one that fits.
_FIRST_LOG_VARIANCE = -3.0
# Of Laplace and logistic distributions of about that deviation.
_FIRST_LOG_SCALE = -2.0
# e^-7 is a quarter of the width of a level: no narrower one fits better.
_LEAST_LOG_SCALE = -7.0
_LEVELS = 256

DENSITY = "log-density of pixels from 0 to 1"
PROBABILITY = "log-probability"
GREY_CROSS_ENTROPY = "cross-entropy of grey pixels, so not normalised"


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """How probable an image is, given what a decoder says of it.

    Attributes:
        name: str, as `--reconstruction_loss` has it.
        kind: str, what kind of number log p(x) is: `DENSITY` or `PROBABILITY`.
        loss: function of images, parameters and the likelihood's own weight
            if it has one; all but the last are tensors of shape (batch,
            height, width, channels) of one dtype. Returns a tensor of shape
            (batch,): -log p(x | z), less `log_normalizer`.
        from_logits: whether the parameters are logits, so that the sigmoid at
            the end of a decoder is left out.
        weight: str, the name of a weight of its own; empty for none.
        first_value: float, of that weight.
        weight_a_channel: whether the weight has an entry for each channel.
        parameters_a_value: the most parameters that a value may have.
        nats_a_value: float, what the loss leaves out for each value.
        of_levels: whether a value is one of 256 levels.
    """

    name: str
    kind: str
    loss: Callable
    from_logits: bool = False
    weight: str = ""
    first_value: float = 0.0
    weight_a_channel: bool = False
    parameters_a_value: int = 1
    nats_a_value: float = 0.0
    of_levels: bool = False

    @property
    def may_exceed_one(self):
        """Whether exp(-loss) may be above 1, and the loss negative."""
        # Of `mse`, the loss is a sum of squares.
        return self.kind == DENSITY and not self.nats_a_value

    def log_normalizer(self, values):
        """Returns the constant that the loss leaves out, in nats per image.

        -log p(x | z) is the loss plus this. For `mse`, half the logarithm of
        pi for each value: the density of a Gaussian with variance 1/2 is
        exp(-(x - mean)^2) / sqrt(pi). The others leave nothing out.

        Args:
            values: int, values in an image.
        """
        return values * self.nats_a_value

    def means(self, parameters, channels):
        """Returns the mean of each value, from 0 to 1: the picture to show.

        Args:
            parameters: tensor of shape (batch, height, width, channels), or
                with twice the channels.
            channels: int, of the image.
        """
        if self.from_logits:
            return tf.sigmoid(parameters)
        return tf.clip_by_value(parameters[..., :channels], 0, 1)


def squared_error(images, means):
    """Squared error summed over pixels.

    Up to a constant this is the negative log-likelihood of a Gaussian with
    variance 1/2 around the means.

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        means: tensor of the same shape and dtype.

    Returns:
        Tensor of shape (batch,).
    """
    return _sum(tf.square(images - means))


def bernoulli_cross_entropy(images, logits):
    """Binary cross-entropy summed over pixels, from logits.

    The negative log-likelihood of a Bernoulli per value whose probability is
    the sigmoid of the logit (Kingma & Welling 2014, appendix C.1, equation
    11). From logits, it has a gradient however sure the decoder is.

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        logits: tensor of the same shape and dtype.

    Returns:
        Tensor of shape (batch,).
    """
    return _sum(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=logits)
    )


def cross_entropy_of_probabilities(images, probabilities):
    """Binary cross-entropy as arithmetic 1 and 2 have it: of probabilities.

    A sigmoid saturates to exactly 0 or 1 in floating point, so these are cut
    off; from there on they have no gradient.

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        probabilities: tensor of the same shape and dtype, in [0, 1].

    Returns:
        Tensor of shape (batch,).
    """
    tiny = 1e-7
    p = tf.clip_by_value(probabilities, tiny, 1 - tiny)
    return -_sum(images * tf.math.log(p) + (1 - images) * tf.math.log1p(-p))


def gaussian_negative_log_likelihood(images, means, log_variance):
    """-log p(x | z) of a Gaussian whose variance is learned.

    Half of log 2 pi + log var + (x - mean)^2 / var for each value, of a
    density: it is negative where the values are known better than to about
    1/4. The best variance is the mean squared error (Rybkin, Daniilidis &
    Levine 2021, "Simple and effective VAE training with calibrated decoders").

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        means: tensor of the same shape and dtype.
        log_variance: tensor of shape (), or (channels,) for one each, and the
            same dtype.

    Returns:
        Tensor of shape (batch,).
    """
    if log_variance.shape.rank:
        squares = tf.square(images - means) * tf.exp(-log_variance)
        return 0.5 * _sum(math.log(2 * math.pi) + log_variance + squares)
    values = images.shape[1:].num_elements()
    return 0.5 * (
        values * (math.log(2 * math.pi) + log_variance)
        + squared_error(images, means) * tf.exp(-log_variance)
    )


def laplace_negative_log_likelihood(images, means, log_scale):
    """-log p(x | z) of a Laplace distribution whose scale is learned.

    log 2b + |x - mean| / b for each value, of a density.

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        means: tensor of the same shape and dtype.
        log_scale: tensor of shape () and the same dtype: log b.

    Returns:
        Tensor of shape (batch,).
    """
    distance = tf.abs(images - means) * tf.exp(-log_scale)
    return _sum(math.log(2) + log_scale + distance)


def discretized_logistic(images, parameters, log_scale):
    """-log P(x | z) of levels from 0 to 255, of a logistic distribution.

    The probability of a level is that of its interval, half a level to each
    side; those of 0 and of 255 reach to infinity, so that the 256 sum to 1
    (Salimans et al. 2017, "PixelCNN++", section 2.1).

    Args:
        images: tensor of shape (batch, height, width, channels), multiples
            of 1/255 in [0, 1].
        parameters: tensor of the same shape and dtype, the means; or with
            twice the channels, and the logarithms of the scales relative to
            `log_scale` follow.
        log_scale: tensor of shape (channels,) and the same dtype.

    Returns:
        Tensor of shape (batch,).
    """
    means = parameters
    if parameters.shape[-1] != images.shape[-1]:
        means, of_values = tf.split(parameters, 2, axis=-1)
        log_scale += of_values
    log_scale = tf.maximum(
        log_scale, tf.constant(_LEAST_LOG_SCALE, images.dtype)
    )
    inverse = tf.exp(-log_scale)
    half = 0.5 / (_LEVELS - 1)
    above = (images - means + half) * inverse
    below = (images - means - half) * inverse
    # sigmoid(above) - sigmoid(below), as a product whose logarithm is exact
    # also far from the mean: 1 - exp(below - above) of what is left of above
    # and right of below.
    inside = (
        tf.math.log(-tf.math.expm1(-2 * half * inverse))
        + tf.math.log_sigmoid(above)
        + tf.math.log_sigmoid(-below)
    )
    # Whole levels: the least lies below half a level, the highest above.
    log_probability = tf.where(
        images < half,
        tf.math.log_sigmoid(above),
        tf.where(images > 1 - half, tf.math.log_sigmoid(-below), inside),
    )
    return -_sum(log_probability)


def _sum(values):
    return tf.reduce_sum(values, axis=(1, 2, 3))


# For arithmetic 1 and 2, and for decoders whose logits cannot be had.
OF_PROBABILITIES = Likelihood(
    "bce", PROBABILITY, cross_entropy_of_probabilities
)
LIKELIHOODS = {
    each.name: each
    for each in (
        Likelihood(
            "mse",
            DENSITY,
            squared_error,
            nats_a_value=0.5 * math.log(math.pi),
        ),
        Likelihood(
            "bce", PROBABILITY, bernoulli_cross_entropy, from_logits=True
        ),
        Likelihood(
            "gaussian",
            DENSITY,
            gaussian_negative_log_likelihood,
            weight="log_variance",
            first_value=_FIRST_LOG_VARIANCE,
        ),
        Likelihood(
            "gaussian_by_channel",
            DENSITY,
            gaussian_negative_log_likelihood,
            weight="log_variance",
            first_value=_FIRST_LOG_VARIANCE,
            weight_a_channel=True,
        ),
        Likelihood(
            "laplace",
            DENSITY,
            laplace_negative_log_likelihood,
            weight="log_scale",
            first_value=_FIRST_LOG_SCALE,
        ),
        Likelihood(
            "logistic",
            PROBABILITY,
            discretized_logistic,
            weight="log_scale",
            first_value=_FIRST_LOG_SCALE,
            weight_a_channel=True,
            parameters_a_value=2,
            of_levels=True,
        ),
    )
}


def find(name, version=arithmetic.NEWEST):
    """Returns the `Likelihood` of a job.

    Args:
        name: str, a key of `LIKELIHOODS`.
        version: int, of the job's arithmetic; before the third, `bce` was of
            probabilities.
    """
    if name == "bce" and version < arithmetic.EXACT_LOSSES:
        return OF_PROBABILITIES
    return LIKELIHOODS[name]
