import io

import numpy as np
import pytest
from PIL import Image

from trainer.pictures import png


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_png_has_the_very_pixels(channels, mode):
    pixels = np.random.default_rng(0).integers(
        0, 256, (5, 7, channels), dtype=np.uint8
    )
    picture = Image.open(io.BytesIO(png.encode(pixels)))
    assert picture.mode == mode
    np.testing.assert_array_equal(
        np.asarray(picture).reshape(5, 7, channels), pixels
    )


def test_equal_pixels_are_equal_files(tmp_path):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    png.save(tmp_path / "one.png", pixels)
    png.save(tmp_path / "two.png", pixels.copy())
    content = (tmp_path / "one.png").read_bytes()
    assert content == (tmp_path / "two.png").read_bytes()
    assert content == png.encode(pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 1)), np.zeros((4, 4, 5), np.uint8)]
)
def test_what_is_no_picture_is_refused(pixels, tmp_path):
    with pytest.raises((TypeError, OSError)):
        png.save(tmp_path / "a.png", pixels)
    assert not list(tmp_path.iterdir())
