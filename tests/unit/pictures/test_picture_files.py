import numpy as np
import pytest
from PIL import Image

from trainer.pictures import picture_files


def some_pixels(height, width, channels=1):
    return np.random.default_rng(0).integers(
        0, 256, (height, width, channels), dtype=np.uint8
    )


def test_saved_pictures_have_the_same_grey_values(tmp_path):
    pixels = np.arange(280 * 140).reshape(140, 280, 1).astype(np.uint8)
    picture_files.save_picture(tmp_path / "one.png", pixels)
    picture_files.save_picture(tmp_path / "two.png", pixels, scale=2)
    one, two = (
        np.asarray(Image.open(tmp_path / f"{name}.png"))[..., np.newaxis]
        for name in ("one", "two")
    )
    np.testing.assert_array_equal(one, pixels)
    assert two.shape == (280, 560, 1)
    for corner in (two[::2, ::2], two[1::2, 1::2]):
        np.testing.assert_array_equal(corner, pixels)


# Some of these heights, divided and multiplied again, round below themselves.
@pytest.mark.parametrize("side", [7, 28, 33, 49])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_has_its_name_at_its_left(tmp_path, side, channels):
    pixels = some_pixels(3 * side, 10 * side, channels)
    names = ["Ankle boot", "", "Čepice $x$ _"]
    picture_files.save_named_rows(tmp_path / "a.png", pixels, names, scale=3)
    found = np.asarray(Image.open(tmp_path / "a.png"))
    # The names have 15% of the width of the rows.
    left = int(0.15 * 30 * side)
    assert found.shape == (9 * side, left + 30 * side, 3)
    np.testing.assert_array_equal(
        found[::3, left::3], np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    )
    has_ink = [(row < 128).any() for row in np.split(found[:, :left], 3)]
    assert has_ink == [True, False, True]
