"""From the bytes of a picture to the pixels of a record, with Pillow.

What the picture is, is decided by its content. Formats that are not listed
here are refused: some of those that Pillow knows start other programs.
"""

import contextlib
import io
import os
import re
import sys
import warnings

import numpy as np
from PIL import (
    BmpImagePlugin,  # noqa: F401 - else Pillow loads all that it has.
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

# JPEG is also that of several pictures in one file (MPO), as phones write it.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# A picture is first made smaller by a whole factor, to this many times its
# size at the end: LANCZOS over all of a photograph takes many times longer,
# and from here on nobody sees the difference.
# https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.Image.resize
_REDUCING_GAP = 3.0
# Of as many pixels as a row of a small picture has.
_FIRST_BYTES = 3 * 32
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
START_BYTES = 18
_ADDRESS = re.compile(" at 0x[0-9a-f]+")
_STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


class BadImageError(Exception):
    """A picture cannot be used; the message says why."""


def looks_like_image(start):
    """Whether the first `START_BYTES` of a file are those of a picture."""
    if start[:2] == b"BM":
        # Texts begin so too. Here stands the size of the second header, which
        # is below 256; a text has no zero byte.
        return start[15:18] == b"\0\0\0"
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return is_webp or any(start.startswith(known) for known in _STARTS)


@contextlib.contextmanager
def own_limits():
    """Leaves the limit of pixels to us, and warnings unsaid.

    Pillow's own limit is one of the process, and warns where we refuse. What
    libtiff says of a damaged file it writes to stderr itself, without the name
    of the file.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, "wb", buffering=0) as nowhere,
        ):
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        Image.MAX_IMAGE_PIXELS = limit


def decode(content, settings):
    """Returns the record of a picture. Call it within `own_limits`.

    Args:
        content: bytes of a file.
        settings: a `Settings`.

    Returns:
        uint8 array of shape (height, width, channels). With channels 0 in the
        settings it has one channel if it is grey.

    Raises:
        BadImageError: it is no picture, is damaged, or is too large.
    """
    if not content:
        raise BadImageError("it is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        _check_size(image.size, settings)
        if image.format in ("JPEG", "MPO"):
            # The decoder itself can leave out what is too fine.
            side = int(_REDUCING_GAP * max(settings.size))
            if min(image.size) >= 2 * side:
                image.draft(None, (side, side))
        image.load()
        # Only now some formats know it.
        _check_size(image.size, settings)
        return record(_upright(image), settings)
    except UnidentifiedImageError as error:
        raise BadImageError(_not_an_image(content)) from error
    except MemoryError as error:
        raise BadImageError("it does not fit in memory") from error
    except BadImageError:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever a damaged file leads them to.
        raise BadImageError(f"it is damaged ({_said(error)})") from error


def record(image, settings):
    """Returns the record of a Pillow image; as `decode`.

    Args:
        image: a `PIL.Image.Image`, upright.
        settings: a `Settings`.
    """
    image = _opaque(_eight_bits(image), settings.background)
    if settings.channels == 1 and image.mode != "L":
        image = image.convert("L")
    if settings.channels == 3 and image.mode != "RGB":
        image = image.convert("RGB")
    if (image.height, image.width) != settings.size:
        image = _fit(image, settings)
    content = image.tobytes()
    pixels = np.frombuffer(content, np.uint8).reshape(*settings.size, -1)
    if pixels.shape[-1] == 3 and not settings.channels and is_grey(content):
        pixels = pixels[..., :1]
    return pixels


def is_grey(content):
    """Whether red, green and blue are the same everywhere.

    Args:
        content: bytes, in which they follow each other.
    """
    # The first pixels settle it for most pictures. NumPy takes longer to
    # begin than to compare a row of them.
    return all(
        part[::3] == part[1::3] == part[2::3]
        for part in (content[:_FIRST_BYTES], content)
    )


def _check_size(size, settings):
    width, height = size
    if width < 1 or height < 1:
        raise BadImageError("it has no pixels")
    if width * height > settings.pixel_limit:
        raise BadImageError(
            f"it has {width:,}x{height:,} pixels, more than the "
            f"{settings.pixel_limit:,} of --pixel_limit"
        )


def _upright(image):
    """Returns the image as its EXIF data say that it is looked at."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        # The picture is whole; who wrote its EXIF data was careless.
        orientation = None
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _eight_bits(image):
    """Returns the image with at most 8 bits a channel."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "I" and image.format not in ("PNG", None):
            raise BadImageError("it has 32 bits a pixel")
        values = np.clip(values, 0, 65535).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype("u1"))
    if image.mode == "F":
        raise BadImageError("its pixels are floating-point numbers")
    return image


def _opaque(image, background):
    """Returns the image in grey (L) or RGB, with nothing transparent."""
    grey = image.mode in ("L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(below, image).convert("RGB")
        if grey and len(set(background)) == 1:
            return image.getchannel(0)
        return image
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _fit(image, settings):
    """Returns the image in the size of the settings.

    LANCZOS keeps edges sharp, and looks at all pixels that fall into one, so
    that nothing flickers in small pictures of large ones.
    """
    height, width = settings.size
    box = (0, 0, image.width, image.height)
    inner = (width, height)
    if settings.fit == "crop":
        # Of the sides of the picture, the part with the shape of the record.
        scale = min(image.width / width, image.height / height)
        left = (image.width - width * scale) / 2
        top = (image.height - height * scale) / 2
        box = (left, top, left + width * scale, top + height * scale)
        # A rounding error may lie outside.
        box = (
            max(box[0], 0),
            max(box[1], 0),
            min(box[2], image.width),
            min(box[3], image.height),
        )
    elif settings.fit == "pad":
        scale = max(image.width / width, image.height / height)
        inner = (
            min(width, max(1, round(image.width / scale))),
            min(height, max(1, round(image.height / scale))),
        )
    resized = image.resize(
        inner, Image.Resampling.LANCZOS, box, reducing_gap=_REDUCING_GAP
    )
    if inner == (width, height):
        return resized
    background = settings.background
    if resized.mode == "L":
        if len(set(background)) > 1 and settings.channels != 1:
            resized = resized.convert("RGB")
        else:
            colour = Image.new("RGB", (1, 1), background).convert("L")
            background = colour.getpixel((0, 0))
    padded = Image.new(resized.mode, (width, height), background)
    place = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded.paste(resized, place)
    return padded


def _not_an_image(content):
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page"
    for known, name in _STARTS.items():
        if content.startswith(known):
            return f"it is a damaged {name}"
    return "it is no picture of a known format"


def _said(error):
    # An address in memory would make equal datasets differ.
    text = _ADDRESS.sub("", str(error)) or type(error).__name__
    text = text.split("\n")[0][:100]
    return text if text.isprintable() else ascii(text)
