"""Letters in pictures of pixels: fonts, what fits a width, lines of text."""

import functools
import pathlib

import matplotlib
from PIL import ImageFont

_FONTS = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")


@functools.lru_cache
def font(size, *, is_bold=False):
    """Returns a font of Pillow; the same on every machine.

    Args:
        size: int, pixels.
        is_bold: whether its letters are bold.
    """
    name = "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"
    # The other engine is not part of each Pillow.
    return ImageFont.truetype(
        str(_FONTS / name), size, layout_engine=ImageFont.Layout.BASIC
    )


def height(letters):
    """Returns the height of a line of a font, in pixels."""
    return sum(letters.getmetrics())


def shortened(text, letters, width):
    """Returns a text, or its beginning and an ellipsis, of at most a width.

    Args:
        text: str.
        letters: a font.
        width: pixels.
    """
    text = " ".join(text.split())
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def lines(text, letters, width):
    """Returns a text in lines of at most a width, broken between words.

    Args:
        text: str.
        letters: a font.
        width: pixels.
    """
    found = [""]
    for word in text.split():
        longer = f"{found[-1]} {word}".strip()
        if letters.getlength(longer) <= width:
            found[-1] = longer
        else:
            found.append(shortened(word, letters, width))
    return [line for line in found if line]
