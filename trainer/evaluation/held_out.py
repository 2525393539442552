"""Held-out images under the model: losses and active latent units."""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from trainer import randomness
from trainer.data import order
from trainer.distributed.calls import Calls, agree
from trainer.model.step import sum_of_parts

# A latent unit is active when its posterior mean varies more than this over
# the test set (Burda et al. 2016, section 5.2).
ACTIVE_VARIANCE = 0.01
# Fewer active units than this share of all means that the model collapsed.
COLLAPSE_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one pass over the held-out images gives.

    Attributes:
        metrics: dict of floats: `total_loss` (reconstruction + beta x KL, no
            free bits), `reconstruction_loss`, `kl_loss` (nats), `kl_weight`
            and the integer `active_units`.
        kl_of_units: float64 array of shape (latent_dim,): each unit's mean KL
            divergence, in nats; their sum is `kl_loss`.
        variance_of_units: float64 array of shape (latent_dim,): the variance
            of each unit's posterior mean.
        elbo_error: float, the standard error over images of the reconstruction
            loss + KL; None of a single image.
    """

    metrics: dict
    kl_of_units: np.ndarray
    variance_of_units: np.ndarray
    elbo_error: float | None = None


class Evaluator:
    """Evaluates a model on every held-out image once.

    The noise of an image depends on the seed and on its index, so two
    evaluations of the same weights agree, on any number of replicas.

    Args:
        vae: a `trainer.model.vae.VAE`.
        config: a `TrainConfig`.
        strategy: the `tf.distribute.Strategy` of the model.
        images: uint8 array of shape (M, height, width, 1).
        workers: the `Workers` that evaluate it together.
        parts: int, into how many a replica cuts its batch.
    """

    def __init__(self, vae, config, strategy, images, workers, parts=1):
        self._config = config
        self._count = len(images)
        batches, self._batch_count = order.test_batches(
            images, config, strategy, passes=None
        )
        # One for all runs: to make and to end an iterator takes long, above
        # all on several GPUs (`data/order.py`).
        sum_batches = _make_sum_batches(vae, config, strategy, parts)
        self._calls = Calls(
            functools.partial(sum_batches, iter(batches)), workers
        )

    def run(self, advance):
        """Returns the `Evaluation` of the images.

        Args:
            advance: called with a number of images now and then.

        Raises:
            InterruptedJobError: the stop signal came. A further run would
                begin where this one broke off, and round otherwise.
        """
        sums = tf.zeros([2 + 3 * self._config.latent_dim], tf.float64)
        done = 0
        while done < self._batch_count:
            count = self._calls.size(self._batch_count - done)
            sums = self._calls.run(count, sums)
            done += count
            advance(count * self._config.batch_size)
        return self._evaluation(sums.numpy() / self._count)

    def _evaluation(self, means):
        reconstruction = float(means[0])
        kl_of_units, mean, mean_square = np.split(means[1:-1], 3)
        variance = mean_square - np.square(mean)
        kl = float(kl_of_units.sum())
        metrics = {
            "total_loss": reconstruction + self._config.beta * kl,
            "reconstruction_loss": reconstruction,
            "kl_loss": kl,
            "kl_weight": self._config.beta,
            "active_units": int(np.count_nonzero(variance > ACTIVE_VARIANCE)),
        }
        elbo_error = None
        if self._count > 1:
            elbo_variance = max(means[-1] - (reconstruction + kl) ** 2, 0)
            elbo_error = math.sqrt(elbo_variance / (self._count - 1))
        return Evaluation(metrics, kl_of_units, variance, elbo_error)


def has_collapsed(active_units, latent_dim):
    """Whether so few units are active that the model says nothing with z."""
    return active_units == 0 or active_units < COLLAPSE_SHARE * latent_dim


def collapse_message(row, config):
    """Returns what to say of a model whose posterior has collapsed."""
    return (
        f"Posterior collapse: {row['active_units']} of {config.latent_dim} "
        "latent units are active, so the decoder ignores z and every image it "
        "generates is nearly the same. Try --kl_warmup_epochs=2 or more (now "
        f"{config.kl_warmup_epochs:g}), a lower --beta (now {config.beta:g}), "
        f"or --free_bits=0.05 (now {config.free_bits:g})."
    )


def _make_sum_batches(vae, config, strategy, parts):
    """Returns a function that sums over test batches.

    It takes an iterator, a count, a proposal and the sums up to now, and
    returns the sums and what all workers agreed on. The sums are over
    images, float64 of shape (2 + 3 x latent_dim,): reconstruction loss, KL by
    unit, posterior means and their squares, and the square of the
    reconstruction loss + KL. Batches are added one by one, so
    that the rounding does not depend on how many a call takes.
    """

    def replica_sums(batch):
        images = tf.cast(batch["images"], config.precision) / 255
        noise = randomness.normal(
            config.seed,
            randomness.Tag.TEST_NOISE,
            row=0,
            position=batch["position"],
            count=tf.shape(images)[0],
            width=config.latent_dim,
        )
        return sum_of_parts(
            weighted_sums, parts, images, noise, batch["weights"]
        )

    def weighted_sums(images, noise, weights):
        reconstruction, kl_of_units, z_mean = (
            tf.cast(value, tf.float64) for value in vae.terms(images, noise)
        )
        weigh = weights[:, tf.newaxis]
        bound = reconstruction + tf.reduce_sum(kl_of_units, axis=1)
        return tf.concat(
            [
                [tf.reduce_sum(weights * reconstruction)],
                tf.reduce_sum(weigh * kl_of_units, axis=0),
                tf.reduce_sum(weigh * z_mean, axis=0),
                tf.reduce_sum(weigh * tf.square(z_mean), axis=0),
                [tf.reduce_sum(weights * tf.square(bound))],
            ],
            axis=0,
        )

    @tf.function
    def sum_batches(iterator, count, proposal, sums):
        agreed = agree(strategy, proposal)
        for _ in tf.range(count):
            per_replica = strategy.run(replica_sums, args=(next(iterator),))
            sums += strategy.reduce("SUM", per_replica, axis=None)
        return sums, agreed

    return sum_batches
