"""What the built-in models are made of."""

import math

import keras

from trainer.randomness import layer_seed

_LEAST_LOG_VAR, _MOST_LOG_VAR = -6.0, 2.0


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


def with_labels(values, classes):
    """Returns the inputs of a part of a model, and the label among them.

    A dense layer on one-hot labels is an embedding whose gradient is dense,
    and so is summed in one order.

    Args:
        values: `keras.Input`, of images or of z.
        classes: int; 0 of a model without labels.

    Returns:
        (inputs, label): a list of values and labels, and those as one-hot
        vectors, a float tensor of shape (batch, classes); or the values alone
        and None.
    """
    if not classes:
        return values, None
    labels = keras.Input((), name="labels", dtype="int32")
    dtype = keras.config.dtype_policy().compute_dtype
    return [values, labels], keras.ops.one_hot(labels, classes, dtype=dtype)


def cut_off(z_log_var):
    """Returns the log-variances of a posterior, held between bounds.

    They are those of the code of Tomczak & Welling 2018, "VAE with a VampPrior"
    (github.com/jmtomczak/vae_vampprior).

    Args:
        z_log_var: tensor of any shape.
    """
    return keras.ops.clip(z_log_var, _LEAST_LOG_VAR, _MOST_LOG_VAR)


def glorot(seed, name):
    """Returns the first weights of a layer, a function of seed and name.

    Args:
        seed: int, of the model.
        name: str, of the layer.
    """
    return keras.initializers.GlorotUniform(layer_seed(seed, name))


def glorot_of_gates(inputs, units, seed, name):
    """As `glorot`, of a gated layer: Glorot's of one as wide as its result.

    Args:
        inputs: int, what the layer takes.
        units: int, what it gives: half of what its kernel makes.
        seed: int, of the model.
        name: str, of the layer.
    """
    limit = math.sqrt(6 / (inputs + units))
    return keras.initializers.RandomUniform(
        -limit, limit, seed=layer_seed(seed, name)
    )


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
