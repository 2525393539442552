"""The training step, and several of them in one TensorFlow call."""

import time

import tensorflow as tf

from trainer import randomness
from trainer.distributed.calls import agree
from trainer.model import objective
from trainer.model.weights import weights_of

# Of the batches of a call, how many are timed, at most twice as many. It asks
# Python for the time: TensorFlow's own clock is refused in a deterministic job.
_TIMED_BATCHES = 8


def sum_of_parts(function, parts, *batches):
    """Returns the sum of a function's results on parts of a batch.

    No part depends on another, so that TensorFlow computes them abreast.

    Args:
        function: takes a part of each of `batches`; returns nested tensors.
        parts: int, a divisor of the batch.
        *batches: tensors of shape (batch, ...).
    """
    results = [
        function(*part)
        for part in zip(
            *(tf.split(batch, parts) for batch in batches), strict=True
        )
    ]
    return tf.nest.map_structure(lambda *values: tf.add_n(values), *results)


def sum_in_order(function, initial, slices, *batches):
    """Returns the sum of a function's results on equal slices of a batch.

    They are computed one after another and added in their order, so that the
    memory of one slice is enough.

    Args:
        function: takes a slice of each of `batches`; returns nested tensors.
        initial: zeros of the structure, shapes and dtypes of its results.
        slices: int, a divisor of the batch. Of a single one, the result is
            that of `function`, to the digit.
        *batches: tensors of shape (batch, ...).
    """
    if slices == 1:
        return function(*batches)
    cut = [
        tf.reshape(batch, [slices, -1, *batch.shape[1:]]) for batch in batches
    ]

    def add(index, sums):
        results = function(*(batch[index] for batch in cut))
        return index + 1, tf.nest.map_structure(tf.add, sums, results)

    _, sums = tf.while_loop(
        lambda index, _: index < slices,
        add,
        (tf.constant(0), initial),
        parallel_iterations=1,
    )
    return sums


def make_train_steps(vae, optimizer, config, schedule, cluster, jit_compile):
    """Returns a function that trains for some steps in one TensorFlow call.

    It takes an iterator of training batches, and a number of steps and a
    proposal as `distributed.calls.Calls` gives them. It returns a dict and
    what all workers agreed on. The dict has the floats `total_loss` (the
    objective), `reconstruction_loss` and `kl_loss` of the last of those
    steps, `finite`: whether all losses of all those steps were, and
    `data_seconds`: how long the steps waited for their batches, of which some
    are timed for all.
    """
    strategy = cluster.strategy
    weights = weights_of(vae)
    # The clamp of free bits needs the whole batch in the middle of the step;
    # and each part of a batch would encode the pseudo-inputs of a prior.
    needs_whole = config.free_bits or vae.prior.weights
    parts = 1 if needs_whole else cluster.parts
    warmup_steps = config.kl_warmup_epochs * schedule.steps_per_epoch
    dtype = tf.as_dtype(config.precision)

    def forward_and_backward(images, noise, kl_weight, labels=None):
        """Losses and gradients of these images' share of the batch mean."""
        with tf.GradientTape() as tape:
            reconstruction, kl_parts, _ = vae.terms(images, noise, labels)
            kl = tf.reduce_sum(kl_parts, axis=1)
            penalty = kl
            if config.free_bits:
                sum_of_units = tf.stop_gradient(tf.reduce_sum(kl_parts, axis=0))
                replicas = tf.distribute.get_replica_context()
                mean_of_units = (
                    replicas.all_reduce("SUM", sum_of_units) / config.batch_size
                )
                penalty = objective.free_bits_kl(
                    kl_parts, mean_of_units, config.free_bits
                )
            total = reconstruction + kl_weight * penalty
            # Summed, over the *global* batch: gradients are summed over
            # replicas, and their number must not matter.
            loss = tf.reduce_sum(total) / config.batch_size
        losses = tf.stack(
            [tf.reduce_sum(x) for x in (total, reconstruction, kl)]
        )
        gradients = [
            # That of an embedding is of some rows; all others are zeros.
            tf.convert_to_tensor(gradient)
            if isinstance(gradient, tf.IndexedSlices)
            else gradient
            for gradient in tape.gradient(loss, weights)
        ]
        return losses / config.batch_size, gradients

    if jit_compile:
        # Only what lies between two all-reduces: XLA fails around them when
        # there are several CPU replicas.
        forward_and_backward = tf.function(
            forward_and_backward, jit_compile=True
        )

    def replica_step(batch):
        images = batch["images"]
        # Drawn outside of XLA, whose generator gives other numbers.
        noise = randomness.normal(
            config.seed,
            randomness.Tag.TRAIN_NOISE,
            row=batch["step"],
            position=batch["position"],
            count=tf.shape(images)[0],
            width=config.latent_dim,
        )
        kl_weight = objective.kl_weight(
            batch["step"], warmup_steps, config.beta
        )

        def of_slice(images, noise, *labels):
            return sum_of_parts(
                lambda images, noise, *labels: forward_and_backward(
                    images, noise, tf.cast(kl_weight, dtype), *labels
                ),
                parts,
                tf.cast(images, dtype) / 255,
                tf.cast(noise, dtype),
                *labels,
            )

        losses, gradients = sum_in_order(
            of_slice,
            (tf.zeros([3], dtype), [tf.zeros_like(w) for w in weights]),
            config.microbatches,
            images,
            noise,
            *([batch["labels"]] if "labels" in batch else []),
        )
        optimizer.apply(gradients, weights)
        return losses

    @tf.function
    def call(iterator, count, proposal):
        agreed = agree(strategy, proposal)
        losses = tf.zeros([3], dtype)
        finite = tf.constant(True)
        waited = tf.constant(0.0, tf.float64)
        every = tf.maximum(count // _TIMED_BATCHES, 1)
        for at in tf.range(1, count + 1):
            is_timed = tf.equal(at % every, 0)
            asked = _seconds(is_timed)
            # TensorFlow knows no order of these but the one that it is told.
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, True)):
                waited += _seconds(is_timed) - asked
            per_replica = strategy.run(replica_step, args=(batch,))
            losses = strategy.reduce("SUM", per_replica, axis=None)
            finite &= tf.reduce_all(tf.math.is_finite(losses))
        timed = tf.maximum(count // every, 1)
        waited *= tf.cast(count, tf.float64) / tf.cast(timed, tf.float64)
        return losses, finite, waited, agreed

    def train_steps(iterator, count, proposal):
        losses, finite, waited, agreed = call(iterator, count, proposal)
        total, reconstruction, kl = (float(x) for x in losses.numpy())
        return {
            "total_loss": total,
            "reconstruction_loss": reconstruction,
            "kl_loss": kl,
            "finite": bool(finite),
            "data_seconds": float(waited),
        }, agreed

    train_steps.traces = call.experimental_get_tracing_count
    return train_steps


def _seconds(wanted):
    """Returns what a clock shows, float64 of shape (); 0 if not `wanted`."""
    return tf.cond(
        wanted,
        lambda: tf.ensure_shape(
            tf.numpy_function(time.perf_counter, [], tf.float64), ()
        ),
        lambda: tf.constant(0.0, tf.float64),
    )
