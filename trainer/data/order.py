"""Order: step -> global batch -> this worker's slice, as tf.data.

The batch of a step is computed from (seed, step, position in the global
batch). There is no iterator state: a pipeline starts at any step at no cost.
"""

import math

import numpy as np
import tensorflow as tf

from trainer import arithmetic, randomness
from trainer.data import images as images_lib


def train_batches(
    images,
    config,
    schedule,
    strategy,
    first_step,
    version=arithmetic.NEWEST,
    labels=None,
):
    """Returns the distributed training batches from a step on.

    Args:
        images: uint8 array, or `StoredImages`, of shape (N, height, width,
            channels).
        config: a `TrainConfig`.
        schedule: a `Schedule`.
        strategy: a `tf.distribute.Strategy`.
        first_step: int, the first step to feed; steps count from 1.
        version: int, of the job's arithmetic.
        labels: integers of shape (N,), for a model that takes them; None for
            batches without.

    Returns:
        A distributed dataset. Each replica's element is a dict: `step` (int64
        scalar), `position` (int64 scalar: where this slice starts in the
        global batch) and `images` (uint8 of shape (batch_size / replicas,
        height, width, channels), drawn to be 0 or 255 if the config says so);
        and `labels` (int64 of shape (batch_size / replicas,)), if there are.
    """
    read = images_lib.reader(images)
    labels_of = _label_reader(labels)
    slice_size = config.batch_size // strategy.num_replicas_in_sync

    def dataset_of_worker(context):
        replicas = strategy.num_replicas_in_sync // context.num_input_pipelines
        first_replica = context.input_pipeline_id * replicas

        def batch(index):
            step = index // replicas + first_step
            position = (first_replica + index % replicas) * slice_size
            examples = examples_of_step(
                step, position, slice_size, config, schedule, len(images),
                version,
            )  # fmt: skip
            batch_images = read(examples)
            if config.binarize == "dynamic":
                batch_images = binary_images(
                    batch_images, config.seed, step, position
                )
            return {
                "step": step,
                "position": position,
                "images": batch_images,
                **labels_of(examples),
            }

        steps = max(schedule.total_steps - first_step + 1, 0)
        # One element a replica: a strategy deals a worker's elements out to
        # its replicas in turn.
        dataset = tf.data.Dataset.range(steps * replicas)
        batches = dataset.map(batch, images_lib.parallel_reads(images))
        return batches.prefetch(2 * replicas)

    return _distribute(dataset_of_worker, strategy)


def examples_of_step(
    step,
    position,
    count,
    config,
    schedule,
    train_examples,
    version=arithmetic.NEWEST,
):
    """Returns the indices of the examples of a slice of a step's batch.

    Args:
        step: int64 tensor of shape (), from 1.
        position: int64 tensor of shape (), the slice's first place in the
            global batch.
        count: int, places in the slice.
        config: a `TrainConfig`.
        schedule: a `Schedule`.
        train_examples: int, the number of training images.
        version: int, of the job's arithmetic.

    Returns:
        int64 tensor of shape (count,).
    """
    steps_before = step - 1
    epoch = steps_before // schedule.steps_per_epoch
    first = (
        steps_before % schedule.steps_per_epoch * config.batch_size + position
    )
    places = first + tf.range(count, dtype=tf.int64)
    return randomness.shuffled(
        places, config.seed, epoch, train_examples, version
    )


def binary_images(images, seed, step, position):
    """Draws the pixels of a slice of a step's batch to be black or white.

    A grey value is the probability of white, times 255. The uniform numbers
    that decide are from 0 to below 1, so that 0 stays black and 255 white.

    Args:
        images: uint8 tensor of shape (count, height, width, channels).
        seed: int, the job's seed.
        step: int64 tensor of shape (), from 1.
        position: int64 tensor of shape (), the slice's first place in the
            global batch.

    Returns:
        uint8 tensor of the same shape, 0 or 255.
    """
    uniform = randomness.uniform(
        seed,
        randomness.Tag.BINARIZE,
        row=step,
        position=position,
        count=tf.shape(images)[0],
        width=math.prod(images.shape[1:]),
    )
    white = tf.reshape(uniform, tf.shape(images)) < (
        tf.cast(images, tf.float32) / 255
    )
    return 255 * tf.cast(white, tf.uint8)


