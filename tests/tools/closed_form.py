"""A VAE whose log p(x) is known, beside what the evaluator makes of it.

    python -m tests.tools.closed_form

With p(z) = N(0, I) and p(x | z) = N(W z + b, I / 2), which is what the squared
error means, p(x) = N(b, W W' + I / 2) (Bishop 2006, "Pattern Recognition and
Machine Learning", equation 2.115). The columns of W are orthogonal, so that
the posterior is a Gaussian with independent units (equation 2.116), as the
encoder's is.
"""

import dataclasses
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from trainer.config import TrainConfig
from trainer.evaluation import log_likelihood as importance
from trainer.model import VAE
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal

SIDE, LATENT_DIM = 4, 3
PIXELS = SIDE * SIDE
IMAGES, REPEATS = 200, 5
SAMPLES = (1, 10, 100, 1000)
# How far the encoder is off: in standard deviations of the posterior, and as
# a factor of its variance. A wider one keeps the weights' variance finite.
SHIFT, WIDENING = 0.3, 1.4
_CONFIG = TrainConfig(latent_dim=LATENT_DIM, precision="float64")
_VARIANCE = 0.5


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An estimate beside the truth, in nats an image.

    Attributes:
        samples: int, K.
        estimate: float, the mean of log p_K(x) over images and repeats.
        error: float, its standard error: what other samples of z would
            change. The images are the same for both, so they add nothing.
        truth: float, the mean of log p(x).
    """

    samples: int
    estimate: float
    error: float
    truth: float

    @property
    def gap(self):
        """How far the estimate lies below the truth."""
        return self.truth - self.estimate


class LinearGaussian:
    """Images, a model of them, and their log p(x).

    Args:
        shift: how far the encoder's means are off, in standard deviations.
        widening: by what factor its variances are too large.

    Attributes:
        images: uint8 array of shape (IMAGES, SIDE, SIDE, 1).
        vae: a `VAE` in float64.
        truth: float64 array of shape (IMAGES,): log p(x) in nats.
    """

    def __init__(self, shift=SHIFT, widening=WIDENING):
        rng = np.random.default_rng(0)
        axes, _ = np.linalg.qr(rng.normal(size=(PIXELS, LATENT_DIM)))
        scales = np.array([2.0, 1.0, 0.5])
        kernel, bias = axes * scales, rng.uniform(0.3, 0.7, PIXELS)
        self.images = rng.integers(
            0, 256, (IMAGES, SIDE, SIDE, 1), dtype=np.uint8
        )
        variance = 1 / (1 + scales**2 / _VARIANCE)
        encode = kernel * variance / _VARIANCE
        self.vae = _vae(
            encode,
            shift * np.sqrt(variance) - bias @ encode,
            np.log(variance * widening),
            kernel.T,
            bias,
        )
        self.truth = _log_normal(
            self.images.reshape(IMAGES, PIXELS) / 255,
            bias,
            kernel @ kernel.T + _VARIANCE * np.eye(PIXELS),
        )

    def compare(self, samples, advance=lambda count: None):
        """Returns the `Comparison` at K = `samples`."""
        found = importance.estimate(
            self.vae,
            _CONFIG,
            self.images,
            samples,
            REPEATS,
            StopSignal(),
            advance,
        )
        difference = found.values.mean(axis=0) - self.truth
        return Comparison(
            samples=samples,
            estimate=found.mean,
            error=importance.standard_error(difference),
            truth=float(self.truth.mean()),
        )


def _log_normal(x, mean, covariance):
    """Returns the log-density of a Gaussian at the rows of x."""
    distance = np.einsum(
        "ni,ni->n", x - mean, np.linalg.solve(covariance, (x - mean).T).T
    )
    _, log_determinant = np.linalg.slogdet(covariance)
    return -0.5 * (
        distance + log_determinant + len(mean) * math.log(2 * math.pi)
    )


def _vae(mean_kernel, mean_bias, log_variance, kernel, bias):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        # The inputs' own dtype is float32, whatever the policy.
        images = keras.Input((SIDE, SIDE, 1), dtype="float64")
        x = keras.layers.Flatten()(images)
        z_mean = keras.layers.Dense(LATENT_DIM)
        z_log_var = keras.layers.Dense(LATENT_DIM)
        encoder = keras.Model(images, [z_mean(x), z_log_var(x)])
        z = keras.Input((LATENT_DIM,), dtype="float64")
        pixels = keras.layers.Dense(PIXELS)
        decoder = keras.Model(
            z, keras.layers.Reshape((SIDE, SIDE, 1))(pixels(z))
        )
        z_mean.set_weights([mean_kernel, mean_bias])
        z_log_var.set_weights([np.zeros_like(mean_kernel), log_variance])
        pixels.set_weights([kernel, bias])
        return VAE(encoder, decoder)
    finally:
        keras.config.set_dtype_policy(before)


def main():
    """Prints the truth, and the estimate for each K."""
    console = Console()
    model = LinearGaussian()
    console.line(
        f"log p(x), mean of {IMAGES} images, nats: {model.truth.mean():.5f}"
    )
    console.line(
        f"{'K':>5} {'estimate':>10} {'standard error':>15} {'gap':>9} "
        f"{'gap/error':>10}"
    )
    for samples in SAMPLES:
        with console.image_bar(
            f"K = {samples}", IMAGES * REPEATS * samples
        ) as advance:
            found = model.compare(samples, advance)
        console.line(
            f"{samples:5} {found.estimate:10.5f} {found.error:15.5f} "
            f"{found.gap:9.5f} {found.gap / found.error:10.1f}"
        )


if __name__ == "__main__":
    main()
