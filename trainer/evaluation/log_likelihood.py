"""The importance-weighted estimate of the log-likelihood of images."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from trainer import randomness
from trainer.distributed.calls import Calls, Workers

# Images decoded at once. Memory is that of the decoder's layers for so many
# images, at 28 x 28 pixels about 0.2 MB each, whatever K and the number of
# images; the results take 8 bytes an image and repeat beside it.
BATCH_SIZE = 256
# Each repeat has pages of noise of its own: more than samples are ever drawn.
_PAGES_PER_REPEAT = 2**32


@dataclasses.dataclass(frozen=True)
class LogLikelihood:
    """Estimates of log p(x), for each image and repeat.

    Attributes:
        samples: int, K: samples of z for an estimate.
        values: float64 array of shape (repeats, images), in nats.
    """

    samples: int
    values: np.ndarray

    @property
    def mean(self):
        """The mean over images and repeats, in nats an image."""
        return float(self.values.mean())

    @property
    def error_of_images(self):
        """Standard error: how much another test set would change the mean."""
        return standard_error(self.values.mean(axis=0))

    @property
    def error_of_repeats(self):
        """Standard error: how much other samples of z would change it."""
        return standard_error(self.values.mean(axis=1))


def standard_error(values):
    """The standard deviation (n - 1) over sqrt(n); None of a single value."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def estimate(
    vae,
    config,
    images,
    samples,
    repeats,
    stop,
    advance,
    batch_size=BATCH_SIZE,
    labels=None,
):
    """Estimates log p(x) of images by importance sampling.

    log p_K(x) = log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x), with z_k from
    the posterior q (Burda, Grosse & Salakhutdinov 2016, equation 8). Its mean
    is a lower bound of log p(x) that rises with K; with K = 1 it is the ELBO.

    Sample k of a repeat has noise of its own for each image, so neither the
    batch size nor the number of samples and repeats changes what it draws.

    Args:
        vae: a `trainer.model.vae.VAE`.
        config: its `TrainConfig`; the noise depends on its seed.
        images: uint8 array of shape (M, height, width, channels).
        samples: int, K.
        repeats: int, how many estimates of each image.
        stop: a `StopSignal`, checked about once a second.
        advance: called with a number of samples decoded now and then.
        batch_size: int, images decoded at once.
        labels: integers of shape (M,), of a model that takes them, of which
            it is log p(x | label) then; else None.

    Returns:
        A `LogLikelihood` of shape (repeats, M). Sums are float64; the model
        computes in its own precision.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    calls = Calls(
        _make_add_samples(vae, config, images.shape[1:]), Workers(stop)
    )
    log_sums = np.full((repeats, len(images)), -np.inf)
    for start in range(0, len(images), batch_size):
        batch = slice(start, start + batch_size)
        pixels = tf.constant(images[batch])
        of_batch = (
            [] if labels is None else [tf.constant(labels[batch], tf.int64)]
        )
        for repeat in range(repeats):
            log_sum = tf.constant(log_sums[repeat, batch])
            done = 0
            while done < samples:
                count = calls.size(samples - done)
                page = repeat * _PAGES_PER_REPEAT + done
                log_sum = calls.run(
                    count,
                    pixels,
                    tf.constant(start, tf.int64),
                    tf.constant(page, tf.int64),
                    log_sum,
                    *of_batch,
                )
                done += count
                advance(count * len(pixels))
            log_sums[repeat, batch] = log_sum
    return LogLikelihood(samples, log_sums - math.log(samples))


def _make_add_samples(vae, config, image_shape):
    """Returns a function that adds samples to sums of importance weights.

    It takes the number of samples and a proposal, as `Calls` gives them,
    images (uint8), the index of the first one, the page of noise of the first
    sample, log sum_k w_k up to now, a float64 tensor of shape (images,), and
    the labels (int64) of a model that takes them. It returns that sum with
    these samples, and the proposal.
    """
    of_labels = [tf.TensorSpec([None], tf.int64)] if vae.classes else []

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([2], tf.float64),
            tf.TensorSpec([None, *image_shape], tf.uint8),
            *[tf.TensorSpec([], tf.int64)] * 2,
            tf.TensorSpec([None], tf.float64),
            *of_labels,
        ]
    )
    def add_samples(
        count, proposal, images, first_image, first_page, log_sum, labels=None
    ):
        images = tf.cast(images, vae.encoder.variable_dtype) / 255
        features = vae.features(images, labels)
        components = vae.components()
        for page in first_page + tf.range(tf.cast(count, tf.int64)):
            noise = randomness.normal(
                config.seed,
                randomness.Tag.IMPORTANCE_NOISE,
                row=page,
                position=first_image,
                count=tf.shape(images)[0],
                width=config.latent_dim,
            )
            log_weight = vae.log_weights(
                images, features, noise, components, labels
            )
            # log(exp(a) + exp(b)), whatever their size.
            log_sum = tf.maximum(log_sum, log_weight) + tf.math.softplus(
                -tf.abs(log_sum - log_weight)
            )
        return log_sum, proposal

    return add_samples
