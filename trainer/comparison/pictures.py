"""The pictures that a job already has: a row of samples, of reconstructions.

Those of its end lie in `plots/`. Those of a job that has not ended are in the
events for TensorBoard, which are read here without TensorFlow.
"""

import dataclasses
import io
import struct

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image, UnidentifiedImageError

from trainer import stored
from trainer.comparison import earlier_pictures
from trainer.job_dir import layout
from trainer.pictures import layout as layout_lib

COLUMNS = 10
_RECONSTRUCTIONS, _SAMPLES = "reconstructions", "generated"
# As TensorBoard calls them.
_TAGS = {
    b"pictures/reconstructions": _RECONSTRUCTIONS,
    b"pictures/samples": _SAMPLES,
}
_FILE_BYTES, _EVENT_FILE_BYTES = 64 * 2**20, 256 * 2**20
_PIXELS = 64 * 2**20
_CRC_BYTES = 4
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_UINT32 = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Rows of images: uint8 arrays of shape (height, width, channels).

    None is what the job does not have.
    """

    samples: np.ndarray | None = None
    originals: np.ndarray | None = None
    reconstructions: np.ndarray | None = None


def read(job, image_shape, class_count=0):
    """Returns the `Pictures` of a job.

    Args:
        job: a `JobDir`.
        image_shape: (height, width, channels).
        class_count: int, how many classes its model is given; samples stand
            in a row for each of them then, of which the first is shown.

    Raises:
        OSError: something could not be looked at.
    """
    found = {}
    for name in (_SAMPLES, _RECONSTRUCTIONS):
        content = _file(job.plots / f"{name}.png", _FILE_BYTES)
        if content and (picture := _decoded(content)) is not None:
            found[name] = picture
    if len(found) < 2:
        found = {**_of_events(job), **found}
    samples = both = None
    if _SAMPLES in found:
        samples = _images(
            *found[_SAMPLES],
            image_shape,
            earlier_pictures.samples,
            class_count,
        )
    if _RECONSTRUCTIONS in found:
        both = _images(
            *found[_RECONSTRUCTIONS],
            image_shape,
            earlier_pictures.reconstructions,
        )
    if both is None or len(both) != 2:
        both = None, None
    if samples is not None:
        # The first image of each class, or the first of all.
        samples = samples[:, 0] if class_count else np.concatenate(samples)
    return Pictures(
        samples=_row(samples),
        originals=_row(both[0]),
        reconstructions=_row(both[1]),
    )


def _file(path, most):
    try:
        return stored.read_bytes(path, most)
    except (FileNotFoundError, NotADirectoryError, stored.UnreadableError):
        return None


def _decoded(content):
    """Returns the pixels of a PNG and its `Layout`; None if it is not ours.

    Pictures of earlier versions have None for a `Layout`.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height > _PIXELS:
                return None
            if image.mode not in ("L", "RGB"):
                return None
            pixels = np.asarray(image)
            text = image.text.get(layout_lib.KEY)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None
    except Image.DecompressionBombError:
        return None
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if text is None:
        return pixels, None
    layout = layout_lib.parse(text, pixels.shape)
    return layout and (pixels, layout)


def _images(pixels, layout, image_shape, of_earlier, *more):
    """Returns the images of a picture by row and column; None if not ours."""
    height, width, _ = image_shape
    if layout is None:
        return of_earlier(pixels, height, width, *more)
    if (layout.height, layout.width) != (height, width):
        return None
    return layout.images(pixels)


def _row(images):
    if images is None:
        return None
    return np.concatenate(list(images[:COLUMNS]), axis=1)


def _of_events(job):
    """Returns the last pictures in the events of a job, by name."""
    found = {}
    for folder in layout.RUNS:
        paths = sorted((job.root / folder).glob("events.out.tfevents.*"))
        for path in paths:
            content = _file(path, _EVENT_FILE_BYTES)
            for record in _records(content or b""):
                for tag, name in _TAGS.items():
                    if tag in record and (image := _image(record, tag)):
                        found[name] = image
    decoded = {name: _decoded(content) for name, content in found.items()}
    return {name: each for name, each in decoded.items() if each is not None}


def _records(content):
    """Yields the records of a TFRecord file, up to one that is not whole.

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    at = 0
    while at + _HEADER.size <= len(content):
        length, checksum = _HEADER.unpack_from(content, at)
        start, end = at + _HEADER.size, at + _HEADER.size + length
        if checksum != _masked(content[at : at + 8]) or end + _CRC_BYTES > len(
            content
        ):
            return
        record = content[start:end]
        if _CHECKSUM.unpack_from(content, end)[0] == _masked(record):
            yield record
        at = end + _CRC_BYTES


def _masked(content):
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _UINT32


def _image(record, tag):
    """Returns the PNG of an event of a tag; None if it has none."""
    from tensorboard.compat.proto import event_pb2

    event = event_pb2.Event()
    try:
        event.ParseFromString(record)
    except DecodeError:
        return None
    for value in event.summary.value:
        # Width, height, and the picture.
        strings = value.tensor.string_val
        if value.tag == tag.decode() and len(strings) > 2:
            return strings[2]
    return None
