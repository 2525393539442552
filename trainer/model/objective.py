"""The objective: reconstruction terms, KL divergence, warm-up, free bits.

All terms are in nats, or in the units of the reconstruction term, per image:
summed over pixels or latent units, not yet averaged over a batch.
"""

import math

import tensorflow as tf


def squared_error(images, reconstructions):
    """Squared error summed over pixels.

    Up to a constant this is the negative log-likelihood of a Gaussian with
    variance 1/2 around the reconstruction.

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        reconstructions: tensor of the same shape and dtype.

    Returns:
        Tensor of shape (batch,).
    """
    return tf.reduce_sum(tf.square(images - reconstructions), axis=(1, 2, 3))


def bernoulli_cross_entropy(images, reconstructions):
    """Binary cross-entropy summed over pixels, in nats.

    The negative log-likelihood of a Bernoulli per pixel whose probability is
    the reconstruction (Kingma & Welling 2014, appendix C.1, equation 11).

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        reconstructions: tensor of the same shape and dtype, in [0, 1].

    Returns:
        Tensor of shape (batch,).
    """
    # A sigmoid saturates to exactly 0 or 1 in floating point.
    tiny = 1e-7
    p = tf.clip_by_value(reconstructions, tiny, 1 - tiny)
    per_pixel = images * tf.math.log(p) + (1 - images) * tf.math.log1p(-p)
    return -tf.reduce_sum(per_pixel, axis=(1, 2, 3))


def gaussian_negative_log_likelihood(images, reconstructions, log_variance):
    """-log p(x | z) of a Gaussian with one variance for all pixels, in nats.

    A pixel is a value, of which an image has height x width x channels.
    pixels/2 (log 2 pi + log var) + squared error / (2 var), of a density: it
    is negative where the pixels are known better than to about 1/4. The best
    variance is the mean squared error of a pixel (Rybkin, Daniilidis & Levine
    2021, "Simple and effective VAE training with calibrated decoders").

    Args:
        images: tensor of shape (batch, height, width, channels), in [0, 1].
        reconstructions: tensor of the same shape and dtype, the means.
        log_variance: tensor of shape () and the same dtype.

    Returns:
        Tensor of shape (batch,).
    """
    pixels = images.shape[1:].num_elements()
    return 0.5 * (
        pixels * (math.log(2 * math.pi) + log_variance)
        + squared_error(images, reconstructions) * tf.exp(-log_variance)
    )


RECONSTRUCTION_LOSSES = {
    "mse": squared_error,
    "bce": bernoulli_cross_entropy,
    "gaussian": gaussian_negative_log_likelihood,
}


def log_normalizer(reconstruction_loss, pixels):
    """The constant that a reconstruction loss leaves out.

    -log p(x | z) is the reconstruction loss plus this, in nats. For `mse`,
    half the logarithm of pi for each pixel: the density of a Gaussian with
    variance 1/2 is exp(-(x - mean)^2) / sqrt(pi). The others leave nothing
    out.

    Args:
        reconstruction_loss: a key of `RECONSTRUCTION_LOSSES`.
        pixels: int, values in an image.

    Returns:
        float, in nats per image.
    """
    return 0.5 * pixels * math.log(math.pi) * (reconstruction_loss == "mse")


def kl_per_unit(z_mean, z_log_var):
    """KL divergence of each unit's posterior from the standard normal prior.

    KL(N(mean, var) || N(0, 1)) = (mean^2 + var - 1 - log var) / 2 (Kingma &
    Welling 2014, appendix B).

    Args:
        z_mean: tensor of shape (batch, latent_dim).
        z_log_var: tensor of the same shape and dtype.

    Returns:
        Tensor of shape (batch, latent_dim), in nats.
    """
    return 0.5 * (tf.square(z_mean) + tf.exp(z_log_var) - 1.0 - z_log_var)


def kl_weight(step, warmup_steps, beta):
    """The weight of the KL term at a step: a line from 0 to beta.

    Without it this model collapses: the KL term drives every posterior to
    the prior before the decoder has learned to use z (Bowman et al. 2016,
    section 3.1; Sonderby et al. 2016).

    Args:
        step: integer tensor of shape (), from 1.
        warmup_steps: float, steps until the weight is beta; 0 = at once.
        beta: float, the final weight (Higgins et al. 2017, equation 4).

    Returns:
        float64 tensor of shape (): beta * min(1, (step - 1) / warmup_steps).
    """
    if warmup_steps == 0:
        return tf.constant(beta, tf.float64)
    ramp = tf.cast(step - 1, tf.float64) / warmup_steps
    return beta * tf.minimum(ramp, tf.ones_like(ramp))


def free_bits_kl(kl_of_units, mean_kl_of_units, free_bits):
    """The KL term with free bits: units below the threshold are not pushed.

    The sum over units of max(free_bits, mean KL of the unit), where the mean
    is over the global batch (Kingma et al. 2016, equation 15). Its gradient
    is that of the KL of the units above the threshold, which is what this
    returns, with a constant added to give it the right value.

    Args:
        kl_of_units: tensor of shape (batch, latent_dim), in nats.
        mean_kl_of_units: tensor of shape (latent_dim,): the mean of
            `kl_of_units` over the *global* batch, all replicas together.
        free_bits: float, nats.

    Returns:
        Tensor of shape (batch,), whose mean over the global batch is the
        penalty.
    """
    above = tf.cast(mean_kl_of_units > free_bits, kl_of_units.dtype)
    floor = free_bits * tf.reduce_sum(1.0 - above)
    return tf.reduce_sum(kl_of_units * above, axis=1) + floor
