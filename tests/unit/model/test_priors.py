"""A VampPrior beside integrals in one dimension, and what it draws."""

import math

import numpy as np
import pytest
import tensorflow as tf

from trainer import randomness
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.evaluation import log_likelihood
from trainer.model import priors
from trainer.model.build import build_vae
from trainer.model.weights import average_names, variables_of, weights_of

SHAPE = (4, 4, 1)
COMPONENTS = 3
CONFIG = TrainConfig(
    model="mlp",
    model_options="width=8",
    reconstruction_loss="bce",
    latent_dim=1,
    prior="vamp",
    prior_components=COMPONENTS,
    precision="float64",
)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
# Wide and fine enough for integrals of seven digits.
GRID = np.linspace(-12, 12, 4801)


def normal(z, mean, log_var):
    """The density of a Gaussian."""
    square = np.square(z - mean) / np.exp(log_var)
    return np.exp(-0.5 * (square + log_var + math.log(2 * math.pi)))


def integral(values):
    return np.trapezoid(values, GRID, axis=-1)


@pytest.fixture(scope="module")
def vae():
    """A model whose posteriors and components lie apart."""
    vae = build_vae(CONFIG, SHAPE)
    z_mean = vae.encoder.get_layer("z_mean")
    z_mean.kernel.assign(5 * z_mean.kernel)
    z_mean.bias.assign([-2.8])
    vae.encoder.get_layer("z_log_var").bias.assign([-0.7])
    # Beyond [0, 1] too, where they are cut off.
    inputs = np.random.default_rng(1).uniform(-0.5, 1.5, (COMPONENTS, *SHAPE))
    vae.prior.pseudo_inputs.assign(inputs)
    means, _ = vae.prior.components()
    assert np.ptp(means) > 1
    return vae


def density_of_prior(vae, z):
    """p(z), from the encoder alone."""
    inputs = np.clip(vae.prior.pseudo_inputs.numpy(), 0, 1)
    posteriors = np.stack([np.array(part) for part in vae.encoder(inputs)])
    return np.mean([normal(z, *each) for each in posteriors[..., 0].T], axis=0)


def test_its_density_is_the_mean_of_the_posteriors(vae):
    density = np.exp(
        vae.prior.log_density(tf.constant(GRID[:, None]), vae.components())
    )
    np.testing.assert_allclose(density, density_of_prior(vae, GRID), rtol=1e-9)
    assert integral(density) == pytest.approx(1, abs=1e-7)


def test_the_estimate_of_the_kl_is_right_on_average(vae):
    count = 20_000
    z_mean, z_log_var = (np.array(part) for part in vae.encode(IMAGES / 255))
    for image, mean, log_var in zip(IMAGES, z_mean, z_log_var, strict=True):
        q, p = normal(GRID, mean, log_var), density_of_prior(vae, GRID)
        expected = integral(np.where(q > 0, q * np.log(q / p), 0))
        pixels = np.tile(image / 255, (count, 1, 1, 1))
        noise = randomness.normal(3, randomness.Tag.TEST_NOISE, 0, 0, count, 1)
        _, kl, _ = vae.terms(pixels, noise)
        assert kl.shape == (count, 1)
        error = np.std(kl) / math.sqrt(count)
        assert np.mean(kl) == pytest.approx(expected, abs=4 * error)
        assert error < 0.02


def test_the_likelihood_is_that_of_an_integral(vae, stop):
    found = log_likelihood.estimate(
        vae, CONFIG, IMAGES, 2000, 10, stop, lambda count: None
    ).values
    for image, values in zip(IMAGES / 255, found.T, strict=True):
        pixels = np.tile(image, (len(GRID), 1, 1, 1))
        loss = vae.reconstruction_loss(pixels, tf.constant(GRID[:, None]))
        p = np.exp(-np.array(loss)) * density_of_prior(vae, GRID)
        error = log_likelihood.standard_error(values)
        assert values.mean() == pytest.approx(
            math.log(integral(p)), abs=4 * error
        )
        assert error < 0.02


def test_a_draw_is_of_a_component_and_of_its_place(vae):
    def draw(position, count, **settings):
        return vae.prior.draw(
            5, randomness.Tag.PICTURES, 0, position, count, **settings
        ).numpy()

    z = draw(0, 40_000)
    np.testing.assert_array_equal(draw(7, 3), z[7:10])
    mean, deviation = vae.prior.moments()
    assert z.mean() == pytest.approx(mean[0], abs=0.05)
    assert z.std() == pytest.approx(deviation[0], rel=0.02)
    means = vae.components()[0].numpy()
    cold = draw(0, 3000, temperature=0.0)
    found, shares = np.unique(cold, return_counts=True)
    np.testing.assert_allclose(found, np.sort(means[:, 0]), rtol=1e-6)
    np.testing.assert_allclose(shares / 3000, 1 / COMPONENTS, atol=0.04)
    half = draw(0, 3000, temperature=0.5)
    np.testing.assert_allclose(half - cold, (z[:3000] - cold) / 2, atol=1e-5)


def test_pseudo_inputs_learn_and_are_averaged_as_weights_are(vae):
    assert "prior/pseudo_inputs/images" in variables_of(vae, None)
    assert average_names(vae)["prior/pseudo_inputs/images"] == (
        "optimizer/adam/prior_pseudo_inputs_images_ema"
    )
    assert len(weights_of(vae)) == len(vae.trainable_variables)
    noise = randomness.normal(0, randomness.Tag.TRAIN_NOISE, 0, 0, 4, 1)
    with tf.GradientTape() as tape:
        _, kl, _ = vae.terms(IMAGES / 255, noise)
    inputs = vae.prior.pseudo_inputs
    gradient = np.array(tape.gradient(kl, inputs))
    inside = (inputs.numpy() >= 0) & (inputs.numpy() <= 1)
    assert (gradient[inside] != 0).mean() > 0.9
    assert not gradient[~inside].any()


def test_pseudo_inputs_begin_as_images_none_twice():
    images = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    first, same, other = (
        priors.first_pseudo_inputs(seed, images, 20) * 255 for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert len({*first.ravel()} & {*range(50)}) == 20
    assert {*first.ravel()} != {*other.ravel()}


def test_fewer_images_than_pseudo_inputs_are_refused():
    priors.check_components(CONFIG, COMPONENTS)
    with pytest.raises(ConfigError, match="use --prior_components=2 or less"):
        priors.check_components(CONFIG, 2)
