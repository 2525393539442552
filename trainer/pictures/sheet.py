"""Images in rows and columns as people look at them: named, with a caption."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

from trainer.pictures import layout as layout_lib, lettering, png

# Images are enlarged, by a whole factor, until their rows are as wide.
_LEAST_WIDTH = 640
# A number below an image needs as much.
_LEAST_WIDTH_WITH_NOTES = 56
# Of letters, in pixels, and of a picture's width.
_LEAST_LETTERS, _MOST_LETTERS, _SHARE_OF_LETTERS = 14, 36, 55
_LETTERS_OF_CHARTS = 13
_LEAST_NOTE = 9
# Of an image's width, between it and the next.
_SHARE_OF_GAP, _LEAST_GAP = 24, 2
# Of a picture's width, what names take at most.
_SHARE_OF_NAMES = 0.3
# Of a picture with a row for each class, the first ones.
MOST_NAMED = 30
_PAPER, _INK, _SOFT_INK = 255, 29, 92


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Images in rows and columns, and what there is to say of them.

    Attributes:
        pixels: uint8 array of shape (rows x height, columns x width,
            channels), as from `grids.tile`.
        image_shape: (height, width, channels).
        title: str, a few words.
        caption: str, sentences: what is seen, of what, in which unit.
        row_names: sequence of str, one a row; empty for none.
        notes: sequence of str, one a column, which stand below the last row;
            empty for none.
        is_plane: whether the images are of one plane, so that they border on
            each other.
    """

    pixels: np.ndarray
    image_shape: tuple[int, int, int]
    title: str
    caption: str
    row_names: tuple = ()
    notes: tuple = ()
    is_plane: bool = False

    @property
    def rows(self):
        """How many rows of images there are."""
        return self.pixels.shape[0] // self.image_shape[0]

    @property
    def columns(self):
        """How many columns of images there are."""
        return self.pixels.shape[1] // self.image_shape[1]

    @property
    def cells(self):
        """Its images: (rows, columns, height, width, channels)."""
        height, width, _ = self.image_shape
        return layout_lib.of_grid(self.pixels, height, width).images(
            self.pixels
        )

    def row(self, number):
        """Returns a row as a `Sheet` of its own, without names and notes."""
        height = self.image_shape[0]
        part = slice(number * height, (number + 1) * height)
        return dataclasses.replace(
            self, pixels=self.pixels[part], row_names=(), notes=()
        )


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A picture, and what its PNG says in texts.

    Attributes:
        pixels: uint8 array of shape (height, width, channels).
        texts: dict of str by name.
    """

    pixels: np.ndarray
    texts: dict = dataclasses.field(default_factory=dict)

    def encode(self):
        """Returns the bytes of its PNG."""
        return png.encode(self.pixels, self.texts)


def bare(sheet):
    """Returns the images alone as `Drawn`; the caption is in the PNG's texts.

    Args:
        sheet: a `Sheet`.
    """
    height, width, _ = sheet.image_shape
    of_grid = layout_lib.of_grid(sheet.pixels, height, width)
    return Drawn(sheet.pixels, _texts(sheet.title, sheet.caption, of_grid))


def draw(sheet, least_width=_LEAST_WIDTH):
    """Draws a sheet on white paper, with its title, caption, names and notes.

    Small images are enlarged by a whole factor, each pixel to a square.

    Args:
        sheet: a `Sheet`.
        least_width: int, pixels up to which images are enlarged.

    Returns:
        A `Drawn` of as many channels as the images have.
    """
    height, width, _ = sheet.image_shape
    scale = _scale(sheet, least_width)
    gap = 0 if sheet.is_plane else _gap(width * scale)
    across = sheet.columns * (width * scale + gap) - gap
    size = _letter_size(across)
    names = _names(sheet, lettering.font(size), height * scale, across)
    names_width = max((each for _, each in names), default=-size) + size
    notes_font = _notes_font(sheet, size, width * scale)
    notes_height = lettering.height(notes_font) + gap if sheet.notes else 0
    layout = layout_lib.Layout(
        top=0,
        left=names_width,
        rows=sheet.rows,
        columns=sheet.columns,
        height=height,
        width=width,
        scale=scale,
        row_pitch=height * scale + gap,
        column_pitch=width * scale + gap,
    )
    canvas = _with_images(sheet, layout, notes_height, across)
    letters = ImageDraw.Draw(canvas)
    for row, (name, _) in enumerate(names):
        top, left = layout.place(row, 0)
        letters.text(
            (left - size // 2, top + height * scale // 2),
            name,
            _soft(canvas),
            lettering.font(size),
            anchor="rm",
        )
    for number, note in enumerate(sheet.notes):
        top, left = layout.place(sheet.rows - 1, number)
        letters.text(
            (left + width * scale // 2, top + height * scale + gap // 2),
            note,
            _soft(canvas),
            notes_font,
            anchor="ma",
        )
    pixels = _array(canvas)
    framed, top, left = _framed(pixels, sheet.title, sheet.caption, size)
    layout = dataclasses.replace(layout, top=top, left=names_width + left)
    return Drawn(framed, _texts(sheet.title, sheet.caption, layout))


def frame(pixels, title, caption, scale=1):
    """Returns a chart as `Drawn`, with a title above and a caption below.

    Args:
        pixels: uint8 array of shape (height, width, channels), on white.
        title: str.
        caption: str.
        scale: int, how many hundred pixels an inch has.
    """
    framed, _, _ = _framed(pixels, title, caption, scale * _LETTERS_OF_CHARTS)
    return Drawn(framed, _texts(title, caption))


def with_gaps(sheet, width):
    """Returns the images of a sheet for a page, which has its own letters.

    Args:
        sheet: a `Sheet`.
        width: pixels that it may have, if its images can be enlarged to them.

    Returns:
        uint8 array of shape (height, width, channels + 1): the last channel
        is the opacity, 0 in the gaps.
    """
    high, wide, channels = sheet.image_shape
    scale = max(1, width // (sheet.columns * wide))
    while scale > 1 and _across(sheet, scale) > width:
        scale -= 1
    gap = 0 if sheet.is_plane else _gap(wide * scale)
    layout = layout_lib.Layout(
        0, 0, sheet.rows, sheet.columns, high, wide, scale,
        high * scale + gap, wide * scale + gap,
    )  # fmt: skip
    shape = sheet.rows * layout.row_pitch - gap, _across(sheet, scale)
    found = np.zeros((*shape, channels + 1), np.uint8)
    for part, image in _parts(sheet, layout):
        found[part][..., :channels] = image
        found[part][..., channels] = 255
    return found


def _letter_size(width):
    """Returns the size of the letters of a picture so wide, in pixels."""
    size = round(width / _SHARE_OF_LETTERS)
    return min(max(size, _LEAST_LETTERS), _MOST_LETTERS)


def _scale(sheet, least_width):
    width = sheet.image_shape[1]
    scale = -(-least_width // (sheet.columns * width))
    if sheet.notes:
        scale = max(scale, -(-_LEAST_WIDTH_WITH_NOTES // width))
    return scale


def _gap(width):
    return max(round(width / _SHARE_OF_GAP), _LEAST_GAP)


def _across(sheet, scale):
    wide = sheet.image_shape[1] * scale
    gap = 0 if sheet.is_plane else _gap(wide)
    return sheet.columns * (wide + gap) - gap


def _parts(sheet, layout):
    """Yields (place, enlarged image): where in a picture an image stands."""
    down, across = layout.height * layout.scale, layout.width * layout.scale
    for row, images in enumerate(sheet.cells):
        for column, image in enumerate(images):
            top, left = layout.place(row, column)
            large = image.repeat(layout.scale, 0).repeat(layout.scale, 1)
            yield np.s_[top : top + down, left : left + across], large


def _with_images(sheet, layout, notes_height, across):
    """Returns white paper with the images of a sheet on it."""
    last, _ = layout.place(layout.rows - 1, 0)
    height = last + layout.height * layout.scale + notes_height
    channels = sheet.image_shape[2]
    pixels = np.full((height, layout.left + across, channels), _PAPER, np.uint8)
    for part, image in _parts(sheet, layout):
        pixels[part] = image
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def _names(sheet, letters, height, across):
    """Returns (name, width in pixels) of each row that has one."""
    if not sheet.row_names:
        return []
    if lettering.height(letters) > height:
        return [("", 0)] * len(sheet.row_names)
    names = [
        lettering.shortened(name, letters, _SHARE_OF_NAMES * across)
        for name in sheet.row_names
    ]
    return [(name, round(letters.getlength(name))) for name in names]


def _notes_font(sheet, size, width):
    """Returns a font of which each note has room below its image."""
    while size > _LEAST_NOTE and any(
        lettering.font(size).getlength(note) > width for note in sheet.notes
    ):
        size -= 1
    return lettering.font(size)


def _framed(pixels, title, caption, size):
    """Returns (pixels, top, left): pixels on paper, and where they are now."""
    height, width, channels = pixels.shape
    large = lettering.font(round(1.25 * size), is_bold=True)
    letters = lettering.font(size)
    above = [lettering.shortened(title, large, width)] if title else []
    below = lettering.lines(caption, letters, width)
    step, large_step = lettering.height(letters), lettering.height(large)
    top = size + (large_step + size // 2 if above else 0)
    paper = np.full(
        (
            top
            + height
            + (size // 2 + len(below) * step if below else 0)
            + size,
            width + 2 * size,
            channels,
        ),
        _PAPER,
        np.uint8,
    )
    paper[top : top + height, size : size + width] = pixels
    canvas = Image.fromarray(paper[..., 0] if channels == 1 else paper)
    draw = ImageDraw.Draw(canvas)
    for line in above:
        draw.text((size, size), line, _ink(canvas), large)
    for number, line in enumerate(below):
        place = size, top + height + size // 2 + number * step
        draw.text(place, line, _soft(canvas), letters)
    return _array(canvas), top, size


def _ink(canvas):
    return _INK if canvas.mode == "L" else (_INK,) * 3


def _soft(canvas):
    return _SOFT_INK if canvas.mode == "L" else (_SOFT_INK,) * 3


def _array(canvas):
    pixels = np.asarray(canvas)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _texts(title, caption, layout=None):
    """Returns the texts of a PNG, by the names that its standard has."""
    texts = {"Title": title, "Description": caption}
    if layout is not None:
        texts[layout_lib.KEY] = layout.text()
    return texts
