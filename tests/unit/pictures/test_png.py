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


def test_a_png_has_texts_of_any_letters():
    texts = {"Title": "Ankle boot", "Description": "ねこ " * 300}
    content = png.encode(np.zeros((2, 2, 1), np.uint8), texts)
    assert Image.open(io.BytesIO(content)).text == texts


def test_equal_pixels_are_equal_files():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    first, second = (
        png.encode(each, {"a": "b"}) for each in (pixels, pixels.copy())
    )
    assert first == second != png.encode(pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 1)), np.zeros((4, 4, 5), np.uint8)]
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises((TypeError, OSError)):
        png.encode(pixels)
