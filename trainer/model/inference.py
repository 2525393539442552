"""What a trained model makes of images and of latent vectors, in batches."""

import numpy as np
import tensorflow as tf

# Where a batch begins shows in the last bit of what a model computes.
BATCH_SIZE = 256
_BLOCK_IMAGES = 1000


def encode(vae, images, labels=None):
    """Returns the posterior means of images.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).
        labels: integers of shape (N,), of a model that takes them.

    Returns:
        Array of shape (N, latent_dim), in the precision of the encoder.
    """
    parts = []
    for batch, of_batch in _batches(images, labels):
        batch = tf.cast(batch, vae.encoder.compute_dtype)
        z_mean, _ = vae.encode(batch / 255, of_batch)
        parts.append(z_mean.numpy())
    return np.concatenate(parts)


def encode_many(vae, images, stop, advance, labels=None):
    """Encodes images that take long: with progress, and until a stop signal.

    Each block of a thousand begins a batch of its own, so the last bit may
    differ from that of `encode`.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).
        stop: a `StopSignal`.
        advance: called with a number of images now and then.
        labels: as of `encode`.

    Returns:
        Array of shape (N, latent_dim), in the precision of the encoder.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    parts = []
    for start in range(0, len(images), _BLOCK_IMAGES):
        stop.check()
        block = images[start : start + _BLOCK_IMAGES]
        of_block = some(labels, slice(start, start + _BLOCK_IMAGES))
        parts.append(encode(vae, block, of_block))
        advance(len(block))
    return np.concatenate(parts)


def decode(vae, z, labels=None):
    """Decodes latent vectors.

    Args:
        vae: a `trainer.model.vae.VAE`.
        z: float array of shape (N, latent_dim).
        labels: integers of shape (N,), or one for all, of a model that takes
            them.

    Returns:
        uint8 array of shape (N, height, width, channels).
    """
    z = tf.cast(z, vae.decoder.compute_dtype)
    parts = [vae.decode(*batch) for batch in _batches(z, labels)]
    return to_pixels(tf.concat(parts, axis=0)).numpy()


def reconstruct(vae, images, labels=None):
    """Decodes the posterior means of images.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).
        labels: as of `encode`.

    Returns:
        uint8 array of the same shape.
    """
    return decode(vae, encode(vae, images, labels), labels)


def some(labels, wanted):
    """Returns some of the labels, where there are any.

    Args:
        labels: integers of shape (N,); one for all; or None.
        wanted: a slice, or an integer array.
    """
    return labels if np.ndim(labels) == 0 else labels[wanted]


def to_pixels(images):
    """Rounds images to the 256 levels of a picture.

    Args:
        images: float tensor, in [0, 1].

    Returns:
        uint8 tensor of the same shape.
    """
    return tf.cast(tf.round(255 * tf.cast(images, tf.float64)), tf.uint8)


def _batches(values, labels):
    for start in range(0, len(values), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        yield values[batch], some(labels, batch)
