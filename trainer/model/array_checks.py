"""What the methods of a `VAE` take: images of which it is clear what they are.

A loss would broadcast images of another shape, and an encoder makes something
of pixels from 0 to 255 as well.
"""

import numpy as np
import tensorflow as tf

# The last bits of float16 at 255; other values are hardly ever so near to one.
_LEVEL_TOLERANCE = 0.1


def checked_images(images, image_shape):
    """Returns images as an array or a tensor, if it is clear what they are.

    Args:
        images: array, tensor or list.
        image_shape: (height, width, channels).

    Returns:
        Array or tensor of shape (N, height, width, channels): floats or bools
        from 0 to 1, or uint8 from 0 to 255.

    Raises:
        ValueError: there are none, or they are not that; the message says
            what they are, and what was expected.
    """
    images = _values(images)
    dtype = tf.as_dtype(images.dtype)
    if not (dtype.is_floating or dtype in (tf.bool, tf.uint8)):
        raise ValueError(
            f"The pixels are {dtype.name}; give floats from 0 to 1, or uint8 "
            "from 0 to 255."
        )
    shape = tuple(images.shape)
    if shape[1:] != tuple(image_shape) or not shape:
        raise ValueError(
            f"The images are of shape {shape}, but the model takes "
            f"(N, {', '.join(map(str, image_shape))})"
            f"{_proposal(shape, tuple(image_shape))}."
        )
    if tf.executing_eagerly():
        _check_any(images, "image")
        if dtype != tf.bool:
            _check_range(images)
    return images


def as_fractions(images, dtype):
    """Returns pixels from 0 to 1.

    Args:
        images: as from `checked_images`.
        dtype: of the result.
    """
    fractions = tf.cast(images, dtype)
    return fractions / 255 if images.dtype == tf.uint8 else fractions


def check_levels(images):
    """Refuses pixels that are none of 256 levels, where they can be seen.

    Args:
        images: tensor of floats from 0 to 1.

    Raises:
        ValueError: a pixel is no multiple of 1/255.
    """
    if not tf.executing_eagerly():
        return
    levels = 255 * tf.cast(images, tf.float64)
    if tf.reduce_any(tf.abs(levels - tf.round(levels)) > _LEVEL_TOLERANCE):
        raise ValueError(
            "This model gives the probabilities of 256 levels, but pixels are "
            "no multiples of 1/255; give those of image files, as uint8 or "
            "divided by 255."
        )


def checked_latents(z, latent_dim):
    """Returns latent vectors as an array or a tensor.

    Args:
        z: array, tensor or list.
        latent_dim: int.

    Raises:
        ValueError: they are not of shape (N, latent_dim), N from 1.
    """
    z = _values(z)
    shape = tuple(z.shape)
    if len(shape) != 2 or shape[1] != latent_dim:
        raise ValueError(
            f"z is of shape {shape}, but the model takes (N, {latent_dim}); "
            "give a row for each image."
        )
    if tf.executing_eagerly():
        _check_any(z, "latent vector")
    return z


def check_given(labels, classes):
    """Refuses labels of a model without, and none of a model that takes them.

    Raises:
        ValueError: the message says which.
    """
    if classes and labels is None:
        raise ValueError(
            "This model was trained with --condition=labels, but there are no "
            f"labels; give labels=, whole numbers from 0 to {classes - 1}, one "
            "for each image."
        )
    if labels is not None and not classes:
        raise ValueError(
            "This model takes no labels, but some were given; leave them out. "
            "A job with --condition=labels trains a model that takes them."
        )


def checked_labels(labels, classes, count):
    """Returns the labels of some values; None of a model without.

    Inside of a `tf.function` those out of range are refused when it runs.

    Args:
        labels: integers of shape (count,), one for all, or None.
        classes: int, how many the model knows; 0 of a model without labels.
        count: int or int32 tensor of shape (), how many values there are.

    Returns:
        int32 tensor of shape (count,), or None.

    Raises:
        ValueError: they are not that.
    """
    check_given(labels, classes)
    if labels is None:
        return None
    labels = _values(labels)
    wanted = f"give whole numbers from 0 to {classes - 1}"
    if not tf.as_dtype(labels.dtype).is_integer:
        raise ValueError(
            f"The labels are {labels.dtype.name}; {wanted}, one for each image."
        )
    shape = tuple(labels.shape)
    is_known = tf.executing_eagerly()
    if len(shape) > 1 or (is_known and shape not in ((), (count,))):
        of_each = f"({count},)" if is_known else "(N,)"
        raise ValueError(
            f"The labels are of shape {shape}, not {of_each}; give one for "
            "each image, or one for all."
        )
    labels = tf.cast(labels, tf.int64)
    least, most = tf.reduce_min(labels), tf.reduce_max(labels)
    if is_known:
        if least < 0 or most >= classes:
            raise ValueError(
                f"The labels are from {least} to {most}, but the model has "
                f"{classes} classes; {wanted}."
            )
    else:
        in_range = tf.debugging.Assert(
            (least >= 0) & (most < classes),
            ["The labels are from", least, "to", most, f"; {wanted}."],
        )
        with tf.control_dependencies([in_range]):
            labels = tf.identity(labels)
    return tf.broadcast_to(tf.cast(labels, tf.int32), [count])


def _values(values):
    if tf.is_tensor(values):
        return tf.convert_to_tensor(values)  # A variable becomes its value.
    return np.asarray(values)


def _proposal(shape, image_shape):
    """Returns what else to say of images of a wrong shape."""
    if shape == image_shape:
        return "; one image is a batch of one: images[np.newaxis]"
    if (*shape[1:], 1) == image_shape:
        return "; images[..., np.newaxis] has a channel"
    return "; reshape, pad or crop them"


def _check_any(values, what):
    if not len(values):  # TensorFlow's convolutions fail on none.
        raise ValueError(f"There is no {what}; give one at least.")


def _check_range(images):
    if tf.is_tensor(images):
        images = images.numpy()
    least, most = images.min(), images.max()
    if images.dtype == np.uint8:
        if most == 1:
            raise ValueError(
                "The pixels are uint8, but all are 0 or 1, so that 1 may be "
                "white or the darkest grey of 255; give floats: images / 1.0 "
                "if it is white, or images / 255."
            )
    elif not (least >= 0 and most <= 1):
        raise ValueError(
            f"The pixels are not all from 0 to 1, but from {least:g} to "
            f"{most:g}; divide those of an image file by 255, and leave no NaN."
        )
