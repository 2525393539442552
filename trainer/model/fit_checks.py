"""What `VAE` refuses in a notebook: parts that do not fit, and odd images."""

import tensorflow as tf


def check_pair(encoder, decoder):
    """Refuses an encoder and a decoder that do not fit each other.

    Raises:
        ValueError: they are of other latent units, or of other images.
    """
    if list(encoder.output_shape) != [decoder.input_shape] * 2:
        raise ValueError(
            f"The encoder gives {encoder.output_shape} and the decoder takes "
            f"{decoder.input_shape}; build both for one latent_dim, so that "
            "[z_mean, z_log_var] are each what the decoder takes."
        )
    *image, channels = encoder.input_shape
    *decoded, outputs = decoder.output_shape
    if decoded != image or outputs % channels:
        raise ValueError(
            f"The encoder takes images of {encoder.input_shape[1:]} but the "
            f"decoder gives {decoder.output_shape[1:]}; build both for one "
            "image_shape."
        )


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
