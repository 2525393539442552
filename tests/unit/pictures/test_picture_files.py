import numpy as np
from PIL import Image

from trainer.pictures import picture_files


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
