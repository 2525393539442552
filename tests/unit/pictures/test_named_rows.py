import numpy as np
import pytest
from PIL import Image

from trainer.pictures import named_rows


def some_pixels(height, width, channels=1):
    return np.random.default_rng(0).integers(
        0, 256, (height, width, channels), dtype=np.uint8
    )


# Some of these heights, divided and multiplied again, round below themselves.
@pytest.mark.parametrize("side", [7, 28, 33, 49])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_has_its_name_at_its_left(tmp_path, side, channels):
    pixels = some_pixels(3 * side, 10 * side, channels)
    names = ["Ankle boot", "", "Čepice $x$ _"]
    named_rows.save(tmp_path / "a.png", pixels, names, scale=3)
    found = np.asarray(Image.open(tmp_path / "a.png"))
    # The names have 15% of the width of the rows.
    left = int(0.15 * 30 * side)
    assert found.shape == (9 * side, left + 30 * side, 3)
    np.testing.assert_array_equal(
        found[::3, left::3], np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    )
    has_ink = [(row < 128).any() for row in np.split(found[:, :left], 3)]
    assert has_ink == [True, False, True]


@pytest.mark.parametrize(
    ("side", "columns", "scale"), [(28, 30, 1), (28, 1, 15), (64, 8, 1)]
)
def test_the_names_can_be_taken_away_again(side, columns, scale):
    pixels = some_pixels(2 * side, columns * side)
    assert named_rows.scale_of(pixels) == scale
    named = named_rows.with_names(pixels, ["a", "b"], scale)
    found = named_rows.without_names(named, side, scale)
    np.testing.assert_array_equal(found, pixels.repeat(3, axis=2))
