"""Where the images of a picture are, so that programs can take them again.

A PNG says it in a text of its own: `Layout`, a JSON object.
"""

import dataclasses
import json

import numpy as np

from trainer import stored

KEY = "Layout"
# Of an integer in a file that somebody else may have written.
_MOST = 2**20


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the images of a picture are, in pixels of the picture.

    Attributes:
        top: int, where the first image begins.
        left: int, where the first image begins.
        rows: int.
        columns: int.
        height: int, of an image, in pixels of the image.
        width: int, of an image, in pixels of the image.
        scale: int, how many pixels across a pixel of an image is.
        row_pitch: int, from the top of a row to that of the next.
        column_pitch: int, from the left of a column to that of the next.
    """

    top: int
    left: int
    rows: int
    columns: int
    height: int
    width: int
    scale: int
    row_pitch: int
    column_pitch: int

    def text(self):
        """Returns it as the text that a PNG has."""
        return json.dumps(dataclasses.asdict(self))

    def images(self, pixels):
        """Returns the images of a picture.

        Args:
            pixels: uint8 array of shape (height, width, channels).

        Returns:
            uint8 array of shape (rows, columns, height, width, channels).
        """
        return np.stack(
            [
                np.stack(
                    [
                        self._image(pixels, row, column)
                        for column in range(self.columns)
                    ]
                )
                for row in range(self.rows)
            ]
        )

    def place(self, row, column):
        """Returns the (top, left) of an image."""
        return (
            self.top + row * self.row_pitch,
            self.left + column * self.column_pitch,
        )

    def _image(self, pixels, row, column):
        top, left = self.place(row, column)
        down, across = self.height * self.scale, self.width * self.scale
        return pixels[
            top : top + down : self.scale, left : left + across : self.scale
        ]


def of_grid(pixels, height, width):
    """Returns the `Layout` of images that border on each other."""
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    return Layout(0, 0, rows, columns, height, width, 1, height, width)


def parse(text, shape):
    """Returns the `Layout` that a picture says of itself; None if it cannot be.

    Args:
        text: str, from a PNG that anybody may have written.
        shape: (height, width, channels) of the picture.
    """
    try:
        value = stored.parse_json(text.encode())
    except stored.UnreadableError:
        return None
    names = {field.name for field in dataclasses.fields(Layout)}
    if not isinstance(value, dict) or value.keys() != names:
        return None
    if not all(
        stored.is_count(each) and each <= _MOST for each in value.values()
    ):
        return None
    found = Layout(**value)
    if not all(
        each for name, each in value.items() if name not in ("top", "left")
    ):
        return None
    top, left = found.place(found.rows - 1, found.columns - 1)
    fits = (
        found.row_pitch >= found.height * found.scale
        and found.column_pitch >= found.width * found.scale
        and top + found.height * found.scale <= shape[0]
        and left + found.width * found.scale <= shape[1]
    )
    return found if fits else None
