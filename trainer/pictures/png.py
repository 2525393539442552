"""The one PNG encoder: pixels and texts to bytes."""

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def encode(pixels, texts=None):
    """Returns the bytes of a PNG; equal pixels and texts are equal bytes.

    Args:
        pixels: uint8 array of shape (height, width, 1), grey, or
            (height, width, 3), RGB; with one channel more for the opacity.
        texts: dict of str by the name of a text that the file holds.
    """
    if pixels.shape[-1] == 1:
        pixels = pixels[..., 0]  # Pillow has no axis for a single channel.
    content = io.BytesIO()
    info = PngInfo()
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    Image.fromarray(pixels).save(content, "png", pnginfo=info)
    return content.getvalue()
