"""Pictures and datasets to measure on, drawn here."""

import hashlib

import google_crc32c
import numpy as np
from PIL import Image

from trainer.data import manifest
from trainer.data.manifest import FileInfo, Manifest, Split

_SHARD_BYTES = 64 << 20
_FOLDERS = 10
# Noise of so many pixels a side, enlarged, has edges as photographs do.
_COARSE_SIDE = 8
_TEST_RECORDS = 128


def draw_pictures(folder, count, side):
    """Writes JPEGs of soft shapes, in ten folders of classes.

    Args:
        folder: `pathlib.Path`, which is made.
        count: int, how many.
        side: int, of a picture, in pixels.
    """
    rng = np.random.default_rng(0)
    for label in range(_FOLDERS):
        (folder / str(label)).mkdir(parents=True)
    for number in range(count):
        coarse = rng.integers(0, 256, (_COARSE_SIDE, _COARSE_SIDE, 3), np.uint8)
        picture = Image.fromarray(coarse).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        label, name = number % _FOLDERS, f"{number:07d}.jpg"
        picture.save(folder / str(label) / name, quality=90)


def write_dataset(folder, shape, train_bytes, *, sparse):
    """Writes a dataset on disk of records that are alike; all sums are right.

    Args:
        folder: `pathlib.Path`, which is made.
        shape: (height, width, channels).
        train_bytes: int, about how many bytes the training images have.
        sparse: whether all pixels are 0, and the files take no room on the
            disk. Else a record is noise.
    """
    record = np.zeros(shape, np.uint8)
    if not sparse:
        record = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    per_shard = max(1, _SHARD_BYTES // record.size)
    splits = {
        "train": Split(max(1, train_bytes // record.size), per_shard, ()),
        "test": Split(_TEST_RECORDS, per_shard, ()),
    }
    sums = {}
    infos = {}
    for name, (array, dtype) in manifest.arrays(shape, (), splits).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        header = manifest.npy_header(array, dtype)
        if dtype == manifest.CRC:
            value = google_crc32c.value(record.tobytes())
            content = header + np.full(array, value, dtype).tobytes()
            path.write_bytes(content)
            sha256 = hashlib.sha256(content).hexdigest()
        else:
            # Shards of equal length are equal.
            if array not in sums:
                sums[array] = _sha256(header, record, array[0])
            sha256 = sums[array]
            _write_shard(path, header, record, array[0], sparse)
        infos[name] = FileInfo(path.stat().st_size, sha256)
    promised = Manifest(shape, (), splits, infos, {})
    (folder / manifest.NAME).write_bytes(promised.encode())


def _sha256(header, record, count):
    digest, content = hashlib.sha256(header), record.tobytes()
    for _ in range(count):
        digest.update(content)
    return digest.hexdigest()


def _write_shard(path, header, record, count, sparse):
    with path.open("wb") as file:
        file.write(header)
        if sparse:
            file.truncate(len(header) + count * record.size)
            return
        content = record.tobytes()
        for _ in range(count):
            file.write(content)
