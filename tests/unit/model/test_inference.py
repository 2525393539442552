import subprocess
import sys

import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.errors import InterruptedJobError
from trainer.model import inference
from trainer.model.build import build_vae


@pytest.fixture(scope="module")
def vae():
    return build_vae(TrainConfig(latent_dim=3), (8, 8, 1))


def some_images(count):
    return np.random.default_rng(0).integers(
        0, 256, (count, 8, 8, 1), dtype=np.uint8
    )


def test_encoding_gives_the_posterior_means_whatever_the_batches(
    vae, monkeypatch
):
    images = some_images(10)
    z_mean, _ = vae.encoder(images / np.float32(255))
    monkeypatch.setattr(inference, "BATCH_SIZE", 4)
    found = inference.encode(vae, images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, z_mean, atol=1e-6)


def test_many_images_are_encoded_a_thousand_at_a_time(vae, stop):
    images = some_images(2100)
    counts = []
    found = inference.encode_many(vae, images, stop, counts.append)
    assert counts == [1000, 1000, 100]
    # To the last bit, so that the digits of earlier versions stay.
    blocks = [images[:1000], images[1000:2000], images[2000:]]
    np.testing.assert_array_equal(
        found, np.concatenate([inference.encode(vae, b) for b in blocks])
    )
    stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError):
        inference.encode_many(vae, images, stop, counts.append)
    assert len(counts) == 3


def test_decoding_gives_pixels(vae, monkeypatch):
    z = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    expected = np.round(255 * vae.decoder(z).numpy().astype(float))
    monkeypatch.setattr(inference, "BATCH_SIZE", 4)
    found = inference.decode(vae, z)
    assert (found.dtype, found.shape) == (np.uint8, (10, 8, 8, 1))
    assert np.abs(found - expected).max() <= 1


def test_a_reconstruction_is_decoded_from_the_posterior_mean(vae):
    images = some_images(5)
    np.testing.assert_array_equal(
        inference.reconstruct(vae, images),
        inference.decode(vae, inference.encode(vae, images)),
    )


def test_pixels_are_rounded_not_cut_off():
    images = np.array([0, 0.4 / 255, 0.6 / 255, 1])
    assert inference.to_pixels(images).numpy().tolist() == [0, 0, 1, 255]


def test_what_serves_a_model_needs_no_drawing():
    # Keras imports both of them where they are, and does without otherwise.
    without = 'sys.modules["matplotlib"] = sys.modules["PIL"] = None'
    loaded = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import sys; {without}; "
            "from trainer.model import export, saved_model; "
            "print(*sys.modules)",
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.split()
    assert "trainer.model.inference" in loaded
    assert not [name for name in loaded if name.startswith("trainer.pictures")]
