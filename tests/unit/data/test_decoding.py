"""Pictures as people have them, and as nobody should: 75 files, a line each."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.tools.images import encoded, noise, png, settings
from trainer.data.preparing import decoding
from trainer.data.preparing.decoding import BadImageError

RED = (200, 30, 10)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Four quarters that tell every turn and every mirror image from each other.
QUARTERS = [[RED, (10, 200, 30)], [(30, 10, 200), (90, 90, 90)]]


def decode(content, **changed):
    with decoding.own_limits():
        return decoding.decode(content, settings(**changed))


def plain(mode="RGB", colour=RED, size=(8, 8)):
    return Image.new(mode, size, colour)


def quarters():
    return Image.fromarray(
        np.array(QUARTERS, np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    )


def palette(transparency=None):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *RED])
    options = {} if transparency is None else {"transparency": transparency}
    return encoded(image, **options)


def sixteen_bits(value):
    return encoded(Image.fromarray(np.full((8, 8), value, np.uint16)))


def chunk(kind, data):
    body = kind + data
    return (
        struct.pack(">I", len(data))
        + body
        + struct.pack(">I", zlib.crc32(body))
    )


def raw_png(rows, bits, kind, *, size=(4, 4), interlaced=0, more=b""):
    """A PNG as no library writes it.

    Args:
        rows: bytes of its rows, each behind the number of its filter.
        bits: int, of a channel.
        kind: int, 0 for grey, 2 for RGB, 6 for RGBA.
        size: tuple of int, (width, height).
        interlaced: int, 1 if it is.
        more: bytes of chunks before the pixels.
    """
    head = struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, interlaced)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            more,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def bomb(width, height):
    """A PNG that promises many pixels, in a few hundred bytes."""
    return raw_png(bytes(1000), 8, 2, size=(width, height))


def expanding(kind):
    """A PNG with a chunk of text that becomes 64 MB."""
    more = chunk(kind, b"name\0\0" + zlib.compress(bytes(64 << 20)))
    return raw_png(b"\0\1\1\1\1" * 4, 8, 0, more=more)


def wrong_crc(kind):
    """A PNG with a chunk whose CRC is another."""
    content = bytearray(encoded(plain()))
    at = content.index(kind)
    (size,) = struct.unpack(">I", content[at - 4 : at])
    content[at + 4 + size] ^= 1
    return bytes(content)


def box(brand):
    """The beginning of a file of the HEIF family."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + bytes(99)


def animated(kind, **options):
    first, second = plain(), plain(colour=(0, 0, 255))
    options = {"save_all": True, "append_images": [second], **options}
    return encoded(first, kind, **options)


def with_exif(content):
    image = Image.open(io.BytesIO(png(0)))
    return encoded(image, "JPEG", exif=b"Exif\0\0" + content)


