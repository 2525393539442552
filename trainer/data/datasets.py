"""Bytes: finds, downloads, verifies and reads Fashion-MNIST and IDX folders."""

import dataclasses
import gzip
import hashlib
import os
import pathlib
import zlib

import numpy as np

from trainer import files, places
from trainer.data import synthetic
from trainer.data.binarize import split_and_draw
from trainer.errors import ConfigError, DataError, DataUnavailableError
from trainer.job_dir.job_dir import cache_folder

# MD5 of the decompressed files, as published by Zalando Research:
# https://github.com/zalandoresearch/fashion-mnist
FASHION_MNIST_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS = 10, 20
_CHUNK_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels in memory.

    Attributes:
        name: which dataset it is.
        train_images: uint8 of shape (N, height, width, 1).
        test_images: uint8 of shape (M, height, width, 1).
        train_labels: uint8 of shape (N,), or None. Training ignores them.
        test_labels: uint8 of shape (M,), or None.
        md5: MD5 of each decompressed file, by name.
        validation_images: uint8 of shape (K, height, width, 1), which are no
            training images then, or None.
    """

    name: str
    train_images: np.ndarray
    test_images: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    md5: dict[str, str]
    validation_images: np.ndarray | None = None

    @property
    def image_shape(self):
        """(height, width, 1)."""
        return self.train_images.shape[1:]

    def description(self):
        """Returns what a job's record says of the data, as JSON values."""
        return {
            "name": self.name,
            "train_examples": len(self.train_images),
            "test_examples": len(self.test_images),
            "image_shape": list(self.image_shape),
            "md5": self.md5,
        }

    @property
    def held_out(self):
        """The split that a training is watched on.

        That is the validation set, where there is one, so that nothing is
        chosen by the test set.
        """
        return "test" if self.validation_images is None else "validation"

    @property
    def held_out_images(self):
        """The images of that split."""
        return getattr(self, f"{self.held_out}_images")

    @property
    def class_names(self):
        """Names of the classes, by label; of an IDX folder, the numbers.

        Empty where there are no labels.
        """
        if self.name != "idx":
            return synthetic.CLASS_NAMES
        if self.train_labels is None or self.test_labels is None:
            return ()
        # As a Python integer: 255 + 1 is 0 in uint8.
        largest = int(max(self.train_labels.max(), self.test_labels.max()))
        return tuple(map(str, range(largest + 1)))


def load(config, console, stop, *, recorded_name=None):
    """Returns the `Dataset` that a config asks for.

    Args:
        config: a `TrainConfig`.
        console: a `progress.Console`, for the download and warnings.
        stop: a `StopSignal`, checked during the download.
        recorded_name: what the job directory says the job trains on. A
            resumed job uses that, or stops. When it has fewer examples than
            it had, that is for the job's record to say, not for a flag.

    Raises:
        DataUnavailableError: the data cannot be had.
        DataError: a file is not what it should be.
        ConfigError: more examples were asked for than there are, or there
            are too few.
    """
    data = _find(config, console, stop, recorded_name)
    data = _first_examples(data, config, recorded_name)
    return split_and_draw(data) if config.binarize == "dynamic" else data


def check_folder(config, recorded_name):
    """Refuses a folder of files for a job that trains on drawn images.

    Args:
        config: a `TrainConfig`.
        recorded_name: what the job is recorded to train on.

    Raises:
        ConfigError: there is such a folder.
    """
    if recorded_name == "synthetic" and config.data_dir:
        raise ConfigError(
            f"--data_dir={config.data_dir} was given, but this job trains on "
            "synthetic images, since the real ones could not be had when it "
            "began; leave --data_dir out to go on with those, or give another "
            "--job_dir."
        )


def _find(config, console, stop, recorded_name):
    if "synthetic" in (config.dataset, recorded_name):
        return _synthetic(config)
    try:
        return _load_files(config, console, stop)
    except DataUnavailableError as error:
        # Nothing stands in for a folder that the user named.
        if (
            config.dataset_fallback == "none"
            or config.data_dir
            or recorded_name
        ):
            raise
        console.warning(
            f"{error} Training on SYNTHETIC images instead "
            "(--dataset_fallback=synthetic): the losses do not compare with "
            "Fashion-MNIST."
        )
        return _synthetic(config)


def _load_files(config, console, stop):
    md5 = None if config.dataset == "idx" else FASHION_MNIST_MD5
    if config.data_dir and places.parse(config.data_dir).in_bucket:
        folder = _copy_of_bucket(config, console)
        return read_folder(folder, config.dataset, md5)
    if config.data_dir:
        return read_folder(config.data_dir, config.dataset, md5)
    cache = keras_cache()
    missing = [name for name in FASHION_MNIST_MD5 if not find(cache, name)]
    for name in missing:
        download(config.data_url, name, cache, console, stop)
    return read_folder(cache, "fashion_mnist", FASHION_MNIST_MD5)


