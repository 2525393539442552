"""What a trained model makes of images and of latent vectors, in batches."""

import numpy as np
import tensorflow as tf

# Where a batch begins shows in the last bit of what a model computes.
BATCH_SIZE = 256
_BLOCK_IMAGES = 1000


def encode(vae, images):
    """Returns the posterior means of images.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).

    Returns:
        Array of shape (N, latent_dim), in the precision of the encoder.
    """
    parts = []
    for batch in _batches(images):
        batch = tf.cast(batch, vae.encoder.compute_dtype)
        z_mean, _ = vae.encode(batch / 255)
        parts.append(z_mean.numpy())
    return np.concatenate(parts)


def encode_many(vae, images, stop, advance):
    """Encodes images that take long: with progress, and until a stop signal.

    Each block of a thousand begins a batch of its own, so the last bit may
    differ from that of `encode`.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).
        stop: a `StopSignal`.
        advance: called with a number of images now and then.

    Returns:
        Array of shape (N, latent_dim), in the precision of the encoder.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    parts = []
    for start in range(0, len(images), _BLOCK_IMAGES):
        stop.check()
        block = images[start : start + _BLOCK_IMAGES]
        parts.append(encode(vae, block))
        advance(len(block))
    return np.concatenate(parts)


def decode(vae, z):
    """Decodes latent vectors.

    Args:
        vae: a `trainer.model.vae.VAE`.
        z: float array of shape (N, latent_dim).

    Returns:
        uint8 array of shape (N, height, width, channels).
    """
    z = tf.cast(z, vae.decoder.compute_dtype)
    parts = [vae.decode(batch) for batch in _batches(z)]
    return to_pixels(tf.concat(parts, axis=0)).numpy()


def reconstruct(vae, images):
    """Decodes the posterior means of images.

    Args:
        vae: a `trainer.model.vae.VAE`.
        images: uint8 array of shape (N, height, width, channels).

    Returns:
        uint8 array of the same shape.
    """
    return decode(vae, encode(vae, images))


def to_pixels(images):
    """Rounds images to the 256 levels of a picture.

    Args:
        images: float tensor, in [0, 1].

    Returns:
        uint8 tensor of the same shape.
    """
    return tf.cast(tf.round(255 * tf.cast(images, tf.float64)), tf.uint8)


def _batches(values):
    for start in range(0, len(values), BATCH_SIZE):
        yield values[start : start + BATCH_SIZE]
