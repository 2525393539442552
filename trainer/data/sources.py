"""Which dataset a job trains on, and where that is had from."""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from trainer import files, places
from trainer.data import idx, shared_folder, synthetic
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
        return _read_bucket(config, md5, console, stop)
    if config.data_dir:
        return idx.read_folder(config.data_dir, config.dataset, md5)
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
    return idx.read_folder(cache, "fashion_mnist", FASHION_MNIST_MD5)


def _read_bucket(config, md5, console, stop):
    """Returns the `Dataset` of the IDX files of a bucket.

    They are kept in a folder of this machine. A file is downloaded once: again
    only when its checksum differs.
    """
    # The client library takes most of a second to import.
    from trainer.job_dir.bucket import object_store
    from trainer.job_dir.bucket.download import download as download_objects

    store = object_store.ObjectStore(
        config.data_dir, config.storage_timeout_seconds, stop
    )
    names = {
        f"{name}{ending}"
        for name in FASHION_MNIST_MD5
        for ending in ("", ".gz")
    }
    objects = {
        name: info for name, info in store.list().items() if name in names
    }
    if not objects:
        raise DataUnavailableError(
            f"{store.url} holds no {next(iter(FASHION_MNIST_MD5))}.gz and none "
            "of the other IDX files; give the folder that has them with "
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
        return idx.read_folder(folder, config.dataset, md5)


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