def _copy_of_bucket(config, console):
    """Returns a folder of this machine with the IDX files of a bucket.

    A file is downloaded once: again only when its checksum differs.
    """
    # The client library takes most of a second to import.
    from trainer.job_dir.bucket import mirror, object_store

    store = object_store.ObjectStore(
        config.data_dir, config.storage_timeout_seconds
    )
    folder = cache_folder() / "data" / places.parse(store.url).cache_name
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        f"{name}{ending}"
        for name in FASHION_MNIST_MD5
        for ending in ("", ".gz")
    }
    objects = {
        name: info for name, info in store.list().items() if name in names
    }
    for path in folder.iterdir():
        info = objects.get(path.name)
        if info and info.crc32c == object_store.crc32c(path.read_bytes()):
            del objects[path.name]
        else:
            path.unlink()
    mirror.download(store, objects, folder, console)
    return folder


def keras_cache():
    """Returns the folder where `keras.datasets.fashion_mnist` keeps files."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    return pathlib.Path(home) / "datasets" / "fashion-mnist"


def read_folder(folder, dataset_name, md5=None):
    """Reads a folder of IDX files, raw or gzipped.

    Args:
        folder: holds `train-images-idx3-ubyte` and `t10k-images-idx3-ubyte`,
            and beside them the labels, each raw or with `.gz`.
        dataset_name: the `name` of the result.
        md5: expected MD5 of each decompressed file, by name; then all four
            files must be there. None: any IDX folder, labels optional.

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
        for kind in (_IMAGES, _LABELS):
            name = f"{split}-{kind}"
            path = find(folder, name)
            if path is None:
                if kind == _LABELS and md5 is None:
                    arrays[name] = None
                    continue
                raise DataUnavailableError(
                    f"{folder} holds no {name} and no {name}.gz; give the "
                    "folder of the IDX files with --data_dir."
                )
            content = read_bytes(path)
            found_md5[name] = hashlib.md5(content).hexdigest()
            if md5 is not None and found_md5[name] != md5[name]:
                # Most often the file is cut or is no IDX at all, and saying
                # so helps more than a checksum.
                parse_idx(content, path)
                raise DataError(
                    f"{path} has the wrong checksum (MD5 of the decompressed "
                    f"file: found {found_md5[name]}, expected {md5[name]}); "
                    "delete it and fetch it again, or use --dataset=idx for "
                    "data of your own."
                )
            arrays[name] = parse_idx(content, path)
        _check_split(folder, split, arrays)
    train, test = (arrays[f"{split}-{_IMAGES}"] for split in ("train", "t10k"))
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"{folder}: training images are {train.shape[1:]} pixels but test "
            f"images are {test.shape[1:]}; they must be alike."
        )
    return Dataset(
        name=dataset_name,
        train_images=train[..., np.newaxis],
        test_images=test[..., np.newaxis],
        train_labels=arrays[f"train-{_LABELS}"],
        test_labels=arrays[f"t10k-{_LABELS}"],
        md5=found_md5,
    )


def find(folder, name):
    """Returns the path of `name` or `name`.gz in `folder`, or None."""
    for path in (
        pathlib.Path(folder) / name,
        pathlib.Path(folder) / f"{name}.gz",
    ):
        if path.is_file():
            return path
    return None


def read_bytes(path):
    """Returns the decompressed content of a raw or gzipped file.

    Raises:
        DataError: the gzip is damaged, or the file is a web page.
    """
    content = pathlib.Path(path).read_bytes()
    return decompress(content, path)


