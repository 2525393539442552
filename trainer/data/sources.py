"""Which dataset a job trains on, and where that is had from."""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from trainer import files, places
from trainer.data import (
    idx,
    images,
    manifest,
    prepared,
    shared_folder,
    synthetic,
)
from trainer.data.binarize import split_and_draw
from trainer.data.dataset import Dataset
from trainer.data.download import download
from trainer.errors import ConfigError, DataUnavailableError

# MD5 of the decompressed files, as published by Zalando Research:
# https://github.com/zalandoresearch/fashion-mnist
FASHION_MNIST_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
IDX_NAMES = tuple(FASHION_MNIST_MD5)
_FORMS_OF_IDX = ("fashion_mnist", "idx")


def load(config, console, stop, *, recorded_name=None):
    """Returns the `Dataset` that a config asks for.

    Args:
        config: a `TrainConfig`.
        console: a `Console`, for the download and warnings.
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
    if config.dataset == "auto" and recorded_name in _FORMS_OF_IDX:
        # What was found when the job began.
        config = dataclasses.replace(config, dataset=recorded_name)
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
    if not config.data_dir:
        # Without a folder that is the only one with files.
        return _read_cache(config, console, stop)
    if places.parse(config.data_dir).in_bucket:
        return _read_bucket(config, console, stop)
    folder = pathlib.Path(config.data_dir)
    if config.dataset in _FORMS_OF_IDX:
        return _read_idx(folder, config)
    is_prepared = (folder / manifest.NAME).exists() or (
        folder / manifest.UNFINISHED
    ).exists()
    if is_prepared or config.dataset == "prepared":
        return prepared.read(folder)
    if not folder.exists():
        raise DataUnavailableError(
            f"There is no folder {folder}; give that of the data with "
            "--data_dir."
        )
    if any(idx.find(folder, name) for name in IDX_NAMES):
        return _read_idx(folder, config)
    # Pillow, and what else decodes images.
    from trainer.data.preparing import automatic

    return prepared.read(automatic.prepare(folder, console, stop))


def _read_idx(folder, config):
    """Returns the `Dataset` of a folder of IDX files."""
    if config.dataset == "fashion_mnist":
        return _named(
            idx.read_folder(folder, "fashion_mnist", FASHION_MNIST_MD5)
        )
    data = idx.read_folder(folder, "idx")
    if config.dataset == "auto" and data.md5 == FASHION_MNIST_MD5:
        data = dataclasses.replace(data, name="fashion_mnist")
    return _named(data)


def _named(data):
    """Returns a `Dataset` with the names of its classes, where it is known."""
    if data.name == "idx":
        return data
    return dataclasses.replace(data, classes=synthetic.CLASS_NAMES)


def _read_cache(config, console, stop):
    """Returns Fashion-MNIST from the cache of Keras, fetched if need be."""
    cache = keras_cache()
    # Who finds everything needs no lock, nor to write there.
    if not all(idx.find(cache, name) for name in FASHION_MNIST_MD5):
        with shared_folder.hold(cache, console, stop):
            files.remove_unfinished(cache)
            for name, expected in FASHION_MNIST_MD5.items():
                if not idx.find(cache, name):
                    download(
                        config.data_url, name, expected, cache, console, stop
                    )
    return _named(idx.read_folder(cache, "fashion_mnist", FASHION_MNIST_MD5))


def _read_bucket(config, console, stop):
    """Returns the `Dataset` of a folder of a bucket.

    Its files are kept in a folder of this machine. A file is downloaded once:
    again only when its checksum differs.
    """
    # The client library takes most of a second to import.
    from trainer.job_dir.bucket import object_store
    from trainer.job_dir.bucket.download import download as download_objects

    store = object_store.ObjectStore(
        config.data_dir, config.storage_timeout_seconds, stop
    )
    listed = store.list()
    if config.dataset == "prepared" or (
        config.dataset == "auto" and manifest.NAME in listed
    ):
        return prepared.read_bucket(
            store, listed, config.cache_gib, console, stop
        )
    names = {f"{name}{ending}" for name in IDX_NAMES for ending in ("", ".gz")}
    objects = {name: info for name, info in listed.items() if name in names}
    if not objects:
        raise DataUnavailableError(
            f"{store.url} holds no {IDX_NAMES[0]}.gz, none of the other IDX "
            f"files and no {manifest.NAME}; give the folder that has them with "
            "--data_dir."
        )
    cache_name = places.parse(store.url).cache_name
    folder = places.cache_folder() / "data" / cache_name
    # Held until it is read: no other job removes a file in between.
    with shared_folder.hold(folder, console, stop):
        files.remove_unfinished(folder)
        for path in map(folder.joinpath, names):
            if not path.exists():
                continue
            if path.name not in objects:
                path.unlink()
            elif objects[path.name].crc32c == object_store.crc32c(
                path.read_bytes()
            ):
                del objects[path.name]
        download_objects(store, objects, folder, console)
        return _read_idx(folder, config)


def keras_cache():
    """Returns the folder where `keras.datasets.fashion_mnist` keeps files."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    return pathlib.Path(home) / "datasets" / "fashion-mnist"


def _synthetic(config):
    train_images, train_labels = synthetic.draw(
        "train", config.train_examples or synthetic.TRAIN_EXAMPLES
    )
    test_images, test_labels = synthetic.draw(
        "test", config.test_examples or synthetic.TEST_EXAMPLES
    )
    arrays = {
        f"train-{idx.IMAGES}": train_images,
        f"train-{idx.LABELS}": train_labels,
        f"t10k-{idx.IMAGES}": test_images,
        f"t10k-{idx.LABELS}": test_labels,
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
        classes=synthetic.CLASS_NAMES,
    )


def _first_examples(data, config, recorded_name):
    limits = {}
    for split in ("train", "test"):
        wanted = getattr(config, f"{split}_examples")
        available = len(getattr(data, f"{split}_images"))
        if wanted > available and not recorded_name:
            raise ConfigError(
                f"--{split}_examples={wanted} is more than the {available} "
                f"{split} images of {data.called}; give at most that, or 0 for "
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
        train_images=images.first(data.train_images, limits["train"]),
        test_images=images.first(data.test_images, limits["test"]),
        **labels,
    )
