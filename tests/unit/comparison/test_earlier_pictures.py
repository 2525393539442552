"""Pictures of jobs before 0.4 are still understood."""

import numpy as np
import pytest

from trainer.comparison import earlier_pictures
from trainer.pictures import grids


def some_images(count, side):
    shape = count, side, side, 1
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def enlarged(pixels, scale):
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


# Some of these widths, divided and multiplied again, round below themselves.
@pytest.mark.parametrize("side", [7, 28, 33, 64])
@pytest.mark.parametrize(("columns", "scale"), [(30, 1), (1, 15), (8, 2)])
def test_the_names_beside_samples_are_taken_away(side, columns, scale):
    images = some_images(10 * columns, side)
    pixels = enlarged(grids.tile(images, columns), scale)
    names = np.full((len(pixels), int(0.15 * pixels.shape[1]), 1), 255)
    named = np.concatenate([names, pixels], axis=1).repeat(3, axis=2)
    found = earlier_pictures.samples(named, side, side, 10)
    np.testing.assert_array_equal(found[..., :1].reshape(images.shape), images)


def test_reconstructions_were_enlarged():
    images = some_images(20, 28)
    pixels = grids.tile(images, 10)
    for scale in (1, 3):
        found = earlier_pictures.reconstructions(
            enlarged(pixels, scale), 28, 28
        )
        np.testing.assert_array_equal(found.reshape(images.shape), images)
    assert earlier_pictures.reconstructions(pixels[:-1], 28, 28) is None
    assert earlier_pictures.samples(pixels[:, :-1], 28, 28, 0) is None
