"""Groups of latent units: their KL and densities by hand, and their order."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.distributed.calls import Workers
from trainer.errors import ConfigError
from trainer.evaluation.held_out import Evaluator
from trainer.model import VAE, export, group_normalization
from trainer.model.build import build_vae
from trainer.model.weights import weights_of

SHAPE = (8, 8, 1)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A model with groups.

    Attributes:
        options: str, of `--model_options`, but for the number of groups.
        top: int, latent units of the top group.
        below: int, of each other group.
        values: str, the layer that takes the values of the second group.
    """

    options: str
    top: int
    below: int
    values: str


KINDS = {
    "hierarchy": Kind("width=16,depth=1,channels=1", 3, 16, "latents_2"),
    "mlp_hierarchy": Kind("width=7,depth=1", 5, 5, "latents_2_gated"),
}
CONFIG = {
    "reconstruction_loss": "bce",
    "precision": "float64",
    "batch_size": 4,
}
rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 2, (5, *SHAPE)).astype(np.float32)


def built(model, groups=2):
    """A model no weight of which is at zero any more."""
    kind = KINDS[model]
    config = TrainConfig(
        **CONFIG,
        model=model,
        model_options=f"{kind.options},groups={groups}",
        latent_dim=kind.top + (groups - 1) * kind.below,
    )
    vae = build_vae(config, SHAPE)
    for index, weight in enumerate(weights_of(vae)):
        noise = np.random.default_rng(index).normal(size=weight.shape)
        weight.assign_add(tf.cast(0.1 * noise, weight.dtype))
    return vae, config


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def vae(model):
    return built(model)[0]


@pytest.fixture
def noise(vae):
    return rng.normal(size=(5, vae.latent_dim))


def log_normal(value, mean, variance):
    """The log-density of independent Gaussians."""
    square = (value - mean) ** 2 / variance
    return -0.5 * (square + np.log(variance) + np.log(2 * np.pi))


def between(decoder, layer, end):
    """What a layer of a decoder takes ("input") or gives ("output")."""
    (z,) = decoder.inputs
    return keras.Model(z, getattr(decoder.get_layer(layer), end))


def test_losses_and_weights_are_those_of_conditional_gaussians(
    model, vae, noise
):
    kind = KINDS[model]
    end, below = kind.top, kind.below
    mean, log_var = map(np.array, vae.encoder([IMAGES, noise]))
    z = mean + np.exp(log_var / 2) * noise
    # p(v | z of the top group), from the layer that gives it.
    of_prior = np.array(between(vae.decoder, "prior_2", "output")(z))
    m, of_s = (
        part.reshape(5, below) for part in np.split(of_prior, 2, axis=-1)
    )
    s = np.exp(5 * np.tanh(of_s / 5) / 2)
    assert np.ptp(m) > 0.1 and np.ptp(s) > 0.1
    # The values that the decoder sees, and their posterior.
    v = m + s * z[:, end:]
    seen = between(vae.decoder, kind.values, "input")(z)
    np.testing.assert_allclose(np.reshape(seen, (5, -1)), v, rtol=1e-9)
    mean_q = m + s * mean[:, end:]
    var_q = s**2 * np.exp(log_var[:, end:])
    kl_of_map = np.log(s) - np.log(var_q) / 2 - 0.5
    kl_of_map += (var_q + (mean_q - m) ** 2) / (2 * s**2)
    top, var_top = mean[:, :end], np.exp(log_var[:, :end])
    kl_of_top = -np.log(var_top) / 2 + (var_top + top**2 - 1) / 2
    p = np.array(vae.decoder(z))
    log_p = np.sum(
        IMAGES * np.log(p) + (1 - IMAGES) * np.log(1 - p), axis=(1, 2, 3)
    )
    reconstruction, kl, _ = vae.terms(IMAGES, noise)
    np.testing.assert_allclose(reconstruction, -log_p, rtol=1e-6)
    np.testing.assert_allclose(kl[:, :end], kl_of_top, rtol=1e-9)
    np.testing.assert_allclose(kl[:, end:], kl_of_map, rtol=1e-9)
    log_ratio = np.sum(
        log_normal(z[:, :end], 0, 1) - log_normal(z[:, :end], top, var_top),
        axis=1,
    ) + np.sum(log_normal(v, m, s**2) - log_normal(v, mean_q, var_q), axis=1)
    found = vae.log_weights(IMAGES, vae.features(IMAGES), noise, ())
    np.testing.assert_allclose(found, log_p + log_ratio, rtol=1e-6)


