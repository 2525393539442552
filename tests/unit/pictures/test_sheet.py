import io
import json

import numpy as np
import pytest
from PIL import Image

from trainer.pictures import (
    grids,
    layout as layout_lib,
    png,
    sheet as sheet_lib,
)
from trainer.pictures.sheet import Sheet

LONG = "a class whose name is so long that no picture has the room for it"


def some_images(count, side=28, channels=1):
    shape = count, side, side, channels
    # None is as white as paper.
    return np.random.default_rng(0).integers(0, 200, shape, dtype=np.uint8)


def some_sheet(rows=3, columns=10, side=28, channels=1, **settings):
    images = some_images(rows * columns, side, channels)
    return Sheet(
        grids.tile(images, columns),
        (side, side, channels),
        "A title",
        "A caption that says what is seen. " * 5,
        **settings,
    )


def read(drawn):
    """(pixels, layout) of a PNG, as somebody else would find them."""
    content = drawn.encode()
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image).reshape(drawn.pixels.shape)
        return pixels, layout_lib.parse(image.text["Layout"], pixels.shape)


@pytest.mark.parametrize(
    "settings",
    [
        {"row_names": ["Ankle boot", "", f"Čepice ねこ $x$ {LONG}"]},
        {"notes": ["-1,234.5"] * 10, "channels": 3},
        {"columns": 30, "rows": 30, "row_names": ["a"] * 30},
        {"columns": 1, "rows": 1, "side": 8, "notes": ["9"]},
        {"side": 200, "columns": 2, "is_plane": True},
    ],
)
def test_the_images_of_a_png_are_whole_and_enlarged_by_a_whole_factor(settings):
    sheet = some_sheet(**settings)
    drawn = sheet_lib.draw(sheet)
    pixels, layout = read(drawn)
    np.testing.assert_array_equal(layout.images(pixels), sheet.cells)
    top, left = layout.place(sheet.rows - 1, sheet.columns - 1)
    side = layout.scale * layout.height
    last = pixels[top : top + side, left : left + side]
    for corner in (
        last[:: layout.scale],
        last[layout.scale - 1 :: layout.scale],
    ):
        np.testing.assert_array_equal(
            corner[:, :: layout.scale], sheet.cells[-1, -1]
        )
    assert pixels.shape[1] >= 640
    # All around is paper.
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def test_images_have_gaps_but_those_of_a_plane(side=28):
    for is_plane in (False, True):
        pixels, layout = read(sheet_lib.draw(some_sheet(is_plane=is_plane)))
        gap = layout.column_pitch - layout.scale * side
        assert (gap == layout.row_pitch - layout.scale * side) and (
            gap == 0 if is_plane else gap >= 2
        )
        after = layout.left + layout.scale * side
        part = pixels[layout.top :][:100, after : after + gap]
        assert (part == 255).all()


def ink(pixels):
    return pixels.min(axis=(1, 2)) < 128


def test_names_notes_title_and_caption_are_written():
    drawn = sheet_lib.draw(
        some_sheet(row_names=["Bag", "", "Coat"], notes=["1.5"] * 10)
    )
    pixels, layout = read(drawn)
    names = pixels[:, : layout.left]
    pitch, scaled = layout.row_pitch, layout.scale * 28
    has_name = [
        ink(names[layout.top + row * pitch :][:scaled]).any()
        for row in range(3)
    ]
    assert has_name == [True, False, True]
    assert ink(pixels[: layout.top]).any()
    bottom = pixels[layout.place(2, 0)[0] + scaled :]
    lines = np.flatnonzero(np.diff(np.r_[0, ink(bottom)].astype(int)) == 1)
    assert len(lines) >= 3  # The notes, and two lines of the caption or more.
    assert drawn.texts["Title"] == "A title"
    assert drawn.texts["Description"].startswith("A caption that says")


def test_a_picture_without_letters_says_it_in_its_texts():
    sheet = some_sheet()
    drawn = sheet_lib.bare(sheet)
    pixels, layout = read(drawn)
    np.testing.assert_array_equal(pixels, sheet.pixels)
    np.testing.assert_array_equal(layout.images(pixels), sheet.cells)
    assert drawn.texts["Description"] == sheet.caption


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_sees_through_the_gaps(channels):
    sheet = some_sheet(channels=channels)
    found = sheet_lib.with_gaps(sheet, 900)
    assert 800 < found.shape[1] <= 900 and found.shape[2] == channels + 1
    assert set(np.unique(found[..., -1])) == {0, 255}
    covered = (found[..., -1] == 255).sum()
    assert covered == sheet.pixels[..., 0].size * 9
    png.encode(found)
    row = sheet_lib.with_gaps(sheet.row(1), 1)
    np.testing.assert_array_equal(row[:, :28, :-1], sheet.cells[1, 0])


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0},
        {"rows": 4},
        {"top": 10**9},
        {"left": -1},
        {"column_pitch": 5},
        {"rows": "3"},
        {"width": 1.5},
        {"more": 1},
    ],
)
def test_a_layout_that_cannot_be_is_none(change):
    drawn = sheet_lib.draw(some_sheet())
    shape = drawn.pixels.shape
    text = drawn.texts["Layout"]
    assert layout_lib.parse(text, shape) is not None
    changed = json.dumps(json.loads(text) | change)
    assert layout_lib.parse(changed, shape) is None
    for cut in ("{half", "[1, 2]"):
        assert layout_lib.parse(cut, shape) is None
