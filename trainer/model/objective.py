"""The objective beside the likelihood: KL divergence, warm-up, free bits.

All terms are in nats per image: summed over latent units, not yet averaged
over a batch.
"""

import tensorflow as tf


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