def test_a_posterior_depends_on_the_groups_above_alone(model):
    """Else the product of its parts would be no density."""
    vae, _ = built(model, groups=3)
    kind = KINDS[model]
    assert vae.latents.groups == (kind.top, kind.below, kind.below)
    ends = np.cumsum((0, *vae.latents.groups))
    noise = rng.normal(size=(5, ends[-1]))
    before = np.array(vae.encoder([IMAGES, noise]))
    for group in range(3):
        changed = noise.copy()
        changed[:, ends[group] : ends[group + 1]] += 1
        after = np.array(vae.encoder([IMAGES, changed]))
        moved = np.any(before != after, axis=(0, 1))
        assert not moved[: ends[group + 1]].any()
        assert moved[ends[group + 1] :].all()


def test_a_posterior_in_two_parts_is_that_of_the_encoder(vae, noise):
    features = vae.features(IMAGES)
    for given, found in (
        (noise, vae.latents.posterior(features, noise)),
        (np.zeros_like(noise), vae.encode(IMAGES)),
    ):
        for part, expected in zip(
            found, vae.encoder([IMAGES, given]), strict=True
        ):
            np.testing.assert_allclose(part, expected, rtol=1e-12)


def test_the_kl_of_groups_is_evaluated(model, stop):
    vae, config = built(model, groups=3)
    images = (255 * IMAGES).astype(np.uint8)
    found = Evaluator(
        vae, config, tf.distribute.get_strategy(), images, Workers(stop)
    ).run(lambda count: None)
    kl = [found.metrics[f"kl_group_{number}"] for number in (1, 2, 3)]
    units = np.split(found.kl_of_units, np.cumsum(vae.latents.groups[:-1]))
    assert kl == pytest.approx([part.sum() for part in units], rel=1e-12)
    assert sum(kl) == pytest.approx(found.metrics["kl_loss"], rel=1e-12)
    assert min(kl) > 0


def test_its_keras_files_need_keras_alone(vae, noise, tmp_path, monkeypatch):
    export.save_models(vae, tmp_path)
    monkeypatch.delattr(group_normalization, "GroupNormalization")
    for role, given in (("encoder", [IMAGES, noise]), ("decoder", noise)):
        part = keras.saving.load_model(tmp_path / f"{role}.keras")
        expected = getattr(vae, role)(given)
        np.testing.assert_allclose(part(given), expected, atol=1e-5)


def test_a_mixture_of_posteriors_is_of_one_group(vae):
    with pytest.raises(ValueError, match="has 2 groups of latent units, but"):
        VAE(
            vae.encoder,
            vae.decoder,
            image_shape=SHAPE,
            latent_dim=vae.latent_dim,
            prior_components=2,
        )


@pytest.mark.parametrize(
    ("model", "units", "sentence"),
    [
        (
            "hierarchy",
            64,
            "2 below it take 4 x 4 x 2 units each; use --latent_dim=65 or",
        ),
        ("mlp_hierarchy", 64, "divided among the 3 groups .*latent_dim=63"),
        ("mlp_hierarchy", 2, "of one size; use --latent_dim=3"),
    ],
)
def test_latent_units_that_do_not_suffice_are_a_sentence(
    model, units, sentence
):
    config = TrainConfig(
        model=model, model_options="groups=3", latent_dim=units
    )
    with pytest.raises(ConfigError, match=sentence):
        build_vae(config, SHAPE)
