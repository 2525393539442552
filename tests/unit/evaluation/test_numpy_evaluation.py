"""Code that shares nothing with the package finds the same likelihood."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tools import numpy_evaluation
from trainer.config import TrainConfig
from trainer.evaluation import log_likelihood
from trainer.model.build import build_vae
from trainer.model.export import save_models
from trainer.model.weights import weights_of


def test_the_exported_model_has_the_log_likelihood_of_the_job(tmp_path, stop):
    config = TrainConfig(
        model="mlp",
        model_options="width=16",
        latent_dim=3,
        reconstruction_loss="bce",
        binarize="dynamic",
    )
    vae = build_vae(config, (8, 8, 1))
    # Posteriors are other than the prior, so that a wrong term shows, but
    # weights vary little. The last variance is clipped.
    for name, bias in (
        ("z_mean", [0.5, -0.5, 0.2]),
        ("z_log_var", [-0.3, 0.3, 3.0]),
    ):
        layer = vae.encoder.get_layer(name)
        layer.kernel.assign(layer.kernel / 16)
        layer.bias.assign(bias)
    kernel = vae.decoder.get_layer("decoder_dense").kernel
    kernel.assign(kernel / 16)
    save_models(vae, tmp_path)
    images = np.random.default_rng(0).integers(0, 2, (20, 8, 8, 1))
    samples = 1500
    theirs = log_likelihood.estimate(
        vae, config, np.uint8(images * 255), samples, 1, stop, lambda count: 0
    ).values[0]
    ours = numpy_evaluation.log_likelihood(
        tmp_path, images.reshape(20, -1), samples, np.random.default_rng(0)
    )
    difference = ours - theirs
    error = difference.std(ddof=1) / len(images) ** 0.5
    assert error < 0.03
    assert abs(difference.mean()) < 4 * error


class Given:
    """What draws the noise that it was given, a row for each call."""

    def __init__(self, rows):
        self._rows = iter(rows)

    def normal(self, mean, scale):
        return mean + scale * next(self._rows)


@pytest.mark.parametrize("model", ["mlp", "mlp_hierarchy"])
def test_the_weight_of_a_draw_is_that_of_the_trainer(tmp_path, model):
    config = TrainConfig(
        model=model,
        model_options="width=16",
        latent_dim=6,
        reconstruction_loss="bce",
    )
    vae = build_vae(config, (8, 8, 1))
    generator = np.random.default_rng(0)
    # The prior of a lower group begins at N(0, I).
    for weight in weights_of(vae):
        noise = generator.normal(size=weight.shape) / 4
        weight.assign_add(tf.cast(noise, weight.dtype))
    save_models(vae, tmp_path)
    images = generator.integers(0, 2, (20, 8, 8, 1))
    noise = generator.normal(size=(20, 6)).astype(np.float32)
    pixels = np.float32(images)
    theirs = vae.log_weights(pixels, vae.features(pixels), noise, ())
    parts = len(vae.latents.groups)
    ours = numpy_evaluation.log_likelihood(
        tmp_path,
        images.reshape(20, -1),
        1,
        Given(noise.reshape(20 * parts, -1)),
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
