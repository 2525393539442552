"""What `VAE` refuses in a notebook: parts that do not fit, and odd images."""

import tensorflow as tf

from trainer.model.array_checks import check_given, checked_labels


def shape_of(part):
    """Returns the shape of what a model takes beside labels."""
    return part.inputs[0].shape


def check_pair(encoder, decoder, classes):
    """Refuses an encoder and a decoder that do not fit each other.

    Args:
        encoder: `keras.Model`, a graph of layers.
        decoder: `keras.Model`, a graph of layers.
        classes: int, of a model that takes labels; else 0.

    Raises:
        ValueError: they are of other latent units, or of other images, or take
            labels where there are none.
    """
    wanted = 2 if classes else 1
    for role, part, what in (
        ("encoder", encoder, "images"),
        ("decoder", decoder, "z"),
    ):
        if len(part.inputs) != wanted:
            raise ValueError(
                f"The {role} takes {len(part.inputs)} inputs; with "
                f"classes={classes} it has to take "
                f"{f'[{what}, labels]' if classes else f'{what} alone'}."
            )
    if list(encoder.output_shape) != [shape_of(decoder)] * 2:
        raise ValueError(
            f"The encoder gives {encoder.output_shape} and the decoder takes "
            f"{shape_of(decoder)}; build both for one latent_dim, so that "
            "[z_mean, z_log_var] are each what the decoder takes."
        )
    *image, channels = shape_of(encoder)
    *decoded, outputs = decoder.output_shape
    if decoded != image or outputs % channels:
        raise ValueError(
            f"The encoder takes images of {shape_of(encoder)[1:]} but the "
            f"decoder gives {decoder.output_shape[1:]}; build both for one "
            "image_shape."
        )


def labels_in_range(labels, classes):
    """Returns the labels of a batch of `fit`, as a model takes them.

    Raises:
        ValueError: there are none, or they are no integers, one an image.
        tf.errors.InvalidArgumentError: when the step runs, a label is of no
            class.
    """
    if labels is None:
        check_given(None, classes)
    labels = tf.convert_to_tensor(labels)
    if not labels.dtype.is_integer or labels.shape.rank != 1:
        raise ValueError(
            f"The labels are {labels.dtype.name} of shape {labels.shape}, but "
            f"must be whole numbers from 0 to {classes - 1}, one for each "
            "image: fit(images, labels)."
        )
    return checked_labels(labels, classes, tf.shape(labels)[0])


def checked_images(images, image_shape, dtype):
    """Returns images as an encoder sees them, if they are what it takes.

    A loss would broadcast images of another shape, and grow without bound
    with pixels from 0 to 255.

    Raises:
        ValueError: their shape or their type is another.
        tf.errors.InvalidArgumentError: when the step runs, a pixel is not
            from 0 to 1.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype.is_integer:
        raise ValueError(
            f"The pixels are {images.dtype.name}, but must be floats from 0 "
            "to 1; divide those of an image file by 255."
        )
    expected = (None, *image_shape)
    if not images.shape.is_compatible_with(expected):
        raise ValueError(
            f"The images are a batch of shape {images.shape}, but the encoder "
            f"takes {expected}; reshape, pad or crop them."
        )
    images = tf.cast(tf.ensure_shape(images, expected), dtype)
    are_fractions = tf.debugging.Assert(
        tf.reduce_all((images >= 0) & (images <= 1)),
        [
            "The pixels are not all from 0 to 1, but from",
            tf.reduce_min(images),
            "to",
            tf.reduce_max(images),
            "; divide those of an image file by 255, and leave no NaN.",
        ],
    )
    # So that no weight has changed when they are not.
    with tf.control_dependencies([are_fractions]):
        return tf.identity(images)
