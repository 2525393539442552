"""The contender: the same model through `Model.fit`, as in a notebook.

It shares no code with the trainer's models or step.
"""

import contextlib
import json
import sys

from benchmarks import keras_conv
from benchmarks.turns import BenchmarkOver, Turn, check_parameters
from trainer.data import sources
from trainer.runtime.command import quiet_tensorflow
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.runtime.training_flags import parse_flags

with quiet_tensorflow():
    import keras
    import tensorflow as tf


class Sampling(keras.layers.Layer):
    """Draws z from the posterior."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, z_mean, z_log_var, epsilon=None):
        """Returns z_mean + exp(z_log_var / 2) * epsilon."""
        if epsilon is None:
            epsilon = keras.random.normal(
                tf.shape(z_mean), dtype=z_mean.dtype, seed=self.seed_generator
            )
        return z_mean + tf.exp(0.5 * z_log_var) * epsilon


def build_encoder(latent_dim):
    """Returns images -> [z_mean, z_log_var]."""
    images = keras.Input((28, 28, 1))
    conv = {"strides": 2, "padding": "same", "activation": "relu"}
    x = keras.layers.Conv2D(32, 3, **conv)(images)
    x = keras.layers.Conv2D(64, 3, **conv)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(16, activation="relu")(x)
    z_mean = keras.layers.Dense(latent_dim)(x)
    z_log_var = keras.layers.Dense(latent_dim)(x)
    return keras.Model(images, [z_mean, z_log_var])


def build_decoder(latent_dim):
    """Returns z -> images."""
    z = keras.Input((latent_dim,))
    conv = {"strides": 2, "padding": "same", "activation": "relu"}
    x = keras.layers.Dense(7 * 7 * 64, activation="relu")(z)
    x = keras.layers.Reshape((7, 7, 64))(x)
    x = keras.layers.Conv2DTranspose(64, 3, **conv)(x)
    x = keras.layers.Conv2DTranspose(32, 3, **conv)(x)
    images = keras.layers.Conv2DTranspose(
        1, 3, padding="same", activation="sigmoid"
    )(x)
    return keras.Model(z, images)


class FitVAE(keras.Model):
    """A model with a `train_step` of its own, as Keras's guide has it."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.sampling = Sampling()
        self.trackers = [
            keras.metrics.Mean(name=name)
            for name in ("total_loss", "reconstruction_loss", "kl_loss")
        ]

    @property
    def metrics(self):
        """What `fit` resets at each epoch."""
        return self.trackers

    def losses_of(self, images, epsilon=None):
        """Returns total, reconstruction and KL loss of a batch."""
        z_mean, z_log_var = self.encoder(images)
        reconstructions = self.decoder(
            self.sampling(z_mean, z_log_var, epsilon)
        )
        # The losses are float32 where the layers are bfloat16.
        z_mean, z_log_var, reconstructions = (
            tf.cast(x, images.dtype)
            for x in (z_mean, z_log_var, reconstructions)
        )
        reconstruction = tf.reduce_mean(
            tf.reduce_sum(tf.square(images - reconstructions), axis=(1, 2, 3))
        )
        kl = -0.5 * (1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var))
        kl = tf.reduce_mean(tf.reduce_sum(kl, axis=1))
        return reconstruction + kl, reconstruction, kl

    def train_step(self, images):
        """One step of `fit`."""
        with tf.GradientTape() as tape:
            losses = self.losses_of(images)
        weights = self.encoder.trainable_weights
        weights = weights + self.decoder.trainable_weights
        gradients = tape.gradient(losses[0], weights)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        for tracker, loss in zip(self.trackers, losses, strict=True):
            tracker.update_state(loss)
        return {tracker.name: tracker.result() for tracker in self.trackers}


class _TurnCallback(keras.callbacks.Callback):
    """Holds `fit` between two calls of TensorFlow until its next turn."""

    def __init__(self, turn):
        super().__init__()
        self._turn = turn

    def on_train_begin(self, logs=None):
        """Waits for the first turn."""
        self._turn.ready()

    def on_train_batch_begin(self, batch, logs=None):
        """Notes where the call begins."""
        self._begin = batch

    def on_train_batch_end(self, batch, logs=None):
        """Counts the steps of the call."""
        self._turn.did(batch - self._begin + 1)


def build_vae(latent_dim=200, conv=None):
    """Returns a `FitVAE` of the notebook's model, or of `keras_conv`.

    Args:
        latent_dim: int.
        conv: dict of the other arguments of `keras_conv`; None for the
            notebook's model.
    """
    if conv is None:
        return FitVAE(build_encoder(latent_dim), build_decoder(latent_dim))
    return FitVAE(
        keras_conv.build_encoder(latent_dim, **conv),
        keras_conv.build_decoder(latent_dim, **conv),
    )


def main():
    """Runs `fit` in the mode of the settings.

    They are `flags`, `parameters`, which the model has to have, `conv` as of
    `build_vae`, `policy` of Keras, `jit_compile` and `steps_per_execution`.
    """
    settings = json.loads(sys.argv[1])
    turn = Turn()
    turn.finish = tf.test.experimental.sync_devices
    config = parse_flags(settings["flags"])
    data = sources.load(config, Console(), StopSignal())
    images = data.train_images.astype("float32") / 255
    dataset = (
        tf.data.Dataset.from_tensor_slices(images)
        .cache()
        .shuffle(len(images))
        .repeat()
        .batch(config.batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    keras.mixed_precision.set_dtype_policy(settings["policy"])
    vae = build_vae(config.latent_dim, settings["conv"])
    check_parameters(
        "The model of Model.fit",
        vae.encoder.count_params() + vae.decoder.count_params(),
        settings["parameters"],
    )
    vae.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        steps_per_execution=settings["steps_per_execution"],
        jit_compile=settings["jit_compile"],
    )
    with contextlib.suppress(BenchmarkOver):
        vae.fit(
            dataset,
            # A whole number of executions; the dataset has no end.
            steps_per_epoch=1000 * settings["steps_per_execution"],
            epochs=1000,
            verbose=0,
            callbacks=[_TurnCallback(turn)],
        )


if __name__ == "__main__":
    main()
