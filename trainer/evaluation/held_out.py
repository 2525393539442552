"""Held-out images under the model: losses and active latent units."""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from trainer import randomness
from trainer.data import order
from trainer.distributed.calls import Calls, agree
from trainer.model.step import sum_in_order, sum_of_parts

# A latent unit is active when its posterior mean varies more than this over
# the test set (Burda et al. 2016, section 5.2).
ACTIVE_VARIANCE = 0.01
# Fewer active directions than this share of all latent units means that the
# model collapsed.
COLLAPSE_SHARE = 0.01
# Their covariance takes 2 MB, which all replicas sum for each batch.
_MOST_UNITS_WITH_DIRECTIONS = 512


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one pass over the held-out images gives.

    Attributes:
        metrics: dict of floats: `total_loss` (reconstruction + beta x KL, no
            free bits), `reconstruction_loss`, `kl_loss` (nats), `kl_weight`;
            and the integers `active_units`, `active_directions`, the principal
            components of the posterior means with a variance above
            `ACTIVE_VARIANCE`, where there are at most 512 latent units, and
            `dead_units`, the hidden units that no image makes fire, where the
            encoder has any that can be seen. Where there are several groups
            of latent units, also `kl_group_1`, the KL of the top one, and so
            on.
        kl_of_units: float64 array of shape (latent_dim,): each unit's mean KL
            divergence, in nats; their sum is `kl_loss`. None where the prior
            gives the units no KL of their own.
        variance_of_units: float64 array of shape (latent_dim,): the variance
            of each unit's posterior mean.
        dead_units: dict of int, dead hidden units by layer.
        hidden_units: dict of int, all hidden units by layer.
        elbo_error: float, the standard error over images of the reconstruction
            loss + KL; None of a single image.
    """

    metrics: dict
    kl_of_units: np.ndarray | None
    variance_of_units: np.ndarray
    dead_units: dict = dataclasses.field(default_factory=dict)
    hidden_units: dict = dataclasses.field(default_factory=dict)
    elbo_error: float | None = None

    @property
    def dead_layers(self):
        """The names of the layers all of whose hidden units are dead."""
        return [
            name
            for name, units in self.hidden_units.items()
            if self.dead_units[name] == units
        ]


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
        labels: integers of shape (M,), of a model that takes them; else None.
    """

    def __init__(
        self, vae, config, strategy, images, workers, parts=1, labels=None
    ):
        self._config = config
        self._kl_is_exact = vae.prior.kl_is_exact
        self._groups = vae.latents.groups
        self._hidden_units = vae.hidden_units
        self._count = len(images)
        batches, self._batch_count = order.test_batches(
            images, config, strategy, passes=None, labels=labels
        )
        # One for all runs: to make and to end an iterator takes long, above
        # all on several GPUs (`data/order.py`).
        sum_batches = _make_sum_batches(
            vae, config, strategy, parts, sum(self._sizes())
        )
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
        sums = tf.zeros([sum(self._sizes())], tf.float64)
        done = 0
        while done < self._batch_count:
            count = self._calls.size(self._batch_count - done)
            sums = self._calls.run(count, sums)
            done += count
            advance(count * self._config.batch_size)
        return self._evaluation(sums.numpy() / self._count)

    def _sizes(self):
        """Returns how many sums there are of each kind."""
        units = self._config.latent_dim
        parts = units if self._kl_is_exact else 1
        products = units**2 if units <= _MOST_UNITS_WITH_DIRECTIONS else 0
        hidden_units = len(self._hidden_units)
        return 1, parts, units, units, 1, products, hidden_units

    def _evaluation(self, means):
        units = self._config.latent_dim
        reconstruction, kl_parts, mean, mean_square, square, *others = np.split(
            means, np.cumsum(self._sizes())[:-1]
        )
        products, fired = others
        reconstruction = float(reconstruction[0])
        variance = mean_square - np.square(mean)
        kl = float(kl_parts.sum())
        metrics = {
            "total_loss": reconstruction + self._config.beta * kl,
            "reconstruction_loss": reconstruction,
            "kl_loss": kl,
            "kl_weight": self._config.beta,
            "active_units": int(np.count_nonzero(variance > ACTIVE_VARIANCE)),
        }
        if products.size:
            covariance = products.reshape(units, units) - np.outer(mean, mean)
            variances = np.linalg.eigvalsh(covariance)
            metrics["active_directions"] = int(
                np.count_nonzero(variances > ACTIVE_VARIANCE)
            )
        metrics |= self._kl_of_groups(kl_parts)
        dead = self._hidden_units.dead(fired > 0)
        if dead:
            metrics["dead_units"] = sum(dead.values())
        elbo_error = None
        if self._count > 1:
            elbo_variance = max(square[0] - (reconstruction + kl) ** 2, 0)
            elbo_error = math.sqrt(elbo_variance / (self._count - 1))
        return Evaluation(
            metrics,
            kl_parts if self._kl_is_exact else None,
            variance,
            dead,
            self._hidden_units.layers,
            elbo_error,
        )

    def _kl_of_groups(self, kl_parts):
        if len(self._groups) == 1:
            return {}
        ends = np.cumsum(self._groups)
        return {
            f"kl_group_{number}": float(part.sum())
            for number, part in enumerate(np.split(kl_parts, ends[:-1]), 1)
        }


