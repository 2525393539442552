"""What a model makes of arrays: in batches, and of what is clear alone."""

import numpy as np
import pytest
import tensorflow as tf

from trainer import randomness
from trainer.config import TrainConfig
from trainer.distributed.calls import Workers
from trainer.evaluation.held_out import Evaluator
from trainer.model import array_methods, inference
from trainer.model.build import build_vae
from trainer.model.weights import weights_of

SHAPE = (8, 8, 1)
N, BATCH = 7, 3
rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (N, *SHAPE), dtype=np.uint8)
IMAGES = PIXELS / 255
CONFIGS = {
    "notebook": {"seed": 3},
    "logistic": {
        "model": "mlp",
        "reconstruction_loss": "logistic",
        "beta": 0.5,
    },
    "vamp": {
        "model": "mlp",
        "reconstruction_loss": "bce",
        "prior": "vamp",
        "prior_components": 5,
    },
    "hierarchy": {
        "model": "hierarchy",
        "model_options": "width=16,depth=1,channels=1",
        "latent_dim": 19,
        "reconstruction_loss": "gaussian",
    },
    "mlp_hierarchy": {
        "model": "mlp_hierarchy",
        "model_options": "width=5",
        "reconstruction_loss": "bce",
    },
}


def built(kind, **settings):
    """A model in float64, no weight of which is at zero any more."""
    config = TrainConfig(
        **{
            "latent_dim": 4,
            "precision": "float64",
            "batch_size": 2,
            **CONFIGS[kind],
            **settings,
        }
    )
    vae = build_vae(config, SHAPE)
    for index, weight in enumerate(weights_of(vae)):
        noise = np.random.default_rng(index).normal(size=weight.shape)
        weight.assign_add(tf.cast(0.1 * noise, weight.dtype))
    return vae, config


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    return built(request.param)


@pytest.fixture(scope="module")
def vae():
    return built("notebook")[0]


def results(vae):
    """What each method gives of arrays."""
    z = rng.normal(size=(N, vae.latent_dim))
    z_mean, z_log_var = vae.encode(IMAGES)
    return {
        "z_mean": z_mean,
        "z_log_var": z_log_var,
        "decode": vae.decode(np.sin(np.arange(z.size).reshape(z.shape))),
        "reconstruct": vae.reconstruct(IMAGES),
        "sample": vae.sample(N, seed=5),
        "elbo": vae.elbo(IMAGES, seed=5),
    }


def test_batches_change_nothing_and_are_small(model, monkeypatch):
    vae, _ = model
    whole = results(vae)
    monkeypatch.setattr(array_methods, "BATCH_SIZE", BATCH)
    sizes = []
    for name in ("_posterior", "_decoded", "terms_and_fired"):
        monkeypatch.setattr(vae, name, counting(getattr(vae, name), sizes))
    in_batches = results(vae)
    assert max(sizes) == BATCH
    for name, values in whole.items():
        assert isinstance(values, np.ndarray), name
        assert len(values) == N, name
        np.testing.assert_allclose(
            in_batches[name], values, rtol=1e-9, err_msg=name
        )
    assert whole["elbo"].shape == (N,)
    assert whole["sample"].shape == whole["reconstruct"].shape == IMAGES.shape
    for name in ("decode", "reconstruct", "sample"):
        assert whole[name].min() >= 0 and whole[name].max() <= 1, name


def counting(method, sizes):
    def counted(values, *others):
        sizes.append(len(values))
        return method(values, *others)

    return counted


def test_the_mean_elbo_is_that_of_an_evaluation(model, stop):
    vae, config = model
    found = Evaluator(
        vae, config, tf.distribute.get_strategy(), PIXELS, Workers(stop)
    ).run(lambda count: None)
    expected = -(
        found.metrics["reconstruction_loss"]
        + found.metrics["kl_loss"]
        + vae.likelihood.log_normalizer(IMAGES[0].size)
    )
    elbo = vae.elbo(PIXELS, seed=config.seed)
    assert elbo.mean() == pytest.approx(expected, rel=1e-9)
    other = vae.elbo(PIXELS, seed=config.seed + 1)
    assert not np.allclose(other, elbo)


