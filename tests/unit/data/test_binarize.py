import hashlib

import numpy as np
import pytest

from tests.tools.idx import write_idx_folder
from trainer.config import TrainConfig
from trainer.data import sources
from trainer.errors import ConfigError

BINARY = {"reconstruction_loss": "bce", "binarize": "dynamic"}


def test_binary_evaluation_images_are_those_of_the_published_protocol(
    tmp_path, console, stop
):
    """Step by step as Tomczak & Welling's code draws them."""
    write_idx_folder(tmp_path / "idx", train=62, test=7)
    settings = {"dataset": "idx", "data_dir": str(tmp_path / "idx")}
    settings |= {"train_examples": 60}
    grey = sources.load(TrainConfig(**settings), console, stop)
    data = sources.load(TrainConfig(**settings, **BINARY), console, stop)
    np.testing.assert_array_equal(data.train_images, grey.train_images[:50])
    np.testing.assert_array_equal(data.train_labels, grey.train_labels[:50])
    flat = [
        images.reshape(len(images), -1).astype(np.float32) / 255.0
        for images in (grey.train_images[50:], grey.test_images)
    ]
    np.random.seed(777)
    validation, test = (np.random.binomial(1, grey) for grey in flat)
    for found, expected in (
        (data.validation_images, validation),
        (data.test_images, test),
    ):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(
            found.reshape(len(found), -1), 255 * expected
        )
    assert data.held_out == "validation"
    assert data.held_out_images is data.validation_images
    assert grey.held_out == "test"
    assert grey.held_out_images is grey.test_images
    assert data.md5 == grey.md5


def test_too_few_images_to_validate_on_are_refused(tmp_path, console, stop):
    write_idx_folder(tmp_path / "idx")
    settings = {"dataset": "idx", "data_dir": str(tmp_path / "idx"), **BINARY}
    data = sources.load(TrainConfig(**settings), console, stop)
    assert (len(data.train_images), len(data.validation_images)) == (5, 1)
    with pytest.raises(ConfigError, match="there are 5; use at least 6"):
        sources.load(TrainConfig(**settings, train_examples=5), console, stop)


def test_the_binary_split_of_the_real_data(fashion_mnist_dir, console, stop):
    config = TrainConfig(data_dir=str(fashion_mnist_dir), **BINARY)
    data = sources.load(config, console, stop)
    counts = [
        len(images)
        for images in (
            data.train_images,
            data.validation_images,
            data.test_images,
        )
    ]
    assert counts == [50_000, 10_000, 10_000]
    # As drawn with NumPy 2.4; the numbers of RandomState never change.
    assert [
        hashlib.md5(images).hexdigest()
        for images in (data.validation_images, data.test_images)
    ] == [
        "57ef34eb9f5f39a7a8b60b50e65fe316",
        "9aff633ae02bbadb88f85a9e32826696",
    ]
