"""Puts the chunks together: splits, shards, labels, checksums."""

import array
import contextlib
import dataclasses
import hashlib
import os

import google_crc32c
import numpy as np

from trainer import files
from trainer.data import manifest
from trainer.data.manifest import SPLITS, FileInfo, Split
from trainer.data.preparing import chunks
from trainer.data.preparing.listing import ANY_SPLIT
from trainer.errors import DataError

SHARD_BYTES = 64 << 20
_SHARE_BYTES = 8


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is in all chunks, but for the pixels.

    Attributes:
        splits: int8 array of shape (N,): the index in `SPLITS` of each image
            of the source; -1 for those that cannot be used.
        channels: int, 1 or 3, of the dataset.
        bad: list of (index, reason), the first ones of those.
        bad_count: int, how many there are.
        contents: str, SHA-256 of the SHA-256 of all images that are used.
    """

    splits: np.ndarray
    channels: int
    bad: list
    bad_count: int
    contents: str

    @property
    def has_training_images(self):
        """Whether there is one."""
        return bool((self.splits == SPLITS.index("train")).any())


def survey(folder, listed, settings, bad_kept, stop):
    """Returns a `Survey` of the chunks of a source.

    Args:
        folder: str, where the chunks are.
        listed: a `Listing`.
        settings: a `Settings`.
        bad_kept: int, how many images that cannot be used are named.
        stop: a `StopSignal`.
    """
    size = chunks.records_per_chunk(settings)
    splits = np.full(len(listed), ANY_SPLIT, np.int8)
    there = set(np.unique(listed.splits).tolist()) - {ANY_SPLIT}
    channels, bad, bad_count, contents = 1, [], 0, hashlib.sha256()
    for number in range(-(-len(listed) // size)):
        stop.check()
        chunk = _whole(folder, number, settings, with_images=False)
        indices = number * size + chunk.positions
        splits[indices] = _drawn(
            listed.splits[indices], chunk.digests, there, settings
        )
        if len(indices):
            channels = max(channels, chunk.channels)
        room = bad_kept - len(bad)
        bad += [(number * size + at, why) for at, why in chunk.bad[:room]]
        bad_count += len(chunk.bad)
        contents.update(chunk.digests.tobytes())
    return Survey(
        splits, settings.channels or channels, bad, bad_count,
        contents.hexdigest(),
    )  # fmt: skip


def _drawn(recorded, digests, there, settings):
    """Returns the split of each image, by the hash of its content.

    Those of the training images go to a split that the source does not have.
    Equal images go to the same one, and where an image goes does not depend
    on the others.
    """
    train, validation, test = range(len(SPLITS))
    draws = digests[:, :_SHARE_BYTES].copy().view(">u8")[:, 0] / 2.0**64
    free = (recorded == ANY_SPLIT) | (recorded == train)
    splits = np.where(free, train, recorded).astype(np.int8)
    test_share = 0 if test in there else settings.test_share
    validation_share = 0 if validation in there else settings.validation_share
    splits[free & (draws < test_share + validation_share)] = validation
    splits[free & (draws < test_share)] = test
    return splits


def assemble(folder, target, listed, settings, found, console, stop):
    """Writes the files of all splits.

    Args:
        folder: str, where the chunks are.
        target: `pathlib.Path` of the dataset.
        listed: a `Listing`.
        settings: a `Settings`.
        found: a `Survey`.
        console: a `Console`, for the progress.
        stop: a `StopSignal`.

    Returns:
        (image_shape, splits, files) as `Manifest` has them.
    """
    shape = (*settings.size, found.channels)
    record_bytes = shape[0] * shape[1] * shape[2]
    per_shard = max(1, SHARD_BYTES // record_bytes)
    splits, writers, infos = {}, {}, {}
    files.remove_unfinished(target)
    for index, name in enumerate(SPLITS):
        (members,) = np.nonzero(found.splits == index)
        if not len(members):
            continue
        labels = None if listed.labels is None else listed.labels[members]
        by_class = ()
        if labels is not None:
            counts = np.bincount(labels, minlength=len(listed.class_names))
            by_class = tuple(counts.tolist())
        splits[name] = Split(len(members), per_shard, by_class)
        (target / name).mkdir(exist_ok=True)
        files.remove_unfinished(target / name)
        writers[index] = _ShardWriter(target, name, splits[name], shape, infos)
        if labels is not None:
            name_of_labels = manifest.labels_name(name)
            infos[name_of_labels] = _write_array(
                target / name_of_labels, labels.astype(manifest.LABEL)
            )
    size = chunks.records_per_chunk(settings)
    total = sum(split.count for split in splits.values())
    with (
        contextlib.ExitStack() as stack,
        console.image_bar("Writing", total) as advance,
    ):
        for writer in writers.values():
            stack.callback(writer.abandon)
        for number in range(-(-len(listed) // size)):
            stop.check()
            chunk = _whole(folder, number, settings)
            belongs = found.splits[number * size + chunk.positions]
            images = chunk.images
            if images.shape[-1] != found.channels:
                images = np.broadcast_to(images, (len(images), *shape))
            for index, writer in writers.items():
                writer.write(images[belongs == index])
            advance(len(images))
    for index, writer in writers.items():
        name = manifest.crc32c_name(SPLITS[index])
        infos[name] = _write_array(
            target / name, np.array(writer.crc32c, manifest.CRC)
        )
    order = manifest.arrays(shape, listed.class_names, splits)
    return shape, splits, {name: infos[name] for name in order}


class _ShardWriter:
    """Writes the images of a split into shards, each whole or not at all."""

    def __init__(self, target, name, split, shape, infos):
        self._target, self._name, self._split = target, name, split
        self._shape, self._infos = shape, infos
        self._shard = self._written = 0
        self._file = self._path = self._sha256 = None
        self.crc32c = array.array("I")

    def write(self, images):
        """Writes uint8 images of shape (n, height, width, channels)."""
        start = 0
        while start < len(images):
            if self._file is None:
                self._begin()
            left = self._split.records_in(self._shard) - self._written
            part = np.ascontiguousarray(images[start : start + left])
            content = part.tobytes()
            self._put(content)
            size = len(content) // len(part)
            self.crc32c.extend(
                google_crc32c.value(content[at : at + size])
                for at in range(0, len(content), size)
            )
            self._written += len(part)
            start += len(part)
            if self._written == self._split.records_in(self._shard):
                self._end()

    def abandon(self):
        """Removes a file that is not whole."""
        if self._file is not None:
            self._file.close()
            os.unlink(self._path)
            self._file = None

    def _begin(self):
        name = manifest.shard_name(self._name, self._shard, self._split.shards)
        final = self._target / name
        self._path = final.with_name(f"{files.TEMPORARY_PREFIX}{final.name}")
        self._file, self._sha256 = self._path.open("wb"), hashlib.sha256()
        count = self._split.records_in(self._shard)
        self._put(manifest.npy_header((count, *self._shape), np.dtype("u1")))

    def _put(self, content):
        self._file.write(content)
        self._sha256.update(content)

    def _end(self):
        self._file.close()
        self._file = None
        name = manifest.shard_name(self._name, self._shard, self._split.shards)
        info = FileInfo(self._path.stat().st_size, self._sha256.hexdigest())
        files.publish(self._path, self._target / name)
        self._infos[name] = info
        self._shard, self._written = self._shard + 1, 0


def _write_array(path, values):
    header = manifest.npy_header(values.shape, values.dtype)
    content = header + values.tobytes()
    files.write_atomically(path, content)
    return FileInfo(len(content), hashlib.sha256(content).hexdigest())


def _whole(folder, number, settings, with_images=True):
    chunk = chunks.read(folder, number, settings, with_images=with_images)
    if chunk is None:
        raise DataError(
            f"{chunks.path_of(folder, number)} was whole a moment ago and is "
            "not any more; check the disk, and run the same command again."
        )
    return chunk
