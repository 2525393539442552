"""The test set in latent space, for TensorBoard's Projector."""

import math

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.projector import metadata
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from trainer import files
from trainer.data import images as images_lib
from trainer.model import inference
from trainer.pictures import grids, png

# More than these, and larger ones, would be too much for a browser.
_POINTS = 10_000
_THUMBNAIL_PIXELS = 28
_BLOCK_IMAGES = 500
_NAME = "posterior_mean"


def save(run, vae, data, console, stop, labels=None):
    """Writes the posterior means of the test images, and what to show there.

    Of 10,000 images and 200 latent units that is 8 MB of means and, for
    Fashion-MNIST, 4.1 MB of pictures.

    Args:
        run: `pathlib.Path` of a folder that TensorBoard takes for a run.
        vae: a `trainer.model.vae.VAE`.
        data: a `Dataset`; its first 10,000 test images are used.
        console: a `progress.Console`.
        stop: a `StopSignal`.
        labels: of the test images, for a model that takes them.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    folder = run / "projector"
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(run)
    files.remove_unfinished(folder)
    images = images_lib.first(data.test_images, _POINTS)
    thumbnails = _thumbnails(images)
    with console.image_bar("Encoding", len(images)) as advance:
        means = inference.encode_many(
            vae, images, stop, advance, inference.some(labels, slice(_POINTS))
        ).astype("<f4")
    config = ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name=_NAME,
        tensor_shape=means.shape,
        # TensorBoard finds them from where the config is.
        tensor_path="projector/posterior_means.bytes",
        metadata_path="projector/metadata.tsv",
    )
    embedding.sprite.image_path = "projector/sprite.png"
    _, height, width, _ = thumbnails.shape
    embedding.sprite.single_image_dim.extend([width, height])
    for path, content in {
        embedding.tensor_path: _tensor_bytes(means),
        embedding.metadata_path: _metadata(data, len(images)).encode(),
        embedding.sprite.image_path: _sprite(thumbnails),
        # The last one: it names the others.
        metadata.PROJECTOR_FILENAME: text_format.MessageToBytes(config),
    }.items():
        stop.check()
        files.write_atomically(run / path, content)


def _tensor_bytes(means):
    """Returns float32 values as TensorBoard reads them."""
    content = bytearray(means.tobytes())
    # It first takes any file for text, and fails if that begins well. This
    # byte never begins a character; it changes one value by 1 in 65,000.
    content[0] = 0x80
    return bytes(content)


def _metadata(data, count):
    """Returns a line for each point: its class, if known, and its index."""
    if data.test_labels is None:
        return "".join(f"{index}\n" for index in range(count))
    names = data.class_names
    return "class\ttest image\n" + "".join(
        f"{names[label]}\t{index}\n"
        for index, label in enumerate(data.test_labels[:count])
    )


def _thumbnails(images):
    """Returns images of the same channels, no side above 28 pixels.

    All of them take 24 MB, however large the images are.
    """
    count, height, width, channels = images.shape
    scale = min(_THUMBNAIL_PIXELS / max(height, width), 1)
    if scale == 1:
        return images[:]
    size = [max(round(side * scale), 1) for side in (height, width)]
    thumbnails = np.empty((count, *size, channels), np.uint8)
    for start in range(0, count, _BLOCK_IMAGES):
        block = images[start : start + _BLOCK_IMAGES]
        small = tf.image.resize(block, size, method="area")
        thumbnails[start : start + len(block)] = tf.cast(
            tf.round(small), tf.uint8
        )
    return thumbnails


def _sprite(thumbnails):
    """Returns a PNG of all thumbnails, row by row in a square."""
    columns = math.ceil(math.sqrt(len(thumbnails)))
    cells = np.zeros((columns**2, *thumbnails.shape[1:]), np.uint8)
    cells[: len(thumbnails)] = thumbnails
    return png.encode(grids.tile(cells, columns))
