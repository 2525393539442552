"""IDX files: from bytes to arrays, and a folder of them to a dataset."""

import gzip
import hashlib
import io
import math
import os
import pathlib
import zlib

import numpy as np

from trainer.data.dataset import Dataset
from trainer.errors import DataError, DataUnavailableError

# The ends of their names.
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
# What a gzip file may become: up to the first of these anything, beyond it so
# many times its own size. Images are packed to a half or a tenth; a file of
# zeros can be packed to a thousandth, and fill any memory.
_PLAUSIBLE_BYTES, _PLAUSIBLE_RATIO = 1 << 30, 64
_LONGEST_HEADER = 16


def read_folder(folder, dataset_name, published=None):
    """Reads a folder of IDX files, raw or gzipped.

    Args:
        folder: holds `train-images-idx3-ubyte` and `t10k-images-idx3-ubyte`,
            and beside them the labels, each raw or with `.gz`.
        dataset_name: the `name` of the result.
        published: dict of `PublishedFile` by name; then all four files must be
            there, and be those. None: any IDX folder, labels optional.

    Returns:
        A `Dataset`.

    Raises:
        DataUnavailableError: the folder or a file is missing.
        DataError: a file is damaged, or is not what it should be.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise DataUnavailableError(
            f"There is no folder {folder}; give the folder of the IDX files "
            "with --data_dir."
        )
    arrays, found_md5 = {}, {}
    for split in ("train", "t10k"):
        for kind in (IMAGES, LABELS):
            name = f"{split}-{kind}"
            expected = published and published[name]
            path = find(folder, name, expected)
            if path is None:
                if kind == LABELS and published is None:
                    arrays[name] = None
                    continue
                raise DataUnavailableError(
                    f"{folder} holds no {_names_of(name, expected)}; give the "
                    "folder of the IDX files with --data_dir."
                )
            stored = _read_stored(path)
            content = decompress(stored, path)
            found_md5[name] = hashlib.md5(content).hexdigest()
            if expected and (fault := expected.fault_of(stored, content)):
                # Most often the file is cut or is no IDX at all, and saying
                # so helps more than a checksum.
                parse_idx(content, path)
                raise DataError(
                    f"{path} {fault}; delete it and fetch it again, or use "
                    "--dataset=idx for data of your own."
                )
            arrays[name] = parse_idx(content, path)
        _check_split(folder, split, arrays)
    train, test = (arrays[f"{split}-{IMAGES}"] for split in ("train", "t10k"))
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{folder}: training images are {train.shape[1:]} pixels but test "
            f"images are {test.shape[1:]}; they must be alike."
        )
    return _dataset(dataset_name, arrays, found_md5)


def read_npz(path, dataset_name, published):
    """Reads the images of IDX files from an `.npz` file of Keras.

    Args:
        path: `pathlib.Path`.
        dataset_name: the `name` of the result.
        published: the `PublishedFile` that it must be.

    Returns:
        A `Dataset`, whose MD5s are those of the IDX files of its arrays.

    Raises:
        DataError: it is another file.
    """
    stored = _read_stored(path)
    if fault := published.fault_of(stored, stored):
        raise DataError(f"{path} {fault}; delete it and fetch it again.")
    arrays, found_md5 = {}, {}
    with np.load(io.BytesIO(stored), allow_pickle=False) as file:
        for split, prefix in (("train", "train"), ("t10k", "test")):
            for kind, key in ((IMAGES, "x"), (LABELS, "y")):
                array = file[f"{key}_{prefix}"]
                header = bytes([0, 0, 8, array.ndim])
                header += np.array(array.shape, ">i4").tobytes()
                name = f"{split}-{kind}"
                arrays[name] = array
                found_md5[name] = hashlib.md5(
                    header + array.tobytes()
                ).hexdigest()
    return _dataset(dataset_name, arrays, found_md5)


def _dataset(name, arrays, md5):
    return Dataset(
        name=name,
        train_images=arrays[f"train-{IMAGES}"][..., np.newaxis],
        test_images=arrays[f"t10k-{IMAGES}"][..., np.newaxis],
        train_labels=arrays[f"train-{LABELS}"],
        test_labels=arrays[f"t10k-{LABELS}"],
        md5=md5,
    )


def find(folder, name, published=None):
    """Returns the path of `name` or `name`.gz in `folder`, or None.

    Args:
        folder: str or path.
        name: str, that of the decompressed file.
        published: the `PublishedFile` that is looked for, which may be known
            by its form as it is downloaded only; None for any.
    """
    for each in _forms_of(name, published):
        path = pathlib.Path(folder) / each
        if path.is_file():
            return path
    return None


def _forms_of(name, published):
    if published and not published.md5:
        return [f"{name}.gz"]
    return [name, f"{name}.gz"]


def _names_of(name, published):
    return " and no ".join(_forms_of(name, published))


def read_bytes(path):
    """Returns the decompressed content of a raw or gzipped file.

    Raises:
        DataError: as `decompress`, or it does not fit into memory.
    """
    path = pathlib.Path(path)
    return decompress(_read_stored(path), path)


def _read_stored(path):
    """Returns the bytes of a file, which must fit into memory."""
    _refuse_beyond(_memory_bytes(), path.stat().st_size, path)
    return path.read_bytes()


def decompress(content, path):
    """Returns gzipped `content` decompressed, and raw content as it is.

    No more is read of the gzip than the IDX header in it promises.

    Args:
        content: bytes.
        path: as for `parse_idx`.

    Raises:
        DataError: the gzip is damaged, holds no IDX file, or would become
            larger than images and memory allow; or it is a web page.
    """
    if content.lstrip()[:1] == b"<":
        raise DataError(
            f"{path} is a web page, not an IDX file; a proxy or a log-in page "
            "may have answered in place of the server. Fetch it again."
        )
    if content[:2] == b"\x1f\x8b":
        try:
            return _unpack(content, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path} is a damaged gzip file ({error}); fetch it again."
            ) from error
    if str(path).endswith(".gz"):
        raise DataError(
            f"{path} is not a gzip file (it starts with "
            f"{content[:4].hex(' ') or 'nothing: it is empty'}); fetch it "
            "again."
        )
    return content


def parse_idx(content, path):
    """Returns the uint8 array in the bytes of an IDX file.

    The format: two zero bytes, a type byte (8 = unsigned byte), the number of
    dimensions, each dimension as a big-endian int32, and the values in C
    order. See http://yann.lecun.com/exdb/mnist/.

    Args:
        content: bytes of the decompressed file.
        path: what to call the file in errors. Its name ends in `idx3-ubyte`
            (images, shape (N, height, width)) or `idx1-ubyte` (labels, (N,)).

    Raises:
        DataError: the bytes are not such a file.
    """
    header_bytes, shape = _read_header(content, path)
    size = math.prod(shape)
    if len(content) < header_bytes or len(content) - header_bytes != size:
        raise DataError(
            f"{path} holds {max(len(content) - header_bytes, 0)} bytes of "
            f"values, but its header promises {size} (shape {shape}); fetch it "
            "again."
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def _read_header(content, path):
    """Returns the length of an IDX file's header, and the shape it promises."""
    dimensions = 3 if IMAGES in str(path) else 1
    expected = bytes([0, 0, 8, dimensions])
    if content[:4] != expected:
        raise DataError(
            f"{path} is not an IDX file of {dimensions} dimensions (it starts "
            f"with {content[:4].hex(' ') or 'nothing'}, expected "
            f"{expected.hex(' ')}); fetch it again."
        )
    header_bytes = 4 + 4 * dimensions
    # Python integers cannot overflow: a hostile header is only a wrong one.
    shape = tuple(
        int.from_bytes(content[at : at + 4], "big")
        for at in range(4, header_bytes, 4)
    )
    return header_bytes, shape


