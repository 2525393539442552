"""What Keras's own `fit` and `evaluate` do with a `VAE`, for notebooks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from trainer.model.fit_checks import checked_images, labels_in_range


class FitMethods:
    """The steps of `fit` and `evaluate`; stands before `keras.Model`."""

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit`; after an error it can be called again.

        Args:
            *args: images of shape (N, height, width, channels), floats in
                [0, 1], and of a model with classes their labels; or a
                `tf.data.Dataset` of batches of these.
            **kwargs: of `keras.Model.fit`.

        Returns:
            Keras's history: `total_loss`, `reconstruction_loss` and `kl_loss`
            of each epoch, means over images, in nats.
        """
        with self._traced_anew_after_an_error():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates as `keras.Model.evaluate`: the three losses of `fit`.

        Args:
            *args: as of `fit`.
            **kwargs: of `keras.Model.evaluate`.
        """
        with self._traced_anew_after_an_error():
            return super().evaluate(*args, **kwargs)

    @contextlib.contextmanager
    def _traced_anew_after_an_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # A function whose tracing broke off cannot be traced once more.
            self.train_function = self.test_function = None
            raise

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of `fit`; returns the three losses as a dict."""
        with tf.GradientTape() as tape:
            losses = self._batch_losses(data)
            # A strategy sums gradients over replicas, and this loss is a
            # mean over one replica's share of the batch.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            scaled_loss = losses["total_loss"] / replicas
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        return self._track(losses)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of `evaluate`; returns the three losses as a dict."""
        return self._track(self._batch_losses(data))

    def _batch_losses(self, data):
        images, *others = data if isinstance(data, tuple) else (data,)
        images = checked_images(
            images, self.image_shape, self.encoder.compute_dtype
        )
        labels = None
        if self.classes:  # Else fit(images, labels) has no use for them.
            given = others[0] if others else None
            labels = labels_in_range(given, self.classes)
        reconstruction, kl, _ = self.terms(images, labels=labels)
        reconstruction = tf.reduce_mean(reconstruction)
        kl = tf.reduce_mean(tf.reduce_sum(kl, axis=1))
        return {
            "total_loss": reconstruction + self.beta * kl,
            "reconstruction_loss": reconstruction,
            "kl_loss": kl,
        }

    def _track(self, losses):
        for tracker in self.metrics:
            tracker.update_state(losses[tracker.name])
        return {tracker.name: tracker.result() for tracker in self.metrics}
