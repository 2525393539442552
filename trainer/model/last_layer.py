"""The end of a decoder: its sigmoid, and a last layer made fast on CPUs.

A library's convolution fills its vector registers with output channels; with
one of them it runs at a tenth of its speed, and in the notebook's model takes
as long as layers with eight times the arithmetic.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

# What a decoder may give: `bce` alone needs to know.
LOGITS, PROBABILITIES = "logits", "probabilities"
_ONLY_SHAPE = (
    keras.layers.Reshape,
    keras.layers.Cropping2D,
    keras.layers.Flatten,
)


def gives(decoder):
    """Returns whether a decoder gives logits or probabilities.

    A decoder that says so itself, in an attribute `gives`, is believed.

    Args:
        decoder: `keras.Model` from z to parameters of pixels.

    Returns:
        `LOGITS`, `PROBABILITIES`, or None if it cannot be known: its last
        layer is neither linear nor a sigmoid.
    """
    said = getattr(decoder, "gives", None)
    if said in (LOGITS, PROBABILITIES):
        return said
    last, _ = _end(decoder)
    activation = getattr(last, "activation", None)
    return {
        keras.activations.sigmoid: PROBABILITIES,
        keras.activations.linear: LOGITS,
    }.get(activation)


def has_logits(decoder):
    """Whether what a decoder gives can be had from before its sigmoid."""
    last, _ = _end(decoder)
    return last is not None and gives(decoder) == PROBABILITIES


def decode(decoder, logits=False, fast=True):
    """Returns a function that computes what a decoder does, faster on a CPU.

    Args:
        decoder: `keras.Model` from z of shape (batch, latent_dim), or from a
            list of z and labels, to tensors of shape (batch, height, width,
            channels).
        logits: whether to leave out the sigmoid at its end; it has to be one
            of which `has_logits` is true.
        fast: whether to compute a convolution to one channel otherwise than
            TensorFlow does, which in bfloat16 is no faster.

    Returns:
        A function that shares the decoder's weights; the decoder itself where
        nothing is to be left out and there is a GPU, or its last layer is
        another than a convolution to one channel.
    """
    last, tail = _end(decoder)
    is_fast = (
        fast
        and not tail
        and _is_known(last)
        and not tf.config.list_logical_devices("GPU")
    )
    if not (is_fast or logits):
        return decoder
    body = keras.Model(decoder.inputs, last.input)

    def decode_on_cpu(inputs):
        kernel, bias = (
            tf.cast(weight, last.compute_dtype)
            for weight in (last.kernel, last.bias)
        )
        y = transposed_convolution(body(inputs), kernel) + bias
        return y if logits else last.activation(y)

    def decode_to_logits(inputs):
        with _without_activation(last):
            y = last(body(inputs))
        for layer in tail:
            y = layer(y)
        return y

    return decode_on_cpu if is_fast else decode_to_logits


def _end(decoder):
    """Returns the last layer of a decoder that computes, and those after it.

    (None, []) of a decoder that is no graph of layers.
    """
    tail = []
    if not getattr(decoder, "outputs", None) or len(decoder.outputs) != 1:
        return None, tail
    for layer in reversed(decoder.layers):
        try:
            if layer.output is not (
                tail[0].input if tail else decoder.outputs[0]
            ):
                return None, []
        except (AttributeError, ValueError):  # Used more than once.
            return None, []
        if not isinstance(layer, _ONLY_SHAPE):
            return layer, tail
        tail.insert(0, layer)
    return None, []


@contextlib.contextmanager
def _without_activation(layer):
    """Makes a layer linear while a function is traced, or run."""
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


def _is_known(layer):
    return (
        isinstance(layer, keras.layers.Conv2DTranspose)
        and layer.kernel_size == (3, 3)
        and layer.strides == layer.dilation_rate == (1, 1)
        and (layer.filters, layer.padding) == (1, "same")
        and layer.data_format == "channels_last"
        and layer.use_bias
    )


@tf.custom_gradient
def transposed_convolution(x, kernel):
    """Returns the transposed convolution of stride 1, same padding.

    One matrix product gives what each pixel sends to each of its neighbours;
    then these nine maps are shifted and summed.

    Args:
        x: tensor of shape (batch, height, width, channels).
        kernel: tensor of shape (3, 3, 1, channels).

    Returns:
        Tensor of shape (batch, height, width, 1).
    """
    _, height, width, channels = x.shape
    sent = tf.matmul(
        tf.reshape(kernel, [9, channels]),
        tf.reshape(x, [-1, channels]),
        transpose_b=True,
    )
    # In one row of all pixels a neighbour is a shift away. What such a shift
    # takes from across an edge, another line or image, is masked.
    pixels = tf.shape(sent)[1]
    margin = width + 1
    sent = tf.pad(sent, [[0, 0], [margin, margin]])
    received = []
    for tap, mask in enumerate(_inside(height, width)):
        shift = (1 - tap // 3) * width + 1 - tap % 3
        moved = tf.slice(sent, [tap, margin + shift], [1, pixels])
        moved = tf.reshape(moved, [-1, height, width])
        received.append(moved * tf.cast(mask, x.dtype))
    y = tf.add_n(received)

    def gradient(dy):
        # Backwards it is a convolution from one channel, which is fast, while
        # the derivative of the shifts would not be.
        return (
            tf.nn.conv2d(dy, kernel, strides=1, padding="SAME"),
            tf.raw_ops.Conv2DBackpropFilter(
                input=dy,
                filter_sizes=kernel.shape,
                out_backprop=x,
                strides=[1, 1, 1, 1],
                padding="SAME",
            ),
        )

    return y[..., tf.newaxis], gradient


def _inside(height, width):
    """Returns for each tap which pixels have the neighbour that it reads.

    Returns:
        Bool array of shape (9, height, width).
    """
    rows, columns = np.indices((height, width))
    return np.stack(
        [
            (rows + 1 - tap // 3 >= 0)
            & (rows + 1 - tap // 3 < height)
            & (columns + 1 - tap % 3 >= 0)
            & (columns + 1 - tap % 3 < width)
            for tap in range(9)
        ]
    )
