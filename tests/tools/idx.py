"""Data in the form of IDX files, as Fashion-MNIST publishes its own."""

import dataclasses
import gzip
import hashlib
from unittest import mock

import numpy as np

from trainer.named_datasets import NAMED, PublishedFile


def idx_bytes(array):
    """Returns the content of an IDX file of bytes that holds an array."""
    header = bytes([0, 0, 8, array.ndim])
    return (
        header
        + b"".join(n.to_bytes(4, "big") for n in array.shape)
        + (array.astype(np.uint8).tobytes())
    )


def write_idx_folder(folder, train=6, test=4, side=8, compress=True):
    """Writes a whole IDX folder; returns its MD5s."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    md5 = {}
    for split, count in (("train", train), ("t10k", test)):
        for kind, shape in (
            ("images-idx3-ubyte", (count, side, side)),
            ("labels-idx1-ubyte", (count,)),
        ):
            content = idx_bytes(rng.integers(0, 256, shape))
            name = f"{split}-{kind}"
            md5[name] = hashlib.md5(content).hexdigest()
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return md5


def published(md5):
    """Returns a `PublishedFile` for each MD5 of a decompressed file."""
    return {
        name: PublishedFile(1 << 20, md5=each) for name, each in md5.items()
    }


def known_as(name, **changed):
    """Patches what is known of a dataset with a name.

    Args:
        name: str, one of `NAMED`.
        **changed: fields of its `NamedDataset`.
    """
    return mock.patch.dict(
        NAMED, {name: dataclasses.replace(NAMED[name], **changed)}
    )
