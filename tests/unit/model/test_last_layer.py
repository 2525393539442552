import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model import build_decoder, last_layer


def plain(x, kernel):
    return tf.nn.conv2d_transpose(
        x, kernel, [*x.shape[:3], 1], strides=1, padding="SAME"
    )


@pytest.mark.parametrize(
    "shape", [(2, 28, 28, 32), (3, 8, 12, 5), (1, 4, 4, 1)]
)
def test_the_sum_of_shifts_is_the_transposed_convolution(shape):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=shape))
    kernel = tf.constant(random.normal(size=(3, 3, 1, shape[-1])))
    upstream = tf.constant(random.normal(size=(*shape[:3], 1)))
    results = []
    for function in (plain, last_layer.transposed_convolution):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = function(x, kernel)
        results.append((y, *tape.gradient(y, [x, kernel], upstream)))
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_fast_decoder_is_the_decoder():
    decoder = build_decoder(5, (12, 8, 1))
    decode = last_layer.decode(decoder)
    assert decode is not decoder
    # A layer's bias starts at 0, where a forgotten one would not be noticed.
    decoder.layers[-1].bias.assign([0.5])
    z = tf.random.stateless_normal([7, 5], [0, 0])
    np.testing.assert_allclose(decode(z), decoder(z), atol=1e-6)


def test_a_decoder_with_another_last_layer_is_left_alone():
    z = keras.Input((4,))
    decoder = keras.Model(z, keras.layers.Dense(3)(z))
    assert last_layer.decode(decoder) is decoder
