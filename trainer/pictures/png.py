"""The one PNG encoder: pixels to bytes, and to a file."""

import io

from PIL import Image

from trainer import files


def encode(pixels):
    """Returns the bytes of a PNG; equal pixels are equal bytes.

    Args:
        pixels: uint8 array of shape (height, width, 1), grey, or
            (height, width, 3), RGB.
    """
    if pixels.shape[-1] == 1:
        pixels = pixels[..., 0]  # Pillow has no axis for a single channel.
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def save(path, pixels):
    """Writes a PNG as a whole, or not at all.

    Args:
        path: where to.
        pixels: as for `encode`.
    """
    files.write_atomically(path, encode(pixels))
