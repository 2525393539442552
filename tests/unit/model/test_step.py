import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.tools.small_jobs import small_job
from trainer.data import order
from trainer.distributed import devices
from trainer.distributed.calls import Workers
from trainer.errors import ConfigError
from trainer.evaluation.held_out import Evaluator
from trainer.model import optimizer as optimizer_lib
from trainer.model.build import build_vae
from trainer.model.step import make_train_steps, sum_in_order
from trainer.model.weights import weights_of
from trainer.runtime.stop_signal import StopSignal
from trainer.schedule import Schedule

IMAGES = np.random.default_rng(0).integers(256, size=(96, 5, 4, 1), dtype="u1")
STEPS = 6


@functools.cache
def trained(microbatches, replicas, jit=False):
    """Returns all that some steps give, and an evaluation: float64 array."""
    config = small_job(
        microbatches=microbatches,
        virtual_devices=replicas,
        model="mlp",
        model_options="width=8,depth=1",
        latent_dim=3,
        precision="float64",
        kl_warmup_epochs=0.0,
    )
    cluster = devices.connect(config)
    schedule = Schedule.of(config, len(IMAGES))
    with cluster.strategy.scope():
        vae = build_vae(config, IMAGES.shape[1:])
        optimizer = optimizer_lib.make(config, schedule)
        optimizer_lib.build(optimizer, weights_of(vae))
    batches = order.train_batches(IMAGES, config, schedule, cluster.strategy, 1)
    train_steps = make_train_steps(
        vae, optimizer, config, schedule, cluster, jit
    )
    losses, _ = train_steps(
        iter(batches), tf.constant(STEPS), tf.zeros([2], tf.float64)
    )
    evaluation = Evaluator(
        vae,
        config,
        cluster.strategy,
        IMAGES[:50],
        Workers(StopSignal()),
        cluster.parts,
    ).run(lambda count: None)
    assert losses.pop("finite")
    del losses["data_seconds"]
    return np.concatenate(
        [
            [*losses.values(), *evaluation.metrics.values()],
            *(weight.numpy().ravel() for weight in weights_of(vae)),
        ]
    )


@pytest.mark.parametrize(
    ("microbatches", "replicas", "jit"),
    [
        (2, 1, False),
        (8, 1, False),
        (2, 4, False),
        (8, 4, False),
        pytest.param(8, 1, True, marks=pytest.mark.slow),
    ],
)
def test_microbatches_change_nothing_in_float64(microbatches, replicas, jit):
    whole = trained(1, 1)
    cut = trained(microbatches, replicas, jit)
    assert len(cut) > 300
    np.testing.assert_allclose(cut, whole, rtol=1e-10, atol=1e-12)


def test_slices_are_added_in_their_order_and_traced_once():
    traced = []

    @tf.function
    def total(values):
        def of_slice(values):
            traced.append(values.shape)
            return {"sum": tf.reduce_sum(values, axis=0)}

        return sum_in_order(of_slice, {"sum": tf.zeros([1])}, 4, values)

    # In float32, 1e8 + 1 is 1e8.
    values = tf.constant([[1e8], [0.0], [1.0], [-1e8], [-1e8], [1e8], [1], [1]])
    assert total(values)["sum"].numpy() == [2.0]
    assert total(values[::-1])["sum"].numpy() == [0.0]
    assert traced == [(2, 1)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 12, "microbatches": 5}, "cut the 12 images that"),
        (
            {"batch_size": 12, "microbatches": 24},
            "use one of 1, 2, 3, 4, 6, 12",
        ),
        (
            {"batch_size": 12, "microbatches": 4, "virtual_devices": 2},
            "cut the 6 images that --batch_size=12 gives each of 2 replicas "
            "into equal slices; use one of 1, 2, 3, 6",
        ),
        (
            {"microbatches": 2, "free_bits": 0.5},
            "looks at the KL of the whole batch, but --microbatches=2 never",
        ),
        ({"microbatches": 0}, "is too small; the least is 1"),
    ],
)
def test_microbatches_that_cannot_be_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        devices.connect(small_job(**settings))