def decompress(content, path):
    """Returns gzipped `content` decompressed, and raw content as it is.

    Raises:
        DataError: the gzip is damaged, or the content is a web page.
    """
    if content.lstrip()[:1] == b"<":
        raise DataError(
            f"{path} is a web page, not an IDX file; a proxy or a log-in page "
            "may have answered in place of the server. Fetch it again."
        )
    if content[:2] == b"\x1f\x8b":
        try:
            return gzip.decompress(content)
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
    dimensions = 3 if _IMAGES in str(path) else 1
    expected = bytes([0, 0, 8, dimensions])
    if content[:4] != expected:
        raise DataError(
            f"{path} is not an IDX file of {dimensions} dimensions (it starts "
            f"with {content[:4].hex(' ') or 'nothing'}, expected "
            f"{expected.hex(' ')}); fetch it again."
        )
    header_bytes = 4 + 4 * dimensions
    shape = tuple(
        int.from_bytes(content[at : at + 4], "big")
        for at in range(4, header_bytes, 4)
    )
    # Python integers cannot overflow: a hostile header is only a wrong one.
    size = 1
    for length in shape:
        size *= length
    if len(content) < header_bytes or len(content) - header_bytes != size:
        raise DataError(
            f"{path} holds {max(len(content) - header_bytes, 0)} bytes of "
            f"values, but its header promises {size} (shape {shape}); fetch it "
            "again."
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def download(url, name, folder, console, stop):
    """Downloads `url`/`name`.gz into `folder`, verified, whole or not at all.

    Raises:
        DataUnavailableError: the server cannot be reached or says no.
        DataError: what came is not the file that was published.
    """
    # Imported here: most runs download nothing.
    import requests

    address = f"{url.rstrip('/')}/{name}.gz"
    try:
        content = _fetch(requests, address, name, console, stop)
    except requests.RequestException as error:
        raise DataUnavailableError(
            f"Could not download {address} ({_reason(error)}); check the "
            "network, or give a folder that has the files with --data_dir."
        ) from error
    found = hashlib.md5(decompress(content, address)).hexdigest()
    if found != FASHION_MNIST_MD5[name]:
        raise DataError(
            f"{address} has the wrong checksum (MD5 of the decompressed file: "
            f"found {found}, expected {FASHION_MNIST_MD5[name]}); nothing was "
            "kept. Try another --data_url."
        )
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(folder)
    files.write_atomically(folder / f"{name}.gz", content)


def _fetch(requests, address, name, console, stop):
    # The largest file is 26 MB: memory is a fine place for an unverified one.
    content = bytearray()
    with requests.get(
        address,
        stream=True,
        timeout=(_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS),
        headers={"Accept-Encoding": "identity"},
    ) as response:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0))
        with console.byte_bar(f"Downloading {name}", total) as advance:
            for chunk in response.iter_content(_CHUNK_BYTES):
                stop.check()
                content += chunk
                advance(len(chunk))
        if total and len(content) != total:
            raise requests.ConnectionError(
                f"the connection was cut after {len(content)} of {total} bytes"
            )
    return bytes(content)


def _reason(error):
    """The innermost reason: requests and urllib3 nest theirs deeply."""
    reason = error
    while reason.args and isinstance(reason.args[-1], BaseException):
        reason = reason.args[-1]
    inner = getattr(reason, "reason", None)
    return str(inner) if isinstance(inner, BaseException) else str(reason)


def _check_split(folder, split, arrays):
    images = arrays[f"{split}-{_IMAGES}"]
    labels = arrays[f"{split}-{_LABELS}"]
    if labels is not None and len(labels) != len(images):
        raise DataError(
            f"{folder}: {split}-{_IMAGES} holds {len(images)} images but "
            f"{split}-{_LABELS} holds {len(labels)} labels; they must be equal."
        )
    if images.size == 0:
        raise DataError(f"{folder}: {split}-{_IMAGES} holds no images.")
    height, width = images.shape[1:]
    if height % 4 or width % 4:
        raise DataError(
            f"{folder}: {split}-{_IMAGES} holds images of {height}x{width} "
            "pixels; both sides must be divisible by 4, since the encoder "
            "halves them twice. Pad or crop them."
        )


def _synthetic(config):
    train_images, train_labels = synthetic.draw(
        "train", config.train_examples or synthetic.TRAIN_EXAMPLES
    )
    test_images, test_labels = synthetic.draw(
        "test", config.test_examples or synthetic.TEST_EXAMPLES
    )
    arrays = {
        f"train-{_IMAGES}": train_images,
        f"train-{_LABELS}": train_labels,
        f"t10k-{_IMAGES}": test_images,
        f"t10k-{_LABELS}": test_labels,
    }
    return Dataset(
        name="synthetic",
        train_images=train_images[..., np.newaxis],
        test_images=test_images[..., np.newaxis],
        train_labels=train_labels,
        test_labels=test_labels,
        md5={
            name: hashlib.md5(array.tobytes()).hexdigest()
            for name, array in arrays.items()
        },
    )


def _first_examples(data, config, recorded_name):
    limits = {}
    for split in ("train", "test"):
        wanted = getattr(config, f"{split}_examples")
        available = len(getattr(data, f"{split}_images"))
        if wanted > available and not recorded_name:
            raise ConfigError(
                f"--{split}_examples={wanted} is more than the {available} "
                f"{split} images of {data.name}; give at most that, or 0 for "
                "all."
            )
        limits[split] = wanted or available
    labels = {
        f"{split}_labels": None
        if getattr(data, f"{split}_labels") is None
        else getattr(data, f"{split}_labels")[: limits[split]]
        for split in limits
    }
    return dataclasses.replace(
        data,
        train_images=data.train_images[: limits["train"]],
        test_images=data.test_images[: limits["test"]],
        **labels,
    )
