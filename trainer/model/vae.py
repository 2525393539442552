"""A variational autoencoder as a Keras model."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from trainer import arithmetic as arithmetic_lib
from trainer.model import keras_file, latents, likelihoods, priors
from trainer.model.array_checks import check_given
from trainer.model.array_methods import ArrayMethods
from trainer.model.fit_checks import check_pair, shape_of
from trainer.model.fit_methods import FitMethods
from trainer.model.hidden_units import HiddenUnits
from trainer.model.latents import Sampler
from trainer.model.pixel_parameters import PixelParameters


@keras.saving.register_keras_serializable("vae_trainer")
class VAE(ArrayMethods, FitMethods, keras.Model):
    """A variational autoencoder (Kingma & Welling 2014).

    The training job has a loop of its own; `compile` and `fit` are for
    notebooks: `vae.compile(optimizer="adam"); vae.fit(images)` with images
    in [0, 1] of shape (N, height, width, channels). Others are refused, with
    a ValueError or, of pixels out of range, an InvalidArgumentError.

    The methods for arrays, `encode`, `decode`, `reconstruct`, `sample` and
    `elbo`, take any number of images of shape (N, height, width, channels):
    floats or bools from 0 to 1, or uint8 from 0 to 255. Arrays come back as
    arrays, tensors as tensors, through which gradients go. A model with
    classes wants labels, too: integers of shape (N,), or one for all. What a
    model cannot take is a ValueError, which says what was expected.

    Args:
        encoder: model from images to [z_mean, z_log_var]; one with groups of
            latent units takes noise too: see `latents`.
        decoder: model from z to the parameters of pixels: see `likelihoods`.
            One that ends in a sigmoid gives probabilities or means.
        reconstruction_loss: str, a key of `likelihoods.LIKELIHOODS`:
            docs/likelihoods.md.
        beta: weight of the KL divergence in `fit`; the job has a warm-up.
        arithmetic: int, the version of a job's.
        image_shape: (height, width, channels); None to take that of the input
            of a functional encoder.
        latent_dim: int; None to take that of a functional decoder.
        prior_components: int, K: p(z) is a VampPrior of so many pseudo-inputs,
            `prior.pseudo_inputs`, which begin as zeros; assign K images to it
            before training. 0 for a standard normal prior.
        classes: int, how many classes images have: the encoder takes [images,
            labels] and the decoder [z, labels], with labels int32 of shape
            (batch,), and `fit` and `evaluate` want labels beside images. 0
            for a model without labels.
        **kwargs: of `keras.Model`.

    Attributes:
        image_shape: (height, width, channels).
        latent_dim: int, number of latent units.
        classes: see above.
        likelihood: the `Likelihood` of the pixels.
        prior: the prior of z: see `priors`.
        latents: how z is drawn given an image: see `latents`.
        hidden_units: the `HiddenUnits` of the encoder.
        likelihood_weights: list of the weights that the likelihood has beside
            the decoder's: one or none.
        settings: dict of those arguments that no other attribute has.
        built_in: the `keras_file.BuiltIn` of a built-in model; None of others.

    Raises:
        ValueError: the encoder and the decoder do not fit each other, or not
            the prior.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        *,
        reconstruction_loss: str = "mse",
        beta: float = 1.0,
        arithmetic: int = arithmetic_lib.NEWEST,
        image_shape: tuple[int, int, int] | None = None,
        latent_dim: int | None = None,
        prior_components: int = 0,
        classes: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        # Keras would compile the whole step of `fit` with XLA on a GPU, and
        # XLA drops the check of the pixels.
        self.supports_jit = False
        self.built_in = None
        self.settings = {
            "reconstruction_loss": reconstruction_loss,
            "arithmetic": arithmetic,
            "prior_components": prior_components,
            **({"classes": classes} if classes else {}),
        }
        if image_shape is None or latent_dim is None:
            check_pair(encoder, decoder, classes)
            image_shape = shape_of(encoder)[1:]
            (latent_dim,) = shape_of(decoder)[1:]
        self.image_shape = tuple(image_shape)
        self.latent_dim = latent_dim
        self.classes = classes
        self.encoder = encoder
        self.decoder = decoder
        self._is_exact = arithmetic >= arithmetic_lib.EXACT_LOSSES
        self._pixels = PixelParameters(
            decoder,
            likelihoods.find(reconstruction_loss, arithmetic),
            encoder.variable_dtype,
            self._is_exact,
        )
        self.likelihood = self._pixels.likelihood
        self.latents = latents.of(encoder, latent_dim)
        self.hidden_units = HiddenUnits(self.latents.bottom_up)
        self.sampler = Sampler(name="sampler")
        self.beta = beta
        self.likelihood_weights = []
        if self.likelihood.weight:
            channels = self.image_shape[-1]
            weight = self.add_weight(
                shape=(channels,) if self.likelihood.weight_a_channel else (),
                initializer=keras.initializers.Constant(
                    self.likelihood.first_value
                ),
                dtype=encoder.variable_dtype,
                name=self.likelihood.weight,
            )
            self.likelihood_weights = [weight]
            setattr(self, self.likelihood.weight, weight)
        self.prior = priors.StandardNormal(latent_dim)
        if classes and len(self.latents.groups) > 1:
            raise ValueError(
                f"The encoder has {len(self.latents.groups)} groups of latent "
                "units, which take no labels; leave out classes."
            )
        if prior_components:
            if classes:
                raise ValueError(
                    "A VampPrior mixes the posteriors of images without "
                    "labels; leave out prior_components or classes."
                )
            if len(self.latents.groups) > 1:
                raise ValueError(
                    f"The encoder has {len(self.latents.groups)} groups of "
                    "latent units, but a VampPrior mixes the posteriors of "
                    "one; leave out prior_components."
                )
            pseudo_inputs = self.add_weight(
                shape=(prior_components, *self.image_shape),
                initializer="zeros",
                dtype=encoder.variable_dtype,
                name="pseudo_inputs",
            )
            self.prior = priors.VampPrior(encoder, pseudo_inputs, latent_dim)
        self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
        self.reconstruction_loss_tracker = keras.metrics.Mean(
            name="reconstruction_loss"
        )
        self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")
        self.built = True

    def build(self, input_shape: Any) -> None:
        """Does nothing: the encoder and the decoder come built."""
        del input_shape
        self.built = True

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves as `keras.Model.save`, a file for `keras.models.load_model`.

        Raises:
            ValueError: Keras cannot write the encoder or the decoder down; no
                file is touched.
        """
        self.get_config()
        super().save(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns what `save` writes down beside the weights.

        Raises:
            ValueError: an encoder or decoder that Keras cannot write down.
        """
        return keras_file.config_of(self)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> VAE:
        """Returns the model of `get_config`, with first weights."""
        with keras.saving.custom_object_scope(custom_objects or {}):
            return keras_file.from_config(cls, config)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The three loss trackers, which `fit` resets at each epoch."""
        return [
            self.total_loss_tracker,
            self.reconstruction_loss_tracker,
            self.kl_loss_tracker,
        ]

    def call(
        self,
        images: tf.Tensor,
        epsilon: tf.Tensor | None = None,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns reconstructions of `images`, same shape, in [0, 1]."""
        epsilon = self._noise(images, epsilon)
        posterior = self.latents.posterior(
            self.latents.bottom_up(self._inputs(images, labels)), epsilon
        )
        return self.decode(self.sampler(*posterior, epsilon), labels)

    def features(
        self, images: tf.Tensor, labels: tf.Tensor | None = None
    ) -> Any:
        """Returns what posteriors are made of, however many z are drawn.

        Args:
            images: tensor of shape (batch, height, width, channels), in [0, 1].
            labels: integer tensor of shape (batch,), of a model with classes.
        """
        images = tf.cast(images, self.encoder.compute_dtype)
        return self.latents.bottom_up(
            self._inputs(images, labels), training=False
        )

    def terms(
        self,
        images: tf.Tensor,
        epsilon: tf.Tensor | None = None,
        labels: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the parts of the objective, per image.

        Args:
            images: tensor of shape (batch, height, width, channels), in [0, 1].
            epsilon: noise of shape (batch, latent_dim), or None for random.
            labels: as of `features`.

        Returns:
            (reconstruction_loss, kl, z_mean) of shapes (batch,), (batch,
            parts) and (batch, latent_dim), in the precision of the weights.
            The KL has a part for each latent unit where the prior's is exact,
            and else one.
        """
        inputs = tf.cast(images, self.encoder.compute_dtype)
        features = self.latents.bottom_up(self._inputs(inputs, labels))
        return self._terms(
            images, inputs, epsilon, features, self.components(), labels
        )

    def terms_and_fired(
        self,
        images: tf.Tensor,
        epsilon: tf.Tensor | None,
        components: Any,
        labels: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns what `terms` does, and which hidden units fired.

        Args:
            images: as of `terms`.
            epsilon: as of `terms`.
            components: of the prior, as `components` gives them.
            labels: as of `features`.

        Returns:
            (reconstruction_loss, kl, z_mean, fired), the last a bool tensor of
            shape (batch, units): see `HiddenUnits`.
        """
        inputs = tf.cast(images, self.encoder.compute_dtype)
        features, fired = self.hidden_units.encode(self._inputs(inputs, labels))
        return (
            *self._terms(images, inputs, epsilon, features, components, labels),
            fired,
        )

    def components(self) -> Any:
        """Returns what the prior is made of, with the weights as they are.

        To be computed once for many batches, if no weight changes.
        """
        return self.prior.components()

    def _noise(self, images, epsilon):
        """Returns epsilon, or noise from TensorFlow's global generator."""
        if epsilon is None:
            epsilon = tf.random.normal([tf.shape(images)[0], self.latent_dim])
        return tf.cast(epsilon, self.encoder.compute_dtype)

    def _inputs(self, values, labels):
        """Returns what a part of the model takes: values, or with labels."""
        check_given(labels, self.classes)
        if labels is None:
            return values
        return [values, tf.cast(labels, tf.int32)]

    def _terms(self, images, inputs, epsilon, features, components, labels):
        if not self._is_exact:
            images = inputs
        epsilon = self._noise(images, epsilon)
        z_mean, z_log_var = self.latents.posterior(features, epsilon)
        z = self.sampler(z_mean, z_log_var, epsilon)
        z_mean, z_log_var = (
            tf.cast(value, self.encoder.variable_dtype)
            for value in (z_mean, z_log_var)
        )
        return (
            self.reconstruction_loss(images, z, labels),
            self.prior.kl(z_mean, z_log_var, z, epsilon, components),
            z_mean,
        )

    def reconstruction_loss(
        self,
        images: tf.Tensor,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the reconstruction term of the objective, per image.

        Args:
            images: tensor of shape (batch, height, width, channels), in [0, 1].
            z: tensor of shape (batch, latent_dim), in the precision that the
                decoder computes in.
            labels: as of `features`.

        Returns:
            Tensor of shape (batch,): -log p(x | z) in nats, less
            `likelihood.log_normalizer`, in the precision of the weights.
        """
        images = tf.cast(images, self.encoder.variable_dtype)
        if labels is not None:
            labels = tf.cast(labels, tf.int32)
        return self.likelihood.loss(
            images, self._pixels.parameters(z, labels), *self.likelihood_weights
        )

    def log_weights(
        self,
        images: tf.Tensor,
        features: Any,
        noise: tf.Tensor,
        components: Any,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the logarithms of importance weights, one an image.

        log p(x | z) + log p(z) - log q(z | x) of the z that noise makes.

        Args:
            images: tensor of shape (batch, height, width, channels), in [0, 1].
            features: of the images: see `features`.
            noise: tensor of shape (batch, latent_dim), standard normal.
            components: of the prior, as `components` gives them.
            labels: as of `features`.

        Returns:
            float64 tensor of shape (batch,).
        """
        noise = tf.cast(noise, self.encoder.compute_dtype)
        z_mean, z_log_var = self.latents.posterior(features, noise)
        z = self.sampler(z_mean, z_log_var, noise)
        reconstruction_loss = self.reconstruction_loss(images, z, labels)
        z, z_log_var, noise = (
            tf.cast(value, tf.float64) for value in (z, z_log_var, noise)
        )
        log_prior_over_posterior = self.prior.log_ratio(
            z, z_log_var, noise, components
        )
        log_normalizer = self.likelihood.log_normalizer(
            math.prod(self.image_shape)
        )
        log_likelihood = -(
            tf.cast(reconstruction_loss, tf.float64) + log_normalizer
        )
        return log_likelihood + log_prior_over_posterior
