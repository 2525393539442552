"""What the built-in models are made of."""

import keras

from trainer.randomness import layer_seed


def pixels(x, image_shape):
    """Ends a decoder: means or probabilities from 0 to 1 where that is all.

    Where there are more parameters than values of an image, they are left as
    they are.

    Args:
        x: tensor of shape (batch, height, width, output channels).
        image_shape: (height, width, channels).
    """
    if x.shape[-1] != image_shape[-1]:
        return x
    return keras.layers.Activation("sigmoid", name="decoder_pixels")(x)


def one_hot(labels, classes):
    """Returns labels as vectors: float of shape (batch, classes).

    A dense layer on them is an embedding whose gradient is dense, and so is
    summed in one order.

    Args:
        labels: integer tensor of shape (batch,).
        classes: int.
    """
    dtype = keras.config.dtype_policy().compute_dtype
    return keras.ops.one_hot(labels, classes, dtype=dtype)


def label_input():
    """Returns the input of a model that takes labels beside something."""
    return keras.Input((), name="labels", dtype="int32")


def glorot(seed, name):
    """Returns the first weights of a layer, a function of seed and name.

    Args:
        seed: int, of the model.
        name: str, of the layer.
    """
    return keras.initializers.GlorotUniform(layer_seed(seed, name))


def dense(x, units, name, seed, **kwargs):
    """A dense layer whose first kernel is a function of seed and name.

    Args:
        x: tensor of shape (batch, any).
        units: int.
        name: str, of the layer.
        seed: int, of the model.
        **kwargs: of `keras.layers.Dense`.
    """
    kwargs.setdefault("kernel_initializer", glorot(seed, name))
    return keras.layers.Dense(units, name=name, **kwargs)(x)
