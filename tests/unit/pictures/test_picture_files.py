import numpy as np
import pytest
from PIL import Image

from trainer.config import TrainConfig
from trainer.pictures import grids, picture_files
from trainer.pictures.sheet import Sheet


def some_sheet(rows, **settings):
    pixels = np.arange(rows * rows * 28 * 28).reshape(-1, 28, 28, 1)
    tiled = grids.tile(pixels.astype(np.uint8), rows)
    return Sheet(tiled, (28, 28, 1), "Generated images", "Draws.", **settings)


def test_the_notebooks_grid_is_its_images_alone(tmp_path):
    sheet = some_sheet(30)
    drawn = picture_files.draw(sheet, "generated", TrainConfig())
    picture_files.save(tmp_path / "a.png", drawn)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.size, image.mode) == ((840, 840), "L")
        assert image.text["Description"] == "Draws."
        np.testing.assert_array_equal(np.asarray(image), sheet.pixels[..., 0])


@pytest.mark.parametrize(
    ("rows", "name", "settings"),
    [
        (3, "generated", {}),
        (30, "manifold", {}),
        (30, "generated", {"model": "conv"}),
    ],
)
def test_other_pictures_have_a_title_and_a_caption(rows, name, settings):
    drawn = picture_files.draw(some_sheet(rows), name, TrainConfig(**settings))
    height, width, _ = drawn.pixels.shape
    assert height > width > 640
