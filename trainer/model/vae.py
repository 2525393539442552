"""A variational autoencoder as a Keras model, and its sampling layer."""

import contextlib

import keras
import tensorflow as tf

from trainer.model import last_layer, objective

# A deviation of 0.22. Adam moves a weight by at most about its learning rate a
# step (Kingma & Ba 2015, section 2.1): from a variance of 1 it would take nine
# epochs of Fashion-MNIST to one that fits.
_FIRST_LOG_VARIANCE = -3.0


class Sampler(keras.layers.Layer):
    """Draws z from the posterior: the reparameterisation trick.

    Kingma & Welling 2014, section 2.4.
    """

    def call(self, z_mean, z_log_var, epsilon=None):
        """Returns z_mean + exp(z_log_var / 2) * epsilon.

        Args:
            z_mean: tensor of shape (batch, latent_dim).
            z_log_var: tensor of the same shape.
            epsilon: standard normal noise of the same shape; None draws some
                from TensorFlow's global generator, for use in notebooks.

        Returns:
            Tensor of shape (batch, latent_dim).
        """
        if epsilon is None:
            epsilon = tf.random.normal(tf.shape(z_mean), dtype=z_mean.dtype)
        return z_mean + tf.exp(0.5 * z_log_var) * epsilon


class VAE(keras.Model):
    """A variational autoencoder (Kingma & Welling 2014).

    The training job has a loop of its own; `compile` and `fit` are for
    notebooks: `vae.compile(optimizer="adam"); vae.fit(images)` with images
    in [0, 1] of shape (N, height, width, channels). Others are refused, with
    a ValueError or, of pixels out of range, an InvalidArgumentError.

    Args:
        encoder: functional model from images to [z_mean, z_log_var].
        decoder: functional model from z to images in [0, 1].
        reconstruction_loss: `"mse"`, `"bce"` or `"gaussian"`.
        beta: weight of the KL divergence in `fit`; the job has a warm-up.
        **kwargs: of `keras.Model`.

    Attributes:
        log_variance: of `"gaussian"` alone: the weight of shape () that is
            the logarithm of every pixel's variance.
        likelihood_weights: list of the weights that the likelihood has beside
            the decoder's: `log_variance` or nothing.

    Raises:
        ValueError: the encoder and the decoder do not fit each other.
    """

    def __init__(
        self, encoder, decoder, *, reconstruction_loss="mse", beta=1.0, **kwargs
    ):
        super().__init__(**kwargs)
        # Keras would compile the whole step of `fit` with XLA on a GPU, and
        # XLA drops the check of the pixels.
        self.supports_jit = False
        _check_pair(encoder, decoder)
        self.encoder = encoder
        self.decoder = decoder
        self._decode = last_layer.decode(decoder)
        self.sampler = Sampler(name="sampler")
        self.beta = beta
        self._reconstruction_loss = objective.RECONSTRUCTION_LOSSES[
            reconstruction_loss
        ]
        self.likelihood_weights = []
        if reconstruction_loss == "gaussian":
            self.log_variance = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(_FIRST_LOG_VARIANCE),
                dtype=encoder.variable_dtype,
                name="log_variance",
            )
            self.likelihood_weights = [self.log_variance]
        self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
        self.reconstruction_loss_tracker = keras.metrics.Mean(
            name="reconstruction_loss"
        )
        self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

    def build(self, input_shape):
        """Does nothing: the encoder and the decoder come built."""
        del input_shape
        self.built = True

    @property
    def metrics(self):
        """The three loss trackers, which `fit` resets at each epoch."""
        return [
            self.total_loss_tracker,
            self.reconstruction_loss_tracker,
            self.kl_loss_tracker,
        ]

    def call(self, images, epsilon=None):
        """Returns reconstructions of `images`, same shape, in [0, 1]."""
        z_mean, z_log_var = self.encoder(images)
        return self.decoder(self.sampler(z_mean, z_log_var, epsilon))

    def terms(self, images, epsilon=None):
        """Returns the parts of the objective, per image.

        Args:
            images: tensor of shape (batch, height, width, channels), in [0, 1].
            epsilon: noise of shape (batch, latent_dim), or None for random.

        Returns:
            (reconstruction_loss, kl_of_units, z_mean) of shapes (batch,),
            (batch, latent_dim) and (batch, latent_dim), in the precision of
            the weights.
        """
        images = tf.cast(images, self.encoder.compute_dtype)
        if epsilon is not None:
            epsilon = tf.cast(epsilon, self.encoder.compute_dtype)
        z_mean, z_log_var = self.encoder(images)
        reconstructions = self._decode(self.sampler(z_mean, z_log_var, epsilon))
        images, reconstructions, z_mean, z_log_var = (
            tf.cast(value, self.encoder.variable_dtype)
            for value in (images, reconstructions, z_mean, z_log_var)
        )
        return (
            self.reconstruction_loss(images, reconstructions),
            objective.kl_per_unit(z_mean, z_log_var),
            z_mean,
        )

    def reconstruction_loss(self, images, reconstructions):
        """Returns the reconstruction term of the objective, per image.

        Args:
            images: tensor of shape (batch, height, width, channels), in [0, 1].
            reconstructions: tensor of the same shape and dtype.

        Returns:
            Tensor of shape (batch,): -log p(x | z) in nats, less
            `objective.log_normalizer`.
        """
        return self._reconstruction_loss(
            images, reconstructions, *self.likelihood_weights
        )

    def fit(self, *args, **kwargs):
        """Trains as `keras.Model.fit`; what it has refused it may be given."""
        with self._traced_anew_after_an_error():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Evaluates as `keras.Model.evaluate`; see `fit`."""
        with self._traced_anew_after_an_error():
            return super().evaluate(*args, **kwargs)

    @contextlib.contextmanager
    def _traced_anew_after_an_error(self):
        try:
            yield
        except BaseException:
            # A function whose tracing broke off cannot be traced once more.
            self.train_function = self.test_function = None
            raise

    def train_step(self, images):
        """One step of `fit`; returns the three losses as a dict."""
        with tf.GradientTape() as tape:
            losses = self._batch_losses(images)
            # A strategy sums gradients over replicas, and this loss is a
            # mean over one replica's share of the batch.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            scaled_loss = losses["total_loss"] / replicas
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        return self._track(losses)

    def test_step(self, images):
        """One step of `evaluate`; returns the three losses as a dict."""
        return self._track(self._batch_losses(images))

    def _batch_losses(self, images):
        if isinstance(images, tuple):  # fit(images, labels): labels unused.
            images = images[0]
        images = _checked_images(images, self.encoder)
        reconstruction, kl_of_units, _ = self.terms(images)
        reconstruction = tf.reduce_mean(reconstruction)
        kl = tf.reduce_mean(tf.reduce_sum(kl_of_units, axis=1))
        return {
            "total_loss": reconstruction + self.beta * kl,
            "reconstruction_loss": reconstruction,
            "kl_loss": kl,
        }

    def _track(self, losses):
        for tracker in self.metrics:
            tracker.update_state(losses[tracker.name])
        return {tracker.name: tracker.result() for tracker in self.metrics}


def _check_pair(encoder, decoder):
    if list(encoder.output_shape) != [decoder.input_shape] * 2:
        raise ValueError(
            f"The encoder gives {encoder.output_shape} and the decoder takes "
            f"{decoder.input_shape}; build both for one latent_dim, so that "
            "[z_mean, z_log_var] are each what the decoder takes."
        )
    if decoder.output_shape != encoder.input_shape:
        raise ValueError(
            f"The encoder takes images of {encoder.input_shape[1:]} but the "
            f"decoder gives {decoder.output_shape[1:]}; build both for one "
            "image_shape."
        )


def _checked_images(images, encoder):
    """Returns images as an encoder sees them, if they are what it takes.

    A loss would broadcast images of another shape, and grow without bound
    with pixels from 0 to 255.

    Raises:
        ValueError: their shape or their type is another.
        tf.errors.InvalidArgumentError: when the step runs, a pixel is not
            from 0 to 1.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype.is_integer:
        raise ValueError(
            f"The pixels are {images.dtype.name}, but must be floats from 0 "
            "to 1; divide those of an image file by 255."
        )
    if not images.shape.is_compatible_with(encoder.input_shape):
        raise ValueError(
            f"The images are a batch of shape {images.shape}, but the encoder "
            f"takes {encoder.input_shape}; reshape, pad or crop them."
        )
    images = tf.ensure_shape(images, encoder.input_shape)
    images = tf.cast(images, encoder.compute_dtype)
    are_fractions = tf.debugging.Assert(
        tf.reduce_all((images >= 0) & (images <= 1)),
        [
            "The pixels are not all from 0 to 1, but from",
            tf.reduce_min(images),
            "to",
            tf.reduce_max(images),
            "; divide those of an image file by 255, and leave no NaN.",
        ],
    )
    # So that no weight has changed when they are not.
    with tf.control_dependencies([are_fractions]):
        return tf.identity(images)
