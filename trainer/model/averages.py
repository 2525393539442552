"""The average of the weights, in the place of the weights."""

import contextlib

import tensorflow as tf

from trainer.model.weights import average_names, weights_of


@contextlib.contextmanager
def in_place(vae, optimizer):
    """Gives a model the average of its weights while the block runs.

    All workers of a job do so alike. Where there is no average, nothing
    changes.

    Args:
        vae: a `VAE`.
        optimizer: its built `optimizer.Adam`.
    """
    averages = optimizer.moments().get("ema")
    if not averages:
        yield
        return
    weights = weights_of(vae)
    kept = [tf.identity(weight) for weight in weights]
    _assign(weights, averages)
    try:
        yield
    finally:
        _assign(weights, kept)


def settle(vae, optimizer):
    """Gives a model that is not trained any more the average, for good."""
    _assign(weights_of(vae), optimizer.moments().get("ema", ()))


def begin(vae, optimizer):
    """Gives the average the weights of a model that begins with some."""
    _assign(optimizer.moments().get("ema", ()), weights_of(vae))


def arrays_of(vae, arrays):
    """Returns the arrays of a checkpoint that a model is read from.

    Args:
        vae: a `VAE`, which names its weights.
        arrays: dict of the arrays of a checkpoint, by name.

    Returns:
        dict: the average in the place of the weights, where there is one.
    """
    averages = {
        name: arrays[average]
        for name, average in average_names(vae).items()
        if average in arrays
    }
    return {**arrays, **averages}


def _assign(weights, values):
    for weight, value in zip(weights, values, strict=False):
        weight.assign(value)
