"""The log-likelihood of a job of dense layers by NumPy, from its export.

The model is `mlp`, or `mlp_hierarchy` of two groups. Of the latter the
densities here are of the values v, whose prior and posterior are Gaussians
given the group above; the trainer has those of (v - m) / s.

It shares no code with the package: the weights come out of the Keras files by
h5py, the binary test images are drawn here, and the sums are float64.

    python -m tests.tools.numpy_evaluation --job_dir=runs/mlp \
        --data_dir=FOLDER --images=500 --samples=500

prints it beside the estimate of `trainer.evaluation` on the same images.
"""

import argparse
import gzip
import io
import pathlib
import sys
import zipfile

import h5py
import numpy as np

# Of github.com/jmtomczak/vae_vampprior, utils/load_data.py.
_SEED, _VALIDATION_IMAGES = 777, 10_000
_IDX_HEADER = 16


def weights_of(path):
    """Returns the weights of a Keras file: lists of arrays by layer name."""
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        return {
            layer["vars"].attrs["name"]: [
                np.float64(layer["vars"][key]) for key in sorted(layer["vars"])
            ]
            for layer in file["layers"].values()
        }


def log_likelihood(folder, images, samples, generator):
    """Estimates log p(x) of binary images, as Burda et al. 2016, equation 8.

    Args:
        folder: `pathlib.Path` with `encoder.keras` and `decoder.keras`.
        images: array of shape (M, pixels) of 0 and 1.
        samples: int, K, samples of z for each image.
        generator: `np.random.Generator`, of the samples.

    Returns:
        float64 array of shape (M,), in nats.
    """
    encoder = weights_of(folder / "encoder.keras")
    decoder = weights_of(folder / "decoder.keras")
    draw = _two_groups if "prior_2" in decoder else _one_group
    found = []
    for image, hidden in zip(
        images, _gated(images, encoder, "encoder"), strict=True
    ):
        state, log_ratio = draw(
            np.tile(hidden, (samples, 1)), encoder, decoder, generator
        )
        logits = _linear(state, decoder["decoder_dense"])
        log_weights = log_ratio + (
            image * logits - np.logaddexp(0, logits)
        ).sum(axis=1)
        found.append(np.logaddexp.reduce(log_weights) - np.log(samples))
    return np.array(found)


def _one_group(hidden, encoder, decoder, generator):
    """Draws z of `mlp`.

    Args:
        hidden: array of shape (samples, width), of the image.
        encoder: dict of its weights.
        decoder: dict of its weights.
        generator: `np.random.Generator`.

    Returns:
        (state, log_ratio): what the last layer takes, (samples, width), and
        log p(z) - log q(z | x), of shape (samples,).
    """
    mean, log_var = _posterior(hidden, encoder, "")
    z = generator.normal(mean, np.exp(log_var / 2))
    log_ratio = _log_normal(z, 0, 0) - _log_normal(z, mean, log_var)
    return _gated(z, decoder, "decoder"), log_ratio


def _two_groups(hidden, encoder, decoder, generator):
    """As `_one_group`, of `mlp_hierarchy`: v1, and then v2 given v1."""
    mean, log_var = _posterior(hidden, encoder, "_1")
    v1 = generator.normal(mean, np.exp(log_var / 2))
    log_ratio = _log_normal(v1, 0, 0) - _log_normal(v1, mean, log_var)
    state = _gated(v1, decoder, "state_1")
    prior_mean, raw = np.split(_linear(state, decoder["prior_2"]), 2, axis=-1)
    prior_log_var = 5 * np.tanh(raw / 5)
    both = np.concatenate([state, hidden], axis=-1)
    mean, log_var = _posterior(
        _glu(both, encoder["posterior_2_gated"]), encoder, "_2"
    )
    mean = prior_mean + np.exp(prior_log_var / 2) * mean
    log_var = prior_log_var + log_var
    v2 = generator.normal(mean, np.exp(log_var / 2))
    log_ratio += _log_normal(v2, prior_mean, prior_log_var)
    log_ratio -= _log_normal(v2, mean, log_var)
    lower = _glu(v2, decoder["latents_2_gated"])
    both = np.concatenate([state, lower], axis=-1)
    return _glu(both, decoder["state_2_gated"]), log_ratio


def _posterior(hidden, encoder, group):
    return (
        _linear(hidden, encoder[f"z_mean{group}"]),
        np.clip(_linear(hidden, encoder[f"z_log_var{group}"]), -6, 2),
    )


def binary_test_images(folder):
    """Returns the 10,000 binarised test images, 0 or 1, of shape (M, 784).

    Args:
        folder: `pathlib.Path` with the IDX files of Fashion-MNIST.
    """
    train, test = (
        np.frombuffer(
            gzip.decompress(
                (folder / f"{split}-images-idx3-ubyte.gz").read_bytes()
            ),
            np.uint8,
            offset=_IDX_HEADER,
        ).reshape(-1, 784)
        for split in ("train", "t10k")
    )
    generator = np.random.RandomState(_SEED)
    for images in (train[-_VALIDATION_IMAGES:], test):
        drawn = generator.binomial(1, np.float32(images) / np.float32(255))
    return drawn


def _gated(x, weights, role):
    for number in (1, 2):
        x = _glu(x, weights[f"{role}_gated_{number}"])
    return x


def _glu(x, weights):
    linear, gate = np.split(_linear(x, weights), 2, axis=-1)
    return linear / (1 + np.exp(-gate))


def _linear(x, weights):
    kernel, bias = weights
    return x @ kernel + bias


def _log_normal(z, mean, log_var):
    return -0.5 * (
        np.log(2 * np.pi) + log_var + (z - mean) ** 2 / np.exp(log_var)
    ).sum(axis=1)


def main():
    """Prints both estimates and their paired difference; 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("job_dir", "data_dir"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    for name in ("images", "samples"):
        parser.add_argument(f"--{name}", type=int, default=500)
    flags = parser.parse_args()
    images = binary_test_images(flags.data_dir)[: flags.images]
    generator = np.random.default_rng(0)
    ours = log_likelihood(
        flags.job_dir / "export", images, flags.samples, generator
    )
    theirs = _of_the_trainer(flags.job_dir, images, flags.samples)
    difference = ours - theirs
    error = difference.std(ddof=1) / len(difference) ** 0.5
    for name, values in (("NumPy", ours), ("trainer", theirs)):
        print(f"{name}: {values.mean():.3f} nats an image")
    print(
        f"Difference: {difference.mean():+.3f}, standard error {error:.3f}, on "
        f"{len(images)} images with {flags.samples} samples."
    )
    return int(abs(difference.mean()) > 3 * error)


def _of_the_trainer(job_dir, images, samples):
    from trainer.evaluation import log_likelihood as by_trainer
    from trainer.job_dir.open import open_to_read
    from trainer.model import trained
    from trainer.runtime.console import Console
    from trainer.runtime.stop_signal import StopSignal

    with open_to_read(str(job_dir), Console()) as job:
        config = job.config()
    found = by_trainer.estimate(
        trained.load_model(job_dir),
        config,
        np.uint8(images * 255).reshape(-1, 28, 28, 1),
        samples,
        1,
        StopSignal(),
        lambda count: None,
    )
    return found.values[0]


if __name__ == "__main__":
    sys.exit(main())
