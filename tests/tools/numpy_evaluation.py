"""The log-likelihood of a `--model=mlp` job by NumPy alone, from its export.

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


def log_likelihood(folder, images, samples, seed=0):
    """Estimates log p(x) of binary images, as Burda et al. 2016, equation 8.

    Args:
        folder: `pathlib.Path` with `encoder.keras` and `decoder.keras`.
        images: array of shape (M, pixels) of 0 and 1.
        samples: int, K, samples of z for each image.
        seed: int, of the samples.

    Returns:
        float64 array of shape (M,), in nats.
    """
    encoder = weights_of(folder / "encoder.keras")
    decoder = weights_of(folder / "decoder.keras")
    generator = np.random.default_rng(seed)
    hidden = _gated(images, encoder, "encoder")
    z_mean = _linear(hidden, encoder["z_mean"])
    z_log_var = np.clip(_linear(hidden, encoder["z_log_var"]), -6, 2)
    found = []
    for image, mean, log_var in zip(images, z_mean, z_log_var, strict=True):
        z = generator.normal(mean, np.exp(log_var / 2), (samples, len(mean)))
        logits = _linear(
            _gated(z, decoder, "decoder"), decoder["decoder_dense"]
        )
        log_weights = (
            (image * logits - np.logaddexp(0, logits)).sum(axis=1)
            + _log_normal(z, 0, 0)
            - _log_normal(z, mean, log_var)
        )
        found.append(np.logaddexp.reduce(log_weights) - np.log(samples))
    return np.array(found)


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
        both = _linear(x, weights[f"{role}_gated_{number}"])
        linear, gate = np.split(both, 2, axis=-1)
        x = linear / (1 + np.exp(-gate))
    return x


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
    ours = log_likelihood(flags.job_dir / "export", images, flags.samples)
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
