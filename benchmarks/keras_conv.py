"""`--model=conv` written in plain Keras, for the contender through `fit`.

It shares no code with the trainer's model.
"""

from trainer.runtime.command import quiet_tensorflow

with quiet_tensorflow():
    import keras
    from keras import layers

_CHANNELS_OF_A_GROUP = 8


def build_encoder(latent_dim, side, channels, widths):
    """Returns images -> [z_mean, z_log_var].

    Args:
        latent_dim: int.
        side: int, of an image.
        channels: int, of an image.
        widths: ints, channels at the full size, at half of it, and so on.
    """
    images = keras.Input((side, side, channels))
    x = layers.Conv2D(widths[0], 3, padding="same")(images)
    for width in widths[1:]:
        x = _normalised(x)
        x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
        x = _block(x)
    x = layers.Flatten()(_normalised(x))
    z_mean = layers.Dense(latent_dim)(x)
    z_log_var = layers.Dense(latent_dim)(x)
    return keras.Model(images, [z_mean, z_log_var])


def build_decoder(latent_dim, side, channels, widths):
    """Returns z -> images; the arguments are those of `build_encoder`."""
    z = keras.Input((latent_dim,))
    smallest = side // 2 ** (len(widths) - 1)
    x = layers.Dense(smallest * smallest * widths[-1])(z)
    x = layers.Reshape((smallest, smallest, widths[-1]))(x)
    for width in widths[-2::-1]:
        x = _block(x)
        x = layers.Conv2D(width, 1)(x)
        x = layers.UpSampling2D()(x)
    x = layers.Conv2D(widths[0], 3, padding="same")(_normalised(x))
    x = _normalised(x)
    images = layers.Conv2D(channels, 3, padding="same", activation="sigmoid")
    return keras.Model(z, images(x))


def _block(x):
    width = x.shape[-1]
    y = layers.Conv2D(width, 3, padding="same")(_normalised(x))
    y = layers.Activation("silu")(y)
    y = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(y)
    return layers.Add()([x, y])


def _normalised(x):
    x = layers.GroupNormalization(x.shape[-1] // _CHANNELS_OF_A_GROUP)(x)
    return layers.Activation("silu")(x)
