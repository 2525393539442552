import math

import numpy as np
import pytest
import tensorflow as tf

from tests.tools import closed_form
from trainer import randomness
from trainer.config import TrainConfig
from trainer.errors import InterruptedJobError
from trainer.evaluation import log_likelihood as importance
from trainer.model.build import build_vae

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), dtype=np.uint8)


def model(**settings):
    config = TrainConfig(latent_dim=3, precision="float64", **settings)
    vae = build_vae(config, (8, 8, 1))
    # A new model's posterior is nearly the prior, where errors would hide.
    vae.encoder.get_layer("z_mean").bias.assign([0.5, -1.0, 0.2])
    vae.encoder.get_layer("z_log_var").bias.assign([-1.0, 0.3, -0.5])
    return vae, config


def estimate(vae, config, stop, samples=5, repeats=2, **settings):
    return importance.estimate(
        vae, config, IMAGES, samples, repeats, stop, lambda count: None,
        **settings,
    ).values  # fmt: skip


def log_normal(x, mean, variance):
    return -0.5 * np.sum(
        (x - mean) ** 2 / variance + np.log(2 * np.pi * variance), axis=-1
    )


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_estimate_is_the_mean_importance_weight(stop, loss):
    vae, config = model(reconstruction_loss=loss)
    found = estimate(vae, config, stop)
    x = IMAGES / 255
    z_mean, z_log_var = (np.array(part) for part in vae.encoder(x))
    for repeat in range(2):
        weights = np.zeros(len(IMAGES))
        for sample in range(5):
            noise = randomness.normal(
                0,
                randomness.Tag.IMPORTANCE_NOISE,
                repeat * 2**32 + sample,
                0,
                len(IMAGES),
                3,
            ).numpy()
            z = z_mean + np.exp(z_log_var / 2) * noise
            p = np.array(vae.decoder(tf.constant(z)))
            log_likelihood = (
                log_normal(x.reshape(7, -1), p.reshape(7, -1), 0.5)
                if loss == "mse"
                else np.sum(
                    x * np.log(p) + (1 - x) * np.log(1 - p), axis=(1, 2, 3)
                )
            )
            weights += np.exp(
                log_likelihood
                + log_normal(z, 0, np.ones(3))
                - log_normal(z, z_mean, np.exp(z_log_var))
            )
        np.testing.assert_allclose(
            found[repeat], np.log(weights / 5), rtol=1e-10
        )


def test_two_estimates_agree_bit_for_bit(stop):
    vae, config = model()
    one, again = (estimate(vae, config, stop) for _ in range(2))
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batch_size_does_not_change_the_estimate(stop, batch_size):
    vae, config = model()
    np.testing.assert_allclose(
        estimate(vae, config, stop, batch_size=batch_size),
        estimate(vae, config, stop),
        rtol=1e-12,
    )


def test_calls_of_any_length_give_the_same_estimate(stop, monkeypatch):
    vae, config = model()
    expected = estimate(vae, config, stop)
    for steps in (1, 2, 5):
        monkeypatch.setattr(
            importance.Calls, "size", lambda _, most, n=steps: min(n, most)
        )
        np.testing.assert_array_equal(estimate(vae, config, stop), expected)


def test_repeats_have_noise_of_their_own_that_their_number_keeps(stop):
    vae, config = model()
    two, three = (estimate(vae, config, stop, repeats=n) for n in (2, 3))
    np.testing.assert_array_equal(two, three[:2])
    assert (two[0] != two[1]).all()


def test_every_sample_is_counted_once(stop):
    vae, config = model()
    counts = []
    importance.estimate(vae, config, IMAGES, 9, 2, stop, counts.append, 4)
    assert sum(counts) == 9 * 2 * len(IMAGES)


def test_a_signal_ends_the_estimate(stop):
    vae, config = model()
    stop.request("SIGINT")
    with pytest.raises(InterruptedJobError, match="Interrupted by SIGINT"):
        estimate(vae, config, stop)


def test_standard_errors_are_over_images_and_over_repeats():
    found = importance.LogLikelihood(
        5, np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 4.0]])
    )
    assert found.mean == 3.0
    # Of the images' means 2, 2, 5, and of the repeats' means 3, 3.
    assert found.error_of_images == pytest.approx(math.sqrt(3 / 3))
    assert found.error_of_repeats == 0.0
    alone = importance.LogLikelihood(5, np.array([[1.0]]))
    assert alone.error_of_images is None
    assert alone.error_of_repeats is None


def test_estimates_approach_a_known_log_likelihood_from_below():
    model = closed_form.LinearGaussian()
    found = [model.compare(samples) for samples in closed_form.SAMPLES]
    estimates = [each.estimate for each in found]
    assert estimates == sorted(estimates)
    for each in found:
        assert each.estimate < each.truth + 3 * each.error
    # With one sample the gap is the KL divergence of the encoder's posterior
    # from the true one, and that is no matter of chance.
    kl = (
        0.5
        * closed_form.LATENT_DIM
        * (
            closed_form.SHIFT**2
            + closed_form.WIDENING
            - 1
            - math.log(closed_form.WIDENING)
        )
    )
    assert found[0].gap == pytest.approx(kl, abs=3 * found[0].error)
    assert found[0].gap > 5 * found[0].error
    assert abs(found[-1].gap) < 3 * found[-1].error
    assert found[-1].error < 1e-3


@pytest.mark.parametrize("samples", [1, 10, 100])
def test_the_true_posterior_gives_the_log_likelihood_at_once(stop, samples):
    model = closed_form.LinearGaussian(shift=0, widening=1)
    found = model.compare(samples)
    assert found.estimate == pytest.approx(found.truth, rel=1e-12)
    assert found.error < 1e-12