def _unpack(content, path):
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        head = file.read(_LONGEST_HEADER)
        header_bytes, shape = _read_header(head, path)
        promised = header_bytes + math.prod(shape)
        plausible = max(_PLAUSIBLE_BYTES, _PLAUSIBLE_RATIO * len(content))
        _refuse_beyond(min(plausible, _memory_bytes()), promised, path)
        # One more, which is not there: the end is reached, and checked.
        unpacked = head + file.read(max(promised - len(head), 0) + 1)
    if len(unpacked) > promised:
        raise DataError(
            f"{path} holds more than the {promised - header_bytes} bytes of "
            f"values that its header promises (shape {shape}); fetch it again."
        )
    return unpacked


def _refuse_beyond(limit, size, path):
    if size > limit:
        raise DataError(
            f"{path} would take {size:,} bytes of memory, and {limit:,} are "
            "plausible for such a file and can be had on this machine; fetch "
            "it again, or give a smaller one."
        )


def _memory_bytes():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check_split(folder, split, arrays):
    images = arrays[f"{split}-{IMAGES}"]
    labels = arrays[f"{split}-{LABELS}"]
    if labels is not None and len(labels) != len(images):
        raise DataError(
            f"{folder}: {split}-{IMAGES} holds {len(images)} images but "
            f"{split}-{LABELS} holds {len(labels)} labels; they must be equal."
        )
    if images.size == 0:
        raise DataError(f"{folder}: {split}-{IMAGES} holds no images.")
    height, width = images.shape[1:]
    if height % 4 or width % 4:
        raise DataError(
            f"{folder}: {split}-{IMAGES} holds images of {height}x{width} "
            "pixels; both sides must be divisible by 4, since the encoder "
            "halves them twice. Pad or crop them."
        )
