import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import randomness
from trainer.distributed.calls import Workers
from trainer.evaluation import held_out as evaluator_lib
from trainer.evaluation.held_out import Evaluator
from trainer.model import likelihoods, objective
from trainer.model.build import build_vae


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(
        0, 256, (50, 28, 28, 1), dtype=np.uint8
    )


def evaluate_on(config, images, stop, replicas):
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(replicas)],
        tf.distribute.ReductionToOneDevice(),
    )
    with strategy.scope():
        vae = build_vae(config, (28, 28, 1))
    evaluator = Evaluator(vae, config, strategy, images, Workers(stop))
    advanced = []
    first = evaluator.run(advanced.append)
    assert sum(advanced) >= len(images)
    again = evaluator.run(advanced.append)
    assert again.metrics == first.metrics
    assert (again.kl_of_units == first.kl_of_units).all()
    return vae, first


def test_metrics_are_those_of_every_image_once(small_config, images, stop):
    config = small_config(precision="float64", beta=0.5, batch_size=16)
    vae, evaluation = evaluate_on(config, images, stop, 1)
    noise = randomness.normal(0, randomness.Tag.TEST_NOISE, 0, 0, 50, 8)
    pixels = tf.constant(images / 255)
    z_mean, z_log_var = vae.encoder(pixels)
    z = z_mean + tf.exp(z_log_var / 2) * tf.cast(noise, tf.float64)
    error = np.mean(likelihoods.squared_error(pixels, vae.decoder(z)))
    kl_of_units = np.mean(objective.kl_per_unit(z_mean, z_log_var), axis=0)
    kl = np.sum(kl_of_units)
    variance = np.var(z_mean, axis=0)
    bounds = likelihoods.squared_error(pixels, vae.decoder(z)) + np.sum(
        objective.kl_per_unit(z_mean, z_log_var), axis=1
    )
    active = int((variance > 0.01).sum())
    components = np.linalg.eigvalsh(np.cov(z_mean, rowvar=False, ddof=0))
    directions = int((components > 0.01).sum())
    assert evaluation.kl_of_units == pytest.approx(kl_of_units, rel=1e-12)
    assert evaluation.variance_of_units == pytest.approx(variance, abs=1e-12)
    assert evaluation.elbo_error == pytest.approx(
        np.std(bounds, ddof=1) / np.sqrt(50), rel=1e-9
    )
    assert evaluation.metrics == {
        "total_loss": pytest.approx(error + 0.5 * kl, rel=1e-12),
        "reconstruction_loss": pytest.approx(error, rel=1e-12),
        "kl_loss": pytest.approx(kl, rel=1e-12),
        "kl_weight": 0.5,
        "active_units": active,
        "active_directions": directions,
        "dead_units": evaluation.metrics["dead_units"],
    }
    assert evaluation.metrics["dead_units"] == sum(
        np.count_nonzero(
            ~np.any(
                keras.Model(vae.encoder.inputs, layer.output)(pixels) > 0,
                axis=tuple(range(layer.output.ndim - 1)),
            )
        )
        for layer in vae.encoder.layers[1:5]
        if layer.name != "encoder_flatten"
    )


@pytest.mark.parametrize("replicas", [2, 4])
def test_replica_count_does_not_change_the_metrics(
    small_config, images, stop, replicas
):
    config = small_config(precision="float64", batch_size=16)
    _, one = evaluate_on(config, images, stop, 1)
    _, many = evaluate_on(config, images, stop, replicas)
    assert many.metrics == pytest.approx(one.metrics, rel=1e-12)


@pytest.mark.parametrize(
    ("active_units", "latent_dim", "collapsed"),
    [
        (0, 200, True),
        (1, 200, True),
        (2, 200, False),
        (10, 200, False),
        (0, 2, True),
        (1, 2, False),
    ],
)
def test_collapse_is_none_or_less_than_a_hundredth_active(
    active_units, latent_dim, collapsed
):
    row = {"active_units": active_units}
    assert evaluator_lib.has_collapsed(row, latent_dim) is collapsed


def test_units_that_say_the_same_are_one_direction(small_config, images, stop):
    config = small_config(precision="float64", batch_size=16)
    with tf.distribute.get_strategy().scope():
        vae = build_vae(config, (28, 28, 1))
    layer = vae.encoder.get_layer("z_mean")
    # All units have the mean of the first one.
    layer.kernel.assign(tf.repeat(10 * layer.kernel[:, :1], 8, axis=1))
    evaluation = Evaluator(
        vae, config, tf.distribute.get_strategy(), images, Workers(stop)
    ).run(lambda count: None)
    assert evaluation.metrics["active_units"] == 8
    assert evaluation.metrics["active_directions"] == 1
    phrase = evaluator_lib.latent_phrase(evaluation.metrics, 8)
    assert phrase == "8 of 8 latent units active, 1 direction"
    assert evaluator_lib.has_collapsed(evaluation.metrics, 200)


def test_a_bottleneck_that_has_died_is_named(small_config, images, stop):
    config = small_config(batch_size=16)
    vae = build_vae(config, (28, 28, 1))
    vae.encoder.get_layer("encoder_dense").bias.assign([-1e6] * 16)
    evaluation = Evaluator(
        vae, config, tf.distribute.get_strategy(), images, Workers(stop)
    ).run(lambda count: None)
    assert evaluation.dead_layers == ["encoder_dense"]
    message = evaluator_lib.collapse_message(
        evaluation.metrics, config, evaluation.dead_layers
    )
    assert "All units of encoder_dense are dead" in message
