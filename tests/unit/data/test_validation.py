import dataclasses

import numpy as np
import pytest

from tests.tools.datasets import prepare
from tests.tools.images import write_classes
from trainer.config import TrainConfig
from trainer.data import images as images_lib, sources, validation
from trainer.data.dataset import Dataset
from trainer.errors import ConfigError


def dataset(count=2000, seed=0):
    rng = np.random.default_rng(seed)
    return Dataset(
        name="of a test",
        train_images=rng.integers(0, 256, (count, 4, 4, 3), np.uint8),
        test_images=rng.integers(0, 256, (5, 4, 4, 3), np.uint8),
        train_labels=np.arange(count),
        test_labels=np.arange(5),
        md5={},
    )


def test_a_share_is_held_out_by_what_is_in_the_images():
    data = dataset()
    split = validation.hold_out(data, 0.2)
    assert split.held_out == "validation"
    # Five deviations of a binomial.
    assert len(split.validation_images) == pytest.approx(400, abs=90)
    # Every image once, its label beside it.
    np.testing.assert_array_equal(
        data.train_images[split.train_labels], split.train_images
    )
    np.testing.assert_array_equal(
        data.train_images[split.validation_labels], split.validation_images
    )
    assert len(split.train_images) + len(split.validation_images) == 2000
    # In another order, and among others, the same images are held out.
    order = np.random.default_rng(1).permutation(1000)
    again = validation.hold_out(
        dataclasses.replace(
            data,
            train_images=data.train_images[order],
            train_labels=data.train_labels[order],
        ),
        0.2,
    )
    assert set(again.train_labels) == {
        label for label in split.train_labels if label < 1000
    }


def test_copies_of_an_image_stay_together():
    data = dataset(100)
    doubled = dataclasses.replace(
        data,
        train_images=np.concatenate([data.train_images] * 2),
        train_labels=np.concatenate([data.train_labels] * 2),
    )
    split = validation.hold_out(doubled, 0.3)
    labels, counts = np.unique(split.train_labels, return_counts=True)
    assert (counts == 2).all()
    assert 40 < len(labels) < 95


def test_images_on_disk_are_split_as_those_in_memory(
    tmp_path, monkeypatch, console, stop
):
    source = write_classes(tmp_path / "source", 30, height=4, width=4)
    prepare(source, tmp_path / "set", size=(4, 4))
    config = TrainConfig(data_dir=str(tmp_path / "set"), validation_share=0.3)
    in_memory = sources.load(config, console, stop)
    monkeypatch.setattr(images_lib, "are_kept", lambda count: False)
    on_disk = sources.load(config, console, stop)
    assert isinstance(on_disk.train_images, images_lib.StoredImages)
    for name in ("train_images", "validation_images"):
        expected, found = (getattr(d, name) for d in (in_memory, on_disk))
        assert 3 < len(found) < 47
        np.testing.assert_array_equal(found[:], expected)
        np.testing.assert_array_equal(found[[2, 0]], expected[[2, 0]])
        first = images_lib.first(found, 2)
        np.testing.assert_array_equal(first[:], expected[:2])
    assert validation.hold_out(in_memory, 0) is in_memory
    with pytest.raises(ConfigError, match="has a validation set of"):
        validation.hold_out(on_disk, 0.5)


def test_a_share_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match="holds 0 of 3 training images out"):
        validation.hold_out(dataset(3), 1e-9)
