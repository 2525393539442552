"""Models that somebody who is not of this project would write."""

import math
import os

import keras
import numpy as np
import tensorflow as tf


def small(image_shape, latent_dim, seed, width=16):
    """Of plain layers, none of which has a seed or a name."""
    encoder = keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(width, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(width, activation="relu"),
        ]
    )
    encoder = keras.Model(
        encoder.inputs,
        [keras.layers.Dense(latent_dim)(encoder.outputs[0]) for _ in range(2)],
    )
    height, wide, channels = image_shape
    decoder = keras.Sequential(
        [
            keras.Input((latent_dim,)),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(height * wide * channels, activation="sigmoid"),
            keras.layers.Reshape(image_shape),
        ]
    )
    return encoder, decoder


def attending(image_shape, latent_dim, seed):
    """Attention and a recurrent layer, neither of which drops anything."""
    height, width, channels = image_shape
    images = keras.Input(image_shape)
    x = keras.layers.Reshape((height, width * channels))(images)
    x = keras.layers.Dense(8)(x)
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    x = keras.layers.LSTM(8)(keras.layers.Dropout(0.0)(x))
    posterior = [keras.layers.Dense(latent_dim)(x) for _ in range(2)]
    _, decoder = subclassed(image_shape, latent_dim, seed)
    return keras.Model(images, posterior), decoder


class Encoder(keras.Model):
    """A subclass, as people write them."""

    def __init__(self, latent_dim):
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.hidden = keras.layers.Dense(8, activation="tanh")
        self.mean = keras.layers.Dense(latent_dim)
        self.log_var = keras.layers.Dense(latent_dim)

    def call(self, images):
        x = self.hidden(self.flatten(images))
        return self.mean(x), self.log_var(x)


class Decoder(keras.Model):
    def __init__(self, image_shape):
        super().__init__()
        self.hidden = keras.layers.Dense(8, activation="tanh")
        height, width, channels = image_shape
        self.pixels = keras.layers.Dense(height * width * channels)
        self.reshape = keras.layers.Reshape(image_shape)

    def call(self, z):
        return self.reshape(self.pixels(self.hidden(z)))


def subclassed(image_shape, latent_dim, seed):
    decoder = Decoder(image_shape)
    decoder.gives = "logits"
    return Encoder(latent_dim), decoder


def conditional(image_shape, latent_dim, seed, classes, width=8):
    """Is given labels, and has embeddings of them."""
    layers = keras.layers

    def joined(values, labels):
        embedded = layers.Embedding(classes, 3)(labels)
        x = layers.Concatenate()([layers.Flatten()(values), embedded])
        return layers.Dense(width, activation="relu")(x)

    images, labels = keras.Input(image_shape), keras.Input((), dtype="int32")
    x = joined(images, labels)
    posterior = [layers.Dense(latent_dim)(x) for _ in range(2)]
    encoder = keras.Model([images, labels], posterior)
    z, labels = keras.Input((latent_dim,)), keras.Input((), dtype="int32")
    y = layers.Dense(math.prod(image_shape))(joined(z, labels))
    y = layers.Activation("sigmoid")(layers.Reshape(image_shape)(y))
    return encoder, keras.Model([z, labels], y)


def label_alone(image_shape, latent_dim, seed, classes=0):
    """Takes classes, but its decoder no labels."""
    encoder, _ = conditional(image_shape, latent_dim, seed, classes or 1)
    return encoder, small(image_shape, latent_dim, seed)[1]


class Branching(Encoder):
    """Has a Python `if` on a tensor, which only works on numbers."""

    def call(self, images):
        if tf.reduce_max(images) > 2:
            images = images / 255
        return super().call(images)


def branching(image_shape, latent_dim, seed):
    _, decoder = subclassed(image_shape, latent_dim, seed)
    return Branching(latent_dim), decoder


class Whole(Encoder):
    def call(self, images):
        z_mean, z_log_var = super().call(images)
        return tf.cast(z_mean, tf.int32), z_log_var


def whole_numbers(image_shape, latent_dim, seed):
    return Whole(latent_dim), subclassed(image_shape, latent_dim, seed)[1]


class InNumpy(Decoder):
    def call(self, z):
        return super().call(np.tanh(z))


def in_numpy(image_shape, latent_dim, seed):
    return Encoder(latent_dim), InNumpy(image_shape)


class CallingPython(Decoder):
    def call(self, z):
        tanh = tf.numpy_function(np.tanh, [z], z.dtype)
        tanh.set_shape(z.shape)
        return super().call(tanh)


def calling_python(image_shape, latent_dim, seed):
    return Encoder(latent_dim), CallingPython(image_shape)


class SometimesNoisy(Encoder):
    """Draws numbers for images that no check has tried."""

    def call(self, images):
        return super().call(
            tf.cond(
                tf.reduce_min(images) > 0.9,
                lambda: images + tf.random.normal(tf.shape(images)),
                lambda: images,
            )
        )


def sometimes_noisy(image_shape, latent_dim, seed):
    _, decoder = subclassed(image_shape, latent_dim, seed)
    return SometimesNoisy(latent_dim), decoder


class WithUnused(Encoder):
    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.unused = self.add_weight(name="unused", shape=(3,))


