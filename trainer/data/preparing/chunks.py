"""Decodes a source in chunks, each of which is a file that a kill leaves whole.

What a chunk holds follows from the source and the settings alone, so that
nothing depends on who made it, when, or how many worked beside.
"""

import dataclasses
import hashlib
import json
import os

import google_crc32c
import numpy as np
from PIL import Image

from trainer.data.preparing import decoding
from trainer.data.preparing.decoding import BadImageError
from trainer.data.preparing.listing import Refused

DIGEST_BYTES = 32
# Few enough that a hundred photographs keep all cores busy.
_CHUNK_BYTES, _CHUNK_RECORDS = 4 << 20, 64


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some images that follow each other in a source.

    Attributes:
        positions: int64 array of shape (n,), of those that can be used: which
            of the chunk's images each is.
        digests: uint8 array of shape (n, 32), SHA-256 of each one's content.
        bad: list of (position, reason) of the others.
        images: uint8 array of shape (n, height, width, channels); one channel
            where all are grey and the settings leave it open; None if it was
            not asked for.
        channels: int, those of the images.
    """

    positions: np.ndarray
    digests: np.ndarray
    bad: list
    images: np.ndarray | None
    channels: int


@dataclasses.dataclass(frozen=True)
class Work:
    """All that a process needs to make chunks; goes there by pickle.

    Attributes:
        folder: str, where the chunks go.
        reader: as `Listing.reader`.
        settings: a `Settings`.
    """

    folder: str
    reader: object
    settings: object


def records_per_chunk(settings):
    """Returns how many images of a source make a chunk."""
    record_bytes = settings.size[0] * settings.size[1] * 3
    return max(1, min(_CHUNK_RECORDS, _CHUNK_BYTES // record_bytes))


def path_of(folder, number):
    """Returns the path of a chunk."""
    return f"{folder}/chunk-{number:08d}"


def make(work, number, locators, check=lambda: None):
    """Decodes images, and writes them as a chunk, whole or not at all.

    Args:
        work: a `Work`.
        number: int, of the chunk.
        locators: list of what the reader takes.
        check: called before each image; may raise.
    """
    positions, digests, bad, images = [], [], [], []
    with decoding.own_limits():
        for position, locator in enumerate(locators):
            check()
            try:
                content = _content(work.reader, locator)
                images.append(_record(content, work.reader, work.settings))
            except BadImageError as error:
                bad.append((position, str(error)))
                continue
            positions.append(position)
            digests.append(hashlib.sha256(content).digest())
    channels = max((image.shape[-1] for image in images), default=1)
    shape = (len(images), *work.settings.size, channels)
    pixels = np.empty(shape, np.uint8)
    for row, image in zip(pixels, images, strict=True):
        row[...] = image  # One channel becomes three equal ones.
    header = json.dumps(
        {"positions": positions, "bad": bad, "channels": channels}
    ).encode()
    content = b"".join(
        [len(header).to_bytes(4, "big"), header, *digests, pixels.tobytes()]
    )
    checksum = google_crc32c.value(content).to_bytes(4, "big")
    path = path_of(work.folder, number)
    # Another process may make the same one, when one that was killed with its
    # parent has not noticed yet.
    unfinished = f"{path}.{os.getpid()}"
    with open(unfinished, "wb") as file:
        file.write(checksum + content)
    os.replace(unfinished, path)


def read(folder, number, settings, *, with_images=True):
    """Returns a `Chunk`; None if it is not there, or not whole.

    Args:
        folder: str, where the chunks are.
        number: int.
        settings: a `Settings`.
        with_images: whether its images are needed.
    """
    try:
        with open(path_of(folder, number), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    if int.from_bytes(content[:4], "big") != google_crc32c.value(content[4:]):
        return None
    length = int.from_bytes(content[4:8], "big")
    header = json.loads(content[8 : 8 + length])
    positions = np.array(header["positions"], np.int64)
    count, start = len(positions), 8 + length
    digests = np.frombuffer(
        content, np.uint8, count * DIGEST_BYTES, start
    ).reshape(count, DIGEST_BYTES)
    images = None
    if with_images:
        images = np.frombuffer(
            content, np.uint8, offset=start + digests.nbytes
        ).reshape(count, *settings.size, header["channels"])
    bad = [tuple(each) for each in header["bad"]]
    return Chunk(positions, digests, bad, images, header["channels"])


def _content(reader, locator):
    if isinstance(locator, Refused):
        raise BadImageError(locator.reason)
    return reader.read(locator)


def _record(content, reader, settings):
    if reader.pixels is None:
        return decoding.decode(content, settings)
    shape = reader.pixels.shape
    pixels = np.frombuffer(content, np.uint8).reshape(shape)
    if reader.pixels.channels_first:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.shape[0] * pixels.shape[1] > settings.pixel_limit:
        raise BadImageError("it has more pixels than --pixel_limit")
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return decoding.record(image, settings)
