"""A dataset that `vae-data prepare` made, as a job trains on it."""

import hashlib
import pathlib
import shutil

from trainer import files, places
from trainer.data import images, manifest, records, shared_folder
from trainer.data.dataset import Dataset
from trainer.data.names import shown
from trainer.errors import DataError, DataUnavailableError

# What a job's record calls it.
NAME = "prepared"


def read(folder, *, is_copy=False, check_shape=None):
    """Returns the `Dataset` of a folder that `vae-data prepare` made.

    What fits into a quarter of the memory is read now; the rest is read when
    it is wanted.

    Args:
        folder: str or path, a folder of this machine.
        is_copy: bool, as of `records.open_dataset`.
        check_shape: as of `sources.load`.

    Raises:
        DataUnavailableError: there is no dataset.
        DataError: it is damaged, or has no test set.
    """
    stored = records.open_dataset(folder, is_copy=is_copy)
    if check_shape:
        check_shape(stored.image_shape)
    return of_stored(stored)


def of_stored(dataset):
    """Returns the `Dataset` of a `StoredDataset`; as `read`."""
    if "test" not in dataset.splits:
        raise DataError(
            f"{dataset.folder} has no test set, on which a model could be "
            "judged; prepare it again with --test_share=0.1."
        )
    total = sum(
        split.count * dataset.manifest.record_bytes
        for split in dataset.splits.values()
    )
    # All of them together, not each.
    are_kept = images.are_kept(total)

    def images_of(split):
        stored = images.StoredImages(split)
        return stored[:] if are_kept else stored

    train, test = dataset.splits["train"], dataset.splits["test"]
    validation = dataset.splits.get("validation")
    return Dataset(
        name=NAME,
        train_images=images_of(train),
        test_images=images_of(test),
        train_labels=train.labels,
        test_labels=test.labels,
        md5={},
        sha256={manifest.NAME: dataset.digest, **_digests(dataset.manifest)},
        classes=dataset.class_names,
        title=_title(dataset.manifest.made),
        validation_images=validation and images_of(validation),
        validation_labels=validation and validation.labels,
    )


def read_bucket(store, objects, most_gib, console, stop, check_shape):
    """Returns the `Dataset` of a folder of a bucket.

    Its files are fetched once, each checked against its SHA-256, and kept in
    a folder of this machine.

    Args:
        store: an `ObjectStore`.
        objects: dict of `ObjectInfo` by name, what it lists.
        most_gib: float, what the dataset may take of the disk; 0 for all that
            is free.
        console: a `Console`, for the progress.
        stop: a `StopSignal`.
        check_shape: as of `sources.load`.

    Raises:
        DataError: a file is missing or damaged, or there is no room for all.
    """
    from trainer.job_dir.bucket.download import download

    if manifest.NAME not in objects:
        raise DataUnavailableError(
            f"{store.url} holds no {manifest.NAME}; give the folder that "
            "vae-data prepare wrote."
        )
    content = store.read(manifest.NAME, objects[manifest.NAME])
    promised = manifest.decode(content, f"{store.url}/{manifest.NAME}")
    check_shape(promised.image_shape)
    name = places.parse(store.url).cache_name
    # Another dataset at the same place gets a folder of its own.
    digest = manifest.digest(content)[:16]
    folder = places.cache_folder() / "data" / f"{name}-{digest}"
    with shared_folder.hold(folder, console, stop):
        missing = _missing(folder, promised, stop)
        _refuse_too_much(folder, promised, missing, most_gib, store)
        for file in missing:
            if file not in objects:
                raise DataError(
                    f"{store.url}/{file} is missing, but dataset.json "
                    "promises it; upload the dataset again."
                )
        download(store, {f: objects[f] for f in missing}, folder, console)
        for file, info in missing.items():
            stop.check()
            if _sha256(folder / file) != info.sha256:
                (folder / file).unlink()
                raise DataError(
                    f"{store.url}/{file} is damaged (its SHA-256 is not that "
                    "of dataset.json); upload the dataset again."
                )
        # Last: it says that the others are there. Not again, since it is what
        # another process keeps open.
        path = folder / manifest.NAME
        if not path.is_file() or path.read_bytes() != content:
            files.write_atomically(path, content)
        stored = records.open_dataset(folder, is_copy=True)
    return of_stored(stored)


def _digests(promised):
    """Returns the SHA-256 of what `dataset.json` says of each split's files.

    By the name of its folder, so that a message can tell which split differs.
    """
    of_splits = {}
    for name in promised.splits:
        digest = hashlib.sha256()
        for file, info in sorted(promised.files.items()):
            if file.startswith(f"{name}/"):
                digest.update(f"{info.sha256}  {file}\n".encode())
        of_splits[f"{name}/"] = digest.hexdigest()
    return of_splits


def _title(made):
    """Returns what people call a dataset: its source had that name."""
    match made:
        case {"source": {"name": str(name)}}:
            return shown(name)
    return NAME


def _missing(folder, promised, stop):
    """Returns the `FileInfo` by name of those that are still to be fetched."""
    # A start that was killed before this one has left files that nobody has
    # checked.
    are_checked = (folder / manifest.NAME).exists()
    missing = {}
    for file, info in promised.files.items():
        stop.check()
        path = folder / file
        is_there = path.is_file() and path.stat().st_size == info.bytes
        if not (is_there and (are_checked or _sha256(path) == info.sha256)):
            missing[file] = info
    return missing


def _sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _refuse_too_much(folder, promised, missing, most_gib, store):
    """Refuses to fetch what the disk has no room for."""
    total = promised.total_bytes / 2**30
    if 0 < most_gib < total:
        raise DataError(
            f"{store.url} has {total:.1f} GiB, which is more than --cache_gib="
            f"{most_gib:g}; give it more, or prepare smaller images."
        )
    wanted = sum(info.bytes for info in missing.values())
    around = pathlib.Path(folder)
    while not around.exists():
        around = around.parent
    free = shutil.disk_usage(around).free
    if wanted > free:
        raise DataError(
            f"{store.url} has {wanted / 2**30:.1f} GiB to fetch, but {around} "
            f"has {free / 2**30:.1f} GiB free; free some space, or set "
            "XDG_CACHE_HOME to a larger disk."
        )