# What each is, its bytes, and the colour of all of its pixels.
ODD = {
    "RGB PNG": (encoded(plain()), RED),
    "JPEG": (encoded(plain(), "JPEG", quality=95), RED),
    "WebP": (encoded(plain(), "WEBP", lossless=True), RED),
    "BMP": (encoded(plain(), "BMP"), RED),
    "TIFF": (encoded(plain(), "TIFF"), RED),
    "TIFF, LZW": (encoded(plain(), "TIFF", compression="tiff_lzw"), RED),
    "GIF": (encoded(plain(), "GIF"), RED),
    "animated GIF": (animated("GIF"), RED),
    "animated WebP": (animated("WEBP", lossless=True), RED),
    "animated PNG": (animated("PNG"), RED),
    "TIFF of two pages": (animated("TIFF"), RED),
    "progressive JPEG": (
        encoded(plain(), "JPEG", quality=95, progressive=True), RED
    ),
    "JPEG with an ICC profile": (
        encoded(plain(), "JPEG", quality=95, icc_profile=SRGB), RED
    ),
    "JPEG with garbage as ICC profile": (
        encoded(plain(), "JPEG", quality=95, icc_profile=b"x" * 70000), RED
    ),
    "YCbCr TIFF": (encoded(plain("YCbCr", (9, 128, 128)), "TIFF"), (9,)),
    "16 bit RGB": (raw_png((b"\0" + b"\x80\0" * 12) * 4, 16, 2), (128,)),
    "16 bit RGBA, clear": (
        raw_png((b"\0" + (b"\x80\0" * 3 + b"\0\0") * 4) * 4, 16, 6), (255,)
    ),
    "2 bit grey": (raw_png(b"\0\xaa" * 4, 2, 0), (170,)),
    "interlaced PNG": (
        raw_png(b"\0\x4d", 8, 0, size=(1, 1), interlaced=1), (77,)
    ),
    "PNG with a wrong CRC beside whole pixels": (wrong_crc(b"IDAT"), RED),
    "PNG with more pixels than it says": (raw_png(bytes(1 << 20), 8, 0), (0,)),
    "CMYK JPEG": (encoded(plain("CMYK", (0, 217, 242, 55)), "JPEG"), RED),
    "CMYK TIFF": (encoded(plain("CMYK", (0, 217, 242, 55)), "TIFF"), RED),
    "palette": (palette(), RED),
    "palette, transparent": (palette(1), (255,)),
    "RGBA": (encoded(plain("RGBA", (*RED, 255))), RED),
    "RGBA, clear": (encoded(plain("RGBA", (*RED, 0))), (255,)),
    "RGBA, half": (encoded(plain("RGBA", (*RED, 128))), (227, 142, 132)),
    "RGB with a clear colour": (encoded(plain(), transparency=RED), (255,)),
    "grey": (encoded(plain("L", 77)), (77,)),
    "grey with alpha": (encoded(plain("LA", (77, 0))), (255,)),
    "grey with a clear value": (encoded(plain("L", 7), transparency=7), (255,)),
    "1 bit": (encoded(plain("1", 1)), (255,)),
    "1 bit TIFF": (
        encoded(plain("1", 0), "TIFF", compression="group4"), (0,)
    ),
    "16 bit grey, full": (sixteen_bits(65535), (255,)),
    "16 bit grey, half": (sixteen_bits(32768), (128,)),
    "16 bit grey, dark": (sixteen_bits(257), (1,)),
    "RGB that is grey": (encoded(plain(colour=(9, 9, 9))), (9,)),
    "1x1": (encoded(plain(size=(1, 1))), RED),
    "1x10000": (encoded(plain(size=(1, 10000))), RED),
    "10000x1": (encoded(plain(size=(10000, 1))), RED),
    "EXIF data that are garbage": (
        encoded(plain(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*garbage"), RED
    ),
    "an orientation that is none": (
        encoded(plain(), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12"
                b"\0\3\0\0\0\1\0\x63\0\0\0\0\0\0"), RED
    ),
    "bytes behind the end": (encoded(plain()) + b"more", RED),
}  # fmt: skip
# What each is, its bytes, and what is said of it.
BAD = {
    "nothing": (b"", "it is empty"),
    "a web page": (
        b"\n<!DOCTYPE html><html></html>", "it is a web page"),
    "text": (b"hello", "no picture of a known format"),
    "PNG, cut": (png(0, height=64, width=64)[:2000], "it is damaged"),
    "PNG, cut in its header": (png(0)[:20], "it is damaged"),
    "PNG, one bit flipped": (png(0)[:60] + b"\0" + png(0)[61:], "is damaged"),
    "JPEG, cut": (
        encoded(Image.fromarray(noise(0, 64, 64)), "JPEG")[:900],
        "it is damaged",
    ),
    "JPEG, cut in its header": (
        encoded(plain(), "JPEG")[:30], "it is a damaged JPEG|it is damaged"
    ),
    "progressive JPEG, cut": (
        encoded(
            Image.fromarray(noise(0, 64, 64)), "JPEG", progressive=True
        )[:2500],
        "it is damaged",
    ),
    "PNG with a wrong CRC": (wrong_crc(b"IHDR"), "it is a damaged PNG"),
    "PNG with a text that expands": (expanding(b"zTXt"), "too large"),
    "PNG with a profile that expands": (expanding(b"iCCP"), "too large"),
    "HEIC": (box(b"heic"), "no picture of a known format"),
    "AVIF": (box(b"avif"), "no picture of a known format"),
    "PDF": (b"%PDF-1.4", "no picture of a known format"),
    "Photoshop": (b"8BPS\0\1" + bytes(40), "no picture of a known format"),
    "XML": (b"<?xml version='1.0'?><svg/>", "no picture of a known format"),
    "zip file": (b"PK\5\6" + bytes(18), "no picture of a known format"),
    "WebP, cut": (encoded(plain(), "WEBP")[:30], "it is"),
    "GIF, cut": (encoded(plain(), "GIF")[:20], "it is"),
    "BMP, cut": (encoded(plain(), "BMP")[:70], "it is damaged"),
    "TIFF, cut": (encoded(plain(), "TIFF")[:70], "it is"),
    "TIFF of floats": (
        encoded(Image.new("F", (8, 8)), "TIFF"), "floating-point numbers"
    ),
    "TIFF of 32 bits": (encoded(Image.new("I", (8, 8)), "TIFF"), "32 bits"),
    "bomb": (bomb(60_000, 60_000), "60,000x60,000 pixels, more than the"),
    "bomb, wide": (bomb(2**31 - 1, 1), "pixels, more than the"),
    "PNG of 0x0": (bomb(0, 0), "it is"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
    "PPM": (b"P6 1 1 255 abc", "no picture of a known format"),
    "ICO": (encoded(plain("RGBA", (*RED, 0)), "ICO"), "no picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_people_have_is_read(name):
    content, colour = ODD[name]
    pixels = decode(content)
    assert (pixels.shape, pixels.dtype) == ((8, 8, len(colour)), np.uint8)
    # JPEG rounds.
    assert np.abs(pixels.astype(int) - colour).max() <= (
        3 if "JPEG" in name or "EXIF" in name else 0
    )


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused_with_a_reason(name):
    content, said = BAD[name]
    with pytest.raises(BadImageError, match=said) as refused:
        decode(content)
    assert str(refused.value).isprintable()
    assert " at 0x" not in str(refused.value)


def test_libraries_say_nothing_of_their_own(capfd):
    content = encoded(plain(), "TIFF", compression="tiff_lzw")
    with pytest.raises(BadImageError):
        decode(content[:-180] + b"x" * 180)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright(orientation):
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = quarters()
    stored = image
    if orientation in turns:
        stored = image.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind, options in (
        ("PNG", {}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
    ):
        content = encoded(stored, kind, exif=exif, **options)
        assert np.array_equal(
            decode(content, size=(16, 16)), np.asarray(image)
        ), kind
    jpeg = decode(
        encoded(stored, "JPEG", exif=exif, quality=100, subsampling=0),
        size=(16, 16),
    )
    assert np.abs(jpeg.astype(int) - np.asarray(image)).max() < 16


def test_crop_takes_the_middle_pad_adds_and_stretch_keeps_all():
    # Red, green and blue thirds side by side.
    thirds = np.zeros((8, 24, 3), np.uint8)
    for third in range(3):
        thirds[:, 8 * third : 8 * third + 8, third] = 255
    content = encoded(Image.fromarray(thirds))
    assert (decode(content, fit="crop") == (0, 255, 0)).all()
    padded = decode(content, size=(24, 24), fit="pad", background=(1, 2, 3))
    assert np.array_equal(padded[8:16], thirds)
    assert (padded[:8] == (1, 2, 3)).all() and (padded[16:] == (1, 2, 3)).all()
    stretched = decode(content, size=(8, 12), fit="stretch")
    for third in range(3):
        middle = stretched[:, 4 * third + 1 : 4 * third + 3]
        assert (middle.argmax(axis=-1) == third).all()


def test_a_grey_picture_is_padded_with_grey_or_becomes_coloured():
    content = encoded(plain("L", 50, (8, 4)))
    assert decode(content, fit="pad", background=(9, 9, 9)).shape == (8, 8, 1)
    coloured = decode(content, fit="pad", background=RED)
    assert (coloured[0] == RED).all() and (coloured[4] == 50).all()
    grey = decode(content, fit="pad", background=RED, channels=1)
    assert grey.shape == (8, 8, 1) and (grey[0] == 79).all()


def test_small_pictures_of_fine_patterns_do_not_flicker():
    pixels = np.indices((640, 640)).sum(axis=0) % 2 * 255
    content = encoded(Image.fromarray(pixels.astype(np.uint8)))
    small = decode(content, size=(10, 10)).astype(int)
    assert np.abs(small - 127).max() <= 1


def test_a_large_jpeg_is_nearly_as_if_it_had_been_decoded_whole():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    image = coarse.resize((1200, 900), Image.Resampling.BICUBIC)
    content = encoded(image, "JPEG", quality=95)
    whole = encoded(Image.open(io.BytesIO(content)))
    difference = decode(content, pixel_limit=2_000_000).astype(int)
    difference -= decode(whole, pixel_limit=2_000_000)
    # Of 255: what 8 bits and the decoder's own averages leave.
    assert np.abs(difference).max() <= 8
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (8, 8, 1)), (3, (8, 8, 3))]
)
def test_channels_are_those_that_were_asked_for(channels, shape):
    for content in (encoded(plain()), encoded(plain("L", 5))):
        assert decode(content, channels=channels).shape == shape


def test_the_limit_is_looked_at_before_anything_is_decoded():
    content = encoded(plain(size=(100, 100)))
    assert decode(content, pixel_limit=10_000).shape == (8, 8, 3)
    with pytest.raises(BadImageError, match="9,999 of --pixel_limit"):
        decode(content, pixel_limit=9_999)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_an_archive_of_nothing_but_text_does_not_look_like_images():
    for content, _ in ODD.values():
        assert decoding.looks_like_image(content[: decoding.START_BYTES])
    for text in (b"# README\n", b"BMW and other makes of cars", b"GIF8", b"BM"):
        assert not decoding.looks_like_image(text)
