"""Each likelihood against its closed form, in float64."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from trainer import arithmetic
from trainer.config import TrainConfig
from trainer.model import likelihoods
from trainer.model.build import build_vae


def test_squared_error_is_summed_over_pixels():
    images = tf.zeros([2, 4, 4, 1])
    loss = likelihoods.squared_error(images, images + 0.5)
    np.testing.assert_allclose(loss, [4.0, 4.0])


def test_bernoulli_is_the_sum_of_binary_cross_entropies():
    rng = np.random.default_rng(0)
    images, p = rng.uniform(0.01, 0.99, (2, 3, 4, 4, 1))
    expected = -(images * np.log(p) + (1 - images) * np.log(1 - p))
    for loss in (
        likelihoods.bernoulli_cross_entropy(
            tf.constant(images), np.log(p / (1 - p))
        ),
        likelihoods.cross_entropy_of_probabilities(tf.constant(images), p),
    ):
        np.testing.assert_allclose(loss, expected.sum((1, 2, 3)), rtol=1e-12)


def test_bernoulli_stays_finite_at_certain_pixels():
    ones = tf.ones([1, 4, 4, 1])
    loss = likelihoods.cross_entropy_of_probabilities(ones, 1 - ones)
    assert np.isfinite(loss.numpy()).all()


@pytest.mark.parametrize("logit", [-200.0, -16.0, 16.0, 200.0])
def test_bce_has_a_gradient_however_sure_the_decoder_is(logit):
    logits = tf.Variable(tf.fill([1, 1, 1, 2], logit))
    images = tf.constant([[[[0.0, 1.0]]]])
    with tf.GradientTape() as tape:
        loss = likelihoods.bernoulli_cross_entropy(images, logits)
    # The probability less the pixel; float64 of the formula.
    probability = 1 / (1 + np.exp(-np.float64(logit)))
    np.testing.assert_allclose(
        np.ravel(tape.gradient(loss, logits)),
        [probability, probability - 1],
        rtol=1e-6,
        atol=1e-7,
    )
    np.testing.assert_allclose(
        loss,
        [np.logaddexp(0, logit) + np.logaddexp(0, -logit)],
        rtol=1e-6,
    )


@pytest.mark.parametrize("deviation", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_gaussian_is_the_log_density_of_every_pixel(deviation, channels):
    images, means = np.random.default_rng(0).uniform(
        size=(2, 3, 4, 8, channels)
    )
    log_variance = tf.constant(2 * np.log(deviation))
    loss = likelihoods.gaussian_negative_log_likelihood(
        tf.constant(images), means, log_variance
    )
    density = stats.norm.logpdf(images, means, deviation)
    np.testing.assert_allclose(loss, -density.sum((1, 2, 3)), rtol=1e-12)


def test_the_best_variance_is_the_mean_squared_error():
    images, means = np.random.default_rng(0).uniform(size=(2, 3, 4, 8, 1))
    best = np.log(np.mean((images - means) ** 2))
    for log_variance in (best - 0.3, best, best + 0.3):
        variable = tf.Variable(log_variance)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(
                likelihoods.gaussian_negative_log_likelihood(
                    tf.constant(images), means, variable
                )
            )
        error = np.sum((images - means) ** 2)
        assert float(tape.gradient(loss, variable)) == pytest.approx(
            images.size / 2 - error / (2 * np.exp(log_variance)), abs=1e-10
        )


def test_with_its_variance_fixed_a_gaussian_is_mse_and_a_constant():
    images, means = np.random.default_rng(0).uniform(size=(2, 3, 4, 8, 1))
    gaussian = likelihoods.gaussian_negative_log_likelihood(
        tf.constant(images), means, tf.constant(np.log(0.5))
    )
    np.testing.assert_allclose(
        gaussian,
        likelihoods.squared_error(images, means)
        + likelihoods.find("mse").log_normalizer(32),
        rtol=1e-12,
    )
    assert likelihoods.find("gaussian").log_normalizer(32) == 0


def test_a_gaussian_may_have_a_variance_for_each_channel():
    images, means = np.random.default_rng(0).uniform(size=(2, 3, 4, 8, 3))
    deviations = np.array([0.1, 0.5, 2.0])
    loss = likelihoods.gaussian_negative_log_likelihood(
        tf.constant(images), means, tf.constant(2 * np.log(deviations))
    )
    density = stats.norm.logpdf(images, means, deviations)
    np.testing.assert_allclose(loss, -density.sum((1, 2, 3)), rtol=1e-12)


def test_laplace_is_the_log_density_of_every_pixel():
    images, means = np.random.default_rng(0).uniform(size=(2, 3, 4, 8, 3))
    loss = likelihoods.laplace_negative_log_likelihood(
        tf.constant(images), means, tf.constant(np.log(0.2))
    )
    density = stats.laplace.logpdf(images, means, 0.2)
    np.testing.assert_allclose(loss, -density.sum((1, 2, 3)), rtol=1e-12)


LEVELS = np.arange(256).reshape(256, 1, 1, 1) / 255


def of_levels(mean, log_scale, dtype=np.float64):
    """Returns -log P of each of the 256 levels."""
    return likelihoods.discretized_logistic(
        tf.constant(LEVELS, dtype),
        tf.constant(np.full(LEVELS.shape, mean), dtype),
        tf.constant([log_scale], dtype),
    ).numpy()


@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("log_scale", [-9.0, -7.0, -5.0, -2.0, 0.0, 3.0])
def test_a_discretized_logistic_sums_to_one(mean, log_scale):
    assert np.exp(-of_levels(mean, log_scale)).sum() == pytest.approx(
        1, abs=1e-12
    )


@pytest.mark.parametrize("mean", [0.0, 0.31, 1.0])
@pytest.mark.parametrize("log_scale", [-6.0, -3.0, 0.0])
def test_a_discretized_logistic_is_a_difference_of_two_sigmoids(
    mean, log_scale
):
    edges = (np.arange(257) - 0.5) / 255
    edges[0], edges[-1] = -np.inf, np.inf
    expected = np.diff(stats.logistic.cdf(edges, mean, np.exp(log_scale)))
    found = of_levels(mean, log_scale)
    likely = expected > 1e-12  # Less than that is lost in the difference.
    assert likely.any()
    np.testing.assert_allclose(
        found[likely], -np.log(expected[likely]), rtol=1e-4
    )
    assert np.isfinite(of_levels(mean, log_scale, np.float32)).all()


def test_a_decoder_may_give_the_scale_of_each_pixel_too():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 4, 3)) / 255
    means, of_values = rng.normal(size=(2, 2, 4, 4, 3))
    log_scale = np.array([-2.0, -1.0, 0.0])
    found = likelihoods.discretized_logistic(
        tf.constant(images),
        tf.constant(np.concatenate([means, of_values], axis=-1)),
        tf.constant(log_scale),
    )
    one_by_one = [
        likelihoods.discretized_logistic(
            tf.constant(images[:, y : y + 1, x : x + 1, c : c + 1]),
            tf.constant(means[:, y : y + 1, x : x + 1, c : c + 1]),
            tf.constant([log_scale[c] + of_values[i, y, x, c]]),
        ).numpy()[i]
        for i in range(2)
        for y in range(4)
        for x in range(4)
        for c in range(3)
    ]
    np.testing.assert_allclose(
        found, np.reshape(one_by_one, (2, -1)).sum(axis=1), rtol=1e-12
    )


@pytest.mark.parametrize("name", likelihoods.LIKELIHOODS)
def test_a_job_may_have_any_of_them(name):
    vae = build_vae(
        TrainConfig(latent_dim=3, reconstruction_loss=name), (8, 8, 3)
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)) / 255
    loss, kl, _ = vae.terms(images, tf.ones([5, 3]))
    assert loss.shape == (5,) and kl.shape == (5, 3)
    assert np.isfinite(loss).all()
    pixels = vae.decode(tf.zeros([2, 3]))
    assert pixels.shape == (2, 8, 8, 3)
    assert 0 <= np.min(pixels) <= np.max(pixels) <= 1


def test_jobs_of_an_earlier_arithmetic_keep_their_cross_entropy():
    earlier = likelihoods.find("bce", arithmetic.EXACT_LOSSES - 1)
    assert earlier is likelihoods.OF_PROBABILITIES
    assert likelihoods.find("bce") is not earlier
    config = TrainConfig(latent_dim=3, reconstruction_loss="bce")
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1))
    of_both = [
        build_vae(config, (8, 8, 1), version).terms(images, tf.ones([5, 3]))[0]
        for version in (arithmetic.FIRST, arithmetic.NEWEST)
    ]
    np.testing.assert_allclose(*of_both, rtol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "bce", "logistic"])
def test_mixed_precision_compares_the_images_as_they_are(loss):
    """Levels of 1/255 are no numbers of bfloat16, nor are sure sigmoids."""
    settings = {"latent_dim": 3, "reconstruction_loss": loss}
    mixed, exact = (
        build_vae(TrainConfig(**settings, **precision), (8, 8, 1))
        for precision in ({"mixed_precision": "bfloat16"}, {})
    )
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)) / 255
    images = tf.constant(images, tf.float32)
    z = tf.zeros([4, 3], tf.bfloat16)
    for vae in (mixed, exact):
        last = vae.decoder.layers[-1]
        last.kernel.assign(tf.zeros_like(last.kernel))
        last.bias.assign([6.0])  # A logit that bfloat16 has.
    np.testing.assert_allclose(
        mixed.reconstruction_loss(images, z),
        exact.reconstruction_loss(images, tf.cast(z, tf.float32)),
        rtol=1e-6,
    )
