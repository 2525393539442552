"""Code that shares nothing with the package finds the same likelihood."""

import numpy as np

from tests.tools import numpy_evaluation
from trainer.config import TrainConfig
from trainer.evaluation import log_likelihood
from trainer.model.build import build_vae
from trainer.model.export import save_models


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
        tmp_path, images.reshape(20, -1), samples
    )
    difference = ours - theirs
    error = difference.std(ddof=1) / len(images) ** 0.5
    assert error < 0.03
    assert abs(difference.mean()) < 4 * error
