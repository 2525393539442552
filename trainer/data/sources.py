"""Which dataset a job trains on, and where that is had from."""

import dataclasses
import hashlib
import pathlib

import numpy as np

from trainer import files, places
from trainer.data import (
    idx,
    images,
    manifest,
    named,
    prepared,
    shared_folder,
    synthetic,
    validation,
)
from trainer.data.binarize import split_and_draw
from trainer.data.dataset import Dataset
from trainer.errors import ConfigError, DataUnavailableError
from trainer.named_datasets import DEFAULT, NAMED

_IDX_NAMES = tuple(
    f"{split}-{kind}"
    for split in ("train", "t10k")
    for kind in (idx.IMAGES, idx.LABELS)
)


def load(config, console, stop, *, recorded_name=None, check_shape=None):
    """Returns the `Dataset` that a config asks for.

    Args:
        config: a `TrainConfig`.
        console: a `Console`, for the download and warnings.
        stop: a `StopSignal`, checked during the download.
        recorded_name: what the job directory says the job trains on. A
            resumed job uses that, or stops. When it has fewer examples than
            it had, that is for the job's record to say, not for a flag.
        check_shape: function of (height, width, channels), called before any
            image is fetched or read, where the shape is known by then; None
            to call none.

    Raises:
        DataUnavailableError: the data cannot be had.
        DataError: a file is not what it should be.
        ConfigError: more examples were asked for than there are, or there
            are too few.
        What `check_shape` raises.
    """
    if config.dataset == "auto" and recorded_name in ("idx", *NAMED):
        # What was found when the job began.
        config = dataclasses.replace(config, dataset=recorded_name)
    data = _find(
        config,
        console,
        stop,
        recorded_name,
        check_shape or (lambda image_shape: None),
    )
    data = _first_examples(data, config, recorded_name)
    data = validation.hold_out(data, config.validation_share)
    return split_and_draw(data, stop) if config.binarize == "dynamic" else data


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


def _find(config, console, stop, recorded_name, check_shape):
    if "synthetic" in (config.dataset, recorded_name):
        return _synthetic(config)
    try:
        return _load_files(config, console, stop, check_shape)
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
            f"{NAMED[_name_of(config)].title}."
        )
        return _synthetic(config)


def _name_of(config):
    """Returns the name of the dataset where no folder was given."""
    return DEFAULT if config.dataset == "auto" else config.dataset


def _load_files(config, console, stop, check_shape):
    if not config.data_dir or config.dataset in NAMED:
        check_shape(NAMED[_name_of(config)].image_shape)
    if not config.data_dir:
        return named.read_cache(
            _name_of(config), config.data_url, console, stop
        )
    if places.parse(config.data_dir).in_bucket:
        return _read_bucket(config, console, stop, check_shape)
    folder = pathlib.Path(config.data_dir)
    if config.dataset == "idx" or config.dataset in NAMED:
        return _read_files(folder, config, console, stop)
    is_prepared = (folder / manifest.NAME).exists() or (
        folder / manifest.UNFINISHED
    ).exists()
    if is_prepared or config.dataset == "prepared":
        return prepared.read(folder, check_shape=check_shape)
    if not folder.exists():
        raise DataUnavailableError(
            f"There is no folder {folder}; give that of the data with "
            "--data_dir."
        )
    if any(idx.find(folder, name) for name in _IDX_NAMES):
        return _read_files(folder, config, console, stop)
    # Pillow, and what else decodes images.
    from trainer.data.preparing import automatic

    return automatic.read(folder, console, stop)


def _read_files(folder, config, console, stop):
    """Returns the `Dataset` of a folder of IDX files, or of published ones."""
    if config.dataset in NAMED:
        return named.read(config.dataset, folder, console, stop)
    data = idx.read_folder(folder, "idx")
    return named.recognised(data) if config.dataset == "auto" else data


def _read_bucket(config, console, stop, check_shape):
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
            store, listed, config.cache_gib, console, stop, check_shape
        )
    if config.dataset in NAMED:
        names = NAMED[config.dataset].names
        wanted = f"no file of {NAMED[config.dataset].title}"
    else:
        names = {f"{name}{end}" for name in _IDX_NAMES for end in ("", ".gz")}
        wanted = (
            f"no {_IDX_NAMES[0]}.gz, none of the other IDX files and no "
            f"{manifest.NAME}"
        )
    objects = {name: info for name, info in listed.items() if name in names}
    if not objects:
        raise DataUnavailableError(
            f"{store.url} holds {wanted}; give the folder that has them with "
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
        return _read_files(folder, config, console, stop)


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