def test_samples_are_those_of_vae_generate(model):
    vae, _ = model
    z = vae.prior.draw(6, randomness.Tag.PICTURES, 0, 0, N)
    drawn = vae.sample(N, seed=6)
    pixels = inference.to_pixels(drawn)
    np.testing.assert_array_equal(pixels, inference.decode(vae, z))
    np.testing.assert_allclose(vae.sample(2, seed=6), drawn[:2], rtol=1e-9)
    assert not np.allclose(vae.sample(N), drawn)


def test_reconstructions_are_decoded_posterior_means(model):
    vae, _ = model
    pixels = inference.to_pixels(vae.reconstruct(PIXELS))
    np.testing.assert_array_equal(pixels, inference.reconstruct(vae, PIXELS))


def test_what_comes_in_goes_out(vae):
    with tf.GradientTape() as tape:
        images = tf.Variable(IMAGES)
        bound = tf.reduce_sum(vae.elbo(images))
    assert np.any(tape.gradient(bound, images))
    assert tf.is_tensor(vae.decode(tf.zeros([2, 4])))
    assert isinstance(vae.encode(IMAGES.tolist())[0], np.ndarray)
    mixed, _ = built(
        "notebook", precision="float32", mixed_precision="bfloat16"
    )
    for values in results(mixed).values():
        assert values.dtype in (np.float32, np.float64)
    traced = tf.function(vae.reconstruct)(tf.constant(PIXELS))
    np.testing.assert_allclose(traced, vae.reconstruct(IMAGES), rtol=1e-9)


@pytest.mark.parametrize("kind", ["float16", "float32", "uint8", "bool"])
def test_pixels_of_any_type_are_the_same(vae, kind):
    pixels = 255 * (PIXELS > 99)  # That each of them holds.
    given = pixels if kind == "uint8" else pixels / 255
    found = vae.elbo(given.astype(kind))
    np.testing.assert_allclose(found, vae.elbo(pixels / 255), rtol=1e-9)


REFUSED = {
    "int64": (PIXELS.astype(int), "pixels are int64; give floats"),
    "0 to 255": (255 * IMAGES, "not all from 0 to 1, but from 0 to 255;"),
    "negative": (IMAGES - 0.5, "not all from 0 to 1, but from -0.5"),
    "NaN": (np.where(IMAGES > 0.9, np.nan, IMAGES), "leave no NaN"),
    "uint8 of 0 and 1": (PIXELS // 128, "uint8, but all are 0 or 1"),
    "one image": (IMAGES[0], r"\(8, 8, 1\), .* images\[np.newaxis\]"),
    "no channels": (IMAGES[..., 0], r"images\[..., np.newaxis\] has a"),
    "other sides": (IMAGES[:, :4], r"\(7, 4, 8, 1\), but the model takes \(N"),
    "none": (IMAGES[:0], "There is no image"),
    "texts": (np.full((1, *SHAPE), "a"), "pixels are string"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_images_that_are_not_clear_are_refused(vae, what, as_tensor):
    images, sentence = REFUSED[what]
    if as_tensor:
        images = tf.constant(images)
    for method in (vae.encode, vae.reconstruct, vae.elbo):
        with pytest.raises(ValueError, match=sentence):
            method(images)


def test_other_arguments_that_cannot_be_are_refused(vae):
    for z in (np.zeros(4), np.zeros((2, 3))):
        with pytest.raises(ValueError, match=r"the model takes \(N, 4\)"):
            vae.decode(z)
    with pytest.raises(ValueError, match="There is no latent vector"):
        vae.decode(np.zeros((0, 4)))
    for count in (0, -1, 2.5, True, "3", None):
        with pytest.raises(ValueError, match="is not a whole number from 1"):
            vae.sample(count)
    for seed in (-1, 2**63, 0.5):
        with pytest.raises(ValueError, match="is not a whole number from 0"):
            vae.elbo(IMAGES, seed=seed)
    levels, _ = built("logistic")
    with pytest.raises(ValueError, match="no multiples of 1/255"):
        levels.elbo(IMAGES / 2)
