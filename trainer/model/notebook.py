"""The notebook's model: two convolutions, 16 hidden units, and back."""

import operator

import keras
import tensorflow as tf

from trainer import randomness


def build_encoder(
    latent_dim: int,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    seed: int = 0,
) -> keras.Model:
    """Returns the encoder: images -> [z_mean, z_log_var].

    Args:
        latent_dim: int, number of latent units.
        image_shape: (height, width, channels), sides divisible by 4, with 1
            or 3 channels.
        seed: int; the weights are a function of it.

    Returns:
        A `keras.Model`; 75,808 parameters at latent_dim 200.

    Raises:
        ValueError: it cannot take images of that shape.
    """
    image_shape = _checked_shape(image_shape)
    seeds = iter(randomness.initializer_seeds(seed, 9)[:5])
    images = keras.Input(image_shape, name="images", dtype=_input_dtype())
    x = keras.layers.Conv2D(
        32, 3, strides=2, padding="same", activation="relu",
        kernel_initializer=_glorot(seeds), name="encoder_conv_1",
    )(images)  # fmt: skip
    x = keras.layers.Conv2D(
        64, 3, strides=2, padding="same", activation="relu",
        kernel_initializer=_glorot(seeds), name="encoder_conv_2",
    )(x)  # fmt: skip
    x = keras.layers.Flatten(name="encoder_flatten")(x)
    x = keras.layers.Dense(
        16, activation="relu",
        kernel_initializer=_glorot(seeds), name="encoder_dense",
    )(x)  # fmt: skip
    z_mean = keras.layers.Dense(
        latent_dim, kernel_initializer=_glorot(seeds), name="z_mean"
    )(x)
    z_log_var = keras.layers.Dense(
        latent_dim, kernel_initializer=_glorot(seeds), name="z_log_var"
    )(x)
    return keras.Model(images, [z_mean, z_log_var], name="encoder")


def build_decoder(
    latent_dim: int,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    seed: int = 0,
) -> keras.Model:
    """Returns the decoder: z -> images in [0, 1].

    Args:
        latent_dim: int, number of latent units.
        image_shape: as of `build_encoder`.
        seed: int; the weights are a function of it.

    Returns:
        A `keras.Model`; 686,017 parameters at latent_dim 200.

    Raises:
        ValueError: it cannot give images of that shape.
    """
    height, width, channels = _checked_shape(image_shape)
    seeds = iter(randomness.initializer_seeds(seed, 9)[5:])
    z = keras.Input((latent_dim,), name="z", dtype=_input_dtype())
    x = keras.layers.Dense(
        height // 4 * (width // 4) * 64, activation="relu",
        kernel_initializer=_glorot(seeds), name="decoder_dense",
    )(z)  # fmt: skip
    x = keras.layers.Reshape(
        (height // 4, width // 4, 64), name="decoder_reshape"
    )(x)
    x = keras.layers.Conv2DTranspose(
        64, 3, strides=2, padding="same", activation="relu",
        kernel_initializer=_glorot(seeds), name="decoder_conv_1",
    )(x)  # fmt: skip
    x = keras.layers.Conv2DTranspose(
        32, 3, strides=2, padding="same", activation="relu",
        kernel_initializer=_glorot(seeds), name="decoder_conv_2",
    )(x)  # fmt: skip
    images = keras.layers.Conv2DTranspose(
        channels, 3, strides=1, padding="same", activation="sigmoid",
        kernel_initializer=_glorot(seeds), name="decoder_conv_3",
    )(x)  # fmt: skip
    return keras.Model(z, images, name="decoder")


def build(image_shape, latent_dim, seed):
    """Returns the encoder and the decoder: `--model=notebook`."""
    return (
        build_encoder(latent_dim, image_shape, seed),
        build_decoder(latent_dim, image_shape, seed),
    )


def silence(encoder, decoder, units):
    """Gives the first latent units the weights of a model without others.

    The weights of all others are 0, so that the decoder gets no noise from
    them. The 16 values before the latent units are all that these can tell:
    of 200 units most tell the same, and training takes long to silence them.

    Args:
        encoder: of `build`.
        decoder: of `build`.
        units: int, how many are not silent.
    """
    for layer, axis in (
        (encoder.get_layer("z_mean"), 1),
        (encoder.get_layer("z_log_var"), 1),
        (decoder.get_layer("decoder_dense"), 0),
    ):
        shape, paddings = list(layer.kernel.shape), [[0, 0], [0, 0]]
        paddings[axis][1] = shape[axis] - units
        shape[axis] = units
        kernel = layer.kernel_initializer(shape, layer.kernel.dtype)
        layer.kernel.assign(tf.pad(kernel, paddings))


def _checked_shape(image_shape):
    """Returns (height, width, channels) of images that the layers can take."""
    try:
        height, width, channels = map(operator.index, image_shape)
        fits = (
            min(height, width) >= 4
            and height % 4 == width % 4 == 0
            and channels in (1, 3)
        )
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"image_shape={image_shape} is not (height, width, channels) with "
            "sides divisible by 4 and 1 or 3 channels, for instance "
            "(28, 28, 1); pad or crop the images."
        )
    return height, width, channels


def _input_dtype():
    """That of the weights: float32 would round what a float64 model gets."""
    return keras.config.dtype_policy().variable_dtype


def _glorot(seeds):
    return keras.initializers.GlorotUniform(seed=next(seeds))