def has_collapsed(row, latent_dim):
    """Whether a model says so little with z that it has collapsed.

    Units that say the same are one direction, so that the directions are
    judged where a row has them.

    Args:
        row: dict, a row of held-out images.
        latent_dim: int.
    """
    active = row.get("active_directions", row["active_units"])
    return active == 0 or active < COLLAPSE_SHARE * latent_dim


def latent_phrase(row, latent_dim):
    """Returns what to say of a row's latent units, in a few words."""
    phrase = f"{row['active_units']} of {latent_dim} latent units active"
    if "active_directions" in row:
        directions = row["active_directions"]
        phrase += f", {directions} direction{'s' * (directions != 1)}"
    return phrase


def collapse_phrase(row, latent_dim):
    """Returns what a model is like whose posterior has collapsed."""
    return (
        f"Posterior collapse: {latent_phrase(row, latent_dim)}, so the decoder "
        "all but ignores z, and every image it generates is nearly the same."
    )


def collapse_message(row, config, dead_layers=()):
    """Returns what to say of a model whose posterior has collapsed.

    Args:
        row: dict, a row of held-out images.
        config: a `TrainConfig`.
        dead_layers: names of layers all of whose units are dead.
    """
    phrase = collapse_phrase(row, config.latent_dim)
    if dead_layers:
        return (
            f"{phrase} All units of {', '.join(dead_layers)} are dead: no "
            "image gets past them, and no training brings them back. Start "
            "anew with --kl_warmup_epochs=2 or more (now "
            f"{config.kl_warmup_epochs:g}), a lower --learning_rate (now "
            f"{config.learning_rate:g}), or --model=conv."
        )
    advice = (
        f"{phrase} Try --kl_warmup_epochs=2 or more (now "
        f"{config.kl_warmup_epochs:g}), a lower --beta (now {config.beta:g})"
    )
    if config.prior == "vamp":  # Free bits are of units.
        return f"{advice}, or --prior=standard."
    return f"{advice}, or --free_bits=0.05 (now {config.free_bits:g})."


def _make_sum_batches(vae, config, strategy, parts, size):
    """Returns a function that sums over test batches.

    It takes an iterator, a count, a proposal and the sums up to now, and
    returns the sums and what all workers agreed on. The sums are over
    images, float64: reconstruction loss, parts of the KL, posterior means and
    their squares, the square of the reconstruction loss + KL, the products of
    the means with each other, and how often each hidden unit fired. Batches
    are added one by one, so that the rounding does not depend on how many a
    call takes.
    """

    def replica_sums(batch, components):
        images = tf.cast(batch["images"], config.precision) / 255
        noise = randomness.normal(
            config.seed,
            randomness.Tag.TEST_NOISE,
            row=0,
            position=batch["position"],
            count=tf.shape(images)[0],
            width=config.latent_dim,
        )
        # A forward pass of the whole batch may take more memory than a slice
        # of it forward and backward.
        return sum_in_order(
            functools.partial(
                sum_of_parts,
                functools.partial(weighted_sums, components),
                parts,
            ),
            tf.zeros([size], tf.float64),
            config.microbatches,
            images,
            noise,
            batch["weights"],
            *([batch["labels"]] if "labels" in batch else []),
        )

    def weighted_sums(components, images, noise, weights, *labels):
        reconstruction, kl_parts, z_mean, fired = (
            tf.cast(value, tf.float64)
            for value in vae.terms_and_fired(images, noise, components, *labels)
        )
        weigh = weights[:, tf.newaxis]
        bound = reconstruction + tf.reduce_sum(kl_parts, axis=1)
        products = tf.zeros([0], tf.float64)
        if config.latent_dim <= _MOST_UNITS_WITH_DIRECTIONS:
            products = tf.matmul(weigh * z_mean, z_mean, transpose_a=True)
        return tf.concat(
            [
                [tf.reduce_sum(weights * reconstruction)],
                tf.reduce_sum(weigh * kl_parts, axis=0),
                tf.reduce_sum(weigh * z_mean, axis=0),
                tf.reduce_sum(weigh * tf.square(z_mean), axis=0),
                [tf.reduce_sum(weights * tf.square(bound))],
                tf.reshape(products, [-1]),
                tf.reduce_sum(weigh * fired, axis=0),
            ],
            axis=0,
        )

    @tf.function
    def sum_batches(iterator, count, proposal, sums):
        agreed = agree(strategy, proposal)
        components = strategy.run(vae.components)
        for _ in tf.range(count):
            per_replica = strategy.run(
                replica_sums, args=(next(iterator), components)
            )
            sums += strategy.reduce("SUM", per_replica, axis=None)
        return sums, agreed

    return sum_batches