def unused(image_shape, latent_dim, seed):
    _, decoder = subclassed(image_shape, latent_dim, seed)
    return WithUnused(latent_dim), decoder


class Stopped(Decoder):
    def call(self, z):
        return super().call(tf.stop_gradient(z))


def stopped(image_shape, latent_dim, seed):
    return Encoder(latent_dim), Stopped(image_shape)


class OfBatches(Encoder):
    """Takes the length of a batch for a number."""

    def call(self, images):
        return super().call(tf.reshape(images, (images.shape[0], -1)))


def of_batches(image_shape, latent_dim, seed):
    _, decoder = subclassed(image_shape, latent_dim, seed)
    return OfBatches(latent_dim), decoder


def silent(image_shape, latent_dim, seed):
    """Does not say what its decoder gives."""
    return Encoder(latent_dim), Decoder(image_shape)


def _with(*layers):
    """Returns a build function whose encoder has some layers more."""

    def build(image_shape, latent_dim, seed):
        encoder, decoder = small(image_shape, latent_dim, seed)
        inputs = x = keras.Input(image_shape)
        for layer in layers:
            x = layer()(x)
        return keras.Model(inputs, encoder(x)), decoder

    return build


class Noisy(keras.layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class BatchMean(keras.layers.Layer):
    def call(self, x):
        return x - tf.reduce_mean(x, axis=0, keepdims=True)


class Counting(keras.layers.Layer):
    def build(self, input_shape):
        self.calls = self.add_weight(name="calls", trainable=False)

    def call(self, x):
        return x


batch_normalised = _with(keras.layers.BatchNormalization)
dropout = _with(lambda: keras.layers.Dropout(0.1))
noisy = _with(Noisy)
batch_mean = _with(BatchMean)
counting = _with(Counting)
normalised = _with(
    lambda: keras.layers.GroupNormalization(3), keras.layers.LayerNormalization
)


def unrepeatable(image_shape, latent_dim, seed):
    encoder, decoder = small(image_shape, latent_dim, seed)
    weight = decoder.layers[-2].bias
    weight.assign([int(byte) for byte in os.urandom(weight.shape[0])])
    return encoder, decoder


def no_log_var(image_shape, latent_dim, seed):
    encoder, decoder = small(image_shape, latent_dim, seed)
    return keras.Model(encoder.inputs, encoder.outputs[0]), decoder


def other_latent_dim(image_shape, latent_dim, seed):
    return (
        small(image_shape, latent_dim + 1, seed)[0],
        small(image_shape, latent_dim, seed)[1],
    )


def other_pixels(image_shape, latent_dim, seed):
    height, width, channels = image_shape
    return (
        small(image_shape, latent_dim, seed)[0],
        small((height, width, channels + 1), latent_dim, seed)[1],
    )


def fails(image_shape, latent_dim, seed):
    raise RuntimeError("out of ideas")


def fails_at_length(image_shape, latent_dim, seed):
    decoder = keras.Sequential([keras.layers.Reshape(image_shape)])
    return small(image_shape, latent_dim, seed)[0], decoder


def exits(image_shape, latent_dim, seed):
    raise SystemExit(0)


def infinite(image_shape, latent_dim, seed):
    encoder, decoder = small(image_shape, latent_dim, seed)
    encoder.layers[-1].bias.assign([math.inf] * latent_dim)
    return encoder, decoder


def regularised(image_shape, latent_dim, seed):
    encoder, decoder = subclassed(image_shape, latent_dim, seed)
    encoder.hidden.kernel_regularizer = keras.regularizers.L2()
    return encoder, decoder


def untracked(image_shape, latent_dim, seed):
    encoder, decoder = subclassed(image_shape, latent_dim, seed)
    decoder.scale = tf.Variable(1.0)
    return encoder, decoder


def named_twice(image_shape, latent_dim, seed):
    encoder, decoder = subclassed(image_shape, latent_dim, seed)
    encoder.mean.name = encoder.log_var.name = "posterior"
    return encoder, decoder


class Transposed(keras.Model):
    """Uses the kernel of an encoder, transposed."""

    gives = "logits"

    def __init__(self, image_shape, hidden):
        super().__init__()
        self.hidden = keras.layers.Dense(8, activation="tanh")
        self.of_encoder = hidden
        self.reshape = keras.layers.Reshape(image_shape)

    def call(self, z):
        kernel = self.of_encoder.kernel
        return self.reshape(tf.matmul(self.hidden(z), kernel, transpose_b=True))


def tied(image_shape, latent_dim, seed):
    encoder = Encoder(latent_dim)
    return encoder, Transposed(image_shape, encoder.hidden)


def odd_annotation(image_shape, latent_dim, seed, width: "Unknown" = 8):  # noqa: F821
    return small(image_shape, latent_dim, seed)


def nothing(image_shape, latent_dim, seed):
    pass


def not_models(image_shape, latent_dim, seed):
    return "encoder", "decoder"


def no_seed(image_shape, latent_dim):
    return small(image_shape, latent_dim, 0)


def odd_option(image_shape, latent_dim, seed, widths=(1, 2)):
    return small(image_shape, latent_dim, seed)


NOT_A_FUNCTION = 3