def test_batches(images, config, strategy, passes=1, labels=None):
    """Returns the distributed test batches: every image once, in order.

    Args:
        images: uint8 array, or `StoredImages`, of shape (M, height, width,
            channels).
        config: a `TrainConfig`.
        strategy: a `tf.distribute.Strategy`.
        passes: int, how often; None for without end.
        labels: integers of shape (M,), or None: see `train_batches`.

    Returns:
        (dataset, batches): a distributed dataset, and the number of global
        batches in a pass. Each replica's element is a dict: `position` (int64
        scalar: the test index of the first image), `images` (uint8 of shape
        (batch_size / replicas, height, width, channels)) and `weights`
        (float64 of shape (batch_size / replicas,): 0 for the padding that
        makes the last batch even, since an empty replica would hang or give
        NaN); and `labels`, as of `train_batches`.
    """
    read = images_lib.reader(images)
    labels_of = _label_reader(labels)
    count = len(images)
    slice_size = config.batch_size // strategy.num_replicas_in_sync
    batch_count = -(-count // config.batch_size)

    def dataset_of_worker(context):
        replicas = strategy.num_replicas_in_sync // context.num_input_pipelines
        first_replica = context.input_pipeline_id * replicas

        def batch(index):
            position = (
                index // replicas * config.batch_size
                + (first_replica + index % replicas) * slice_size
            )
            places = position + tf.range(slice_size, dtype=tf.int64)
            examples = tf.minimum(places, count - 1)
            return {
                "position": position,
                "images": read(examples),
                "weights": tf.cast(places < count, tf.float64),
                **labels_of(examples),
            }

        dataset = tf.data.Dataset.range(batch_count * replicas)
        batches = dataset.map(batch, images_lib.parallel_reads(images))
        return batches.repeat(passes).prefetch(2 * replicas)

    return _distribute(dataset_of_worker, strategy), batch_count


def _label_reader(labels):
    """Returns a function of indices: what a batch has of their labels."""
    if labels is None:
        return lambda examples: {}
    # As images in memory are: of no graph a constant.
    with tf.device("CPU:0"):
        source = tf.convert_to_tensor(np.asarray(labels, np.int64))
    return lambda examples: {"labels": tf.gather(source, examples)}


def _distribute(dataset_of_worker, strategy):
    """Returns a distributed dataset whose iterators end at once.

    tf.data tunes a pipeline in a thread that sleeps for up to a minute, and
    the end of an iterator waits for that thread. It is woken before the
    iterator counts as cancelled, so that it may sleep on (TensorFlow's
    `CancellationManager::StartCancel` and `Model::OptimizeLoop`). Nothing
    needs tuning here. A strategy, however, gives each device a pipeline of its
    own, which no option reaches (`multi_device_iterator_ops.py`). CPU devices
    go without; to a GPU it brings data ahead of time, so `job.py` keeps the
    iterators for as long as the job lasts.

    Args:
        dataset_of_worker: takes a `tf.distribute.InputContext`; returns a
            `tf.data.Dataset`.
        strategy: a `tf.distribute.Strategy`.
    """
    untuned = tf.data.Options()
    untuned.autotune.enabled = False
    input_options = None
    # Of the strategies, only this one knows PER_REPLICA.
    if isinstance(strategy, tf.distribute.MirroredStrategy) and all(
        "CPU" in device for device in strategy.extended.worker_devices
    ):
        input_options = tf.distribute.InputOptions(
            experimental_fetch_to_device=False,
            experimental_replication_mode=(
                tf.distribute.InputReplicationMode.PER_REPLICA
            ),
        )
    return strategy.distribute_datasets_from_function(
        lambda context: dataset_of_worker(context).with_options(untuned),
        input_options,
    )
