"""The decoder's last layer, a convolution to one channel, made fast on CPUs.

A library's convolution fills its vector registers with output channels; with
one of them it runs at a tenth of its speed, and in the notebook's model takes
as long as layers with eight times the arithmetic.
"""

import keras
import numpy as np
import tensorflow as tf


def decode(decoder):
    """Returns a function that computes what a decoder does, faster on a CPU.

    Args:
        decoder: `keras.Model` from z of shape (batch, latent_dim) to images
            of shape (batch, height, width, 1).

    Returns:
        A function that shares the decoder's weights; the decoder itself where
        there is a GPU, or if its last layer is another.
    """
    last = decoder.layers[-1]
    if tf.config.list_logical_devices("GPU") or not _is_known(last):
        return decoder
    body = keras.Model(decoder.inputs, last.input)

    def decode_on_cpu(z):
        kernel, bias = (
            tf.cast(weight, last.compute_dtype)
            for weight in (last.kernel, last.bias)
        )
        return last.activation(transposed_convolution(body(z), kernel) + bias)

    return decode_on_cpu


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
