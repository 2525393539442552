"""Datasets that are known by name: found on this machine, or downloaded.

What there is to know of each is in `trainer.named_datasets`.
"""

import dataclasses
import functools
import os
import pathlib

from trainer import files
from trainer.data import idx, shared_folder
from trainer.data.download import download
from trainer.errors import DataUnavailableError
from trainer.named_datasets import NAMED


def read(name, folder, console, stop):
    """Returns the `Dataset` of a name from a folder, and only from there.

    Args:
        name: str, one of `NAMED`.
        folder: `pathlib.Path`, or that of the archive itself.
        console: a `Console`.
        stop: a `StopSignal`.

    Raises:
        DataUnavailableError: it is not there.
        DataError: a file is not the one that was published.
    """
    named = NAMED[name]
    if named.is_archive:
        source = _find_archive(named, folder)
        if source is None:
            raise DataUnavailableError(
                f"{folder} holds no {_archive_of(named)} and no "
                f"{named.unpacked[0]}; give the folder of one of them with "
                "--data_dir."
            )
        return _prepared(name, source, console, stop)
    npz = _find_npz(named, folder)
    if npz and not any(idx.find(folder, file) for file in named.files):
        return _classed(idx.read_npz(npz, name, named.npz[npz.name]))
    return _classed(idx.read_folder(folder, name, named.files))


def read_cache(name, data_url, console, stop):
    """Returns the `Dataset` of a name from Keras's cache, fetched if need be.

    Args:
        name: str, one of `NAMED`.
        data_url: str, where to download it from; empty for its own address.
        console: a `Console`.
        stop: a `StopSignal`.

    Raises:
        DataUnavailableError: it cannot be had.
        DataError: a file is not the one that was published.
    """
    named, cache = NAMED[name], keras_cache(name)
    url = data_url or named.url
    if named.is_archive:
        return _read_cached_archive(name, url, cache, console, stop)
    found = functools.partial(idx.find, cache)
    # Who finds everything needs no lock, nor to write there.
    if not all(found(file, info) for file, info in named.files.items()):
        if npz := _find_npz(named, keras_cache()):
            return _classed(idx.read_npz(npz, name, named.npz[npz.name]))
        with shared_folder.hold(cache, console, stop):
            files.remove_unfinished(cache)
            for file, info in named.files.items():
                if not found(file, info):
                    _download_idx(url, file, named, cache, console, stop)
    return _classed(idx.read_folder(cache, name, named.files))


def is_cached(name):
    """Whether Keras's cache has all IDX files of a dataset."""
    cache = keras_cache(name)
    return all(idx.find(cache, *file) for file in NAMED[name].files.items())


def keras_cache(name=None):
    """Returns the folder where Keras keeps its datasets, or that of one."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    folder = pathlib.Path(home) / "datasets"
    return folder / NAMED[name].folder if name else folder


def recognised(data):
    """Returns a `Dataset` of IDX files by the name that it is known by."""
    names = (
        name
        for name, named in NAMED.items()
        if data.md5 == {file: info.md5 for file, info in named.files.items()}
    )
    name = next(names, None)
    return _classed(dataclasses.replace(data, name=name)) if name else data


def _classed(data):
    """Returns a `Dataset` with the names of its classes."""
    return dataclasses.replace(data, classes=NAMED[data.name].classes)


def _find_npz(named, folder):
    paths = (pathlib.Path(folder) / file for file in named.npz)
    return next(filter(pathlib.Path.is_file, paths), None)


def _download_idx(url, file, named, cache, console, stop):
    def fault_of(content, address):
        unpacked = idx.decompress(content, address)
        return named.files[file].fault_of(content, unpacked)

    download(
        url, f"{file}.gz", named.most_bytes, fault_of, cache, console, stop
    )


def _read_cached_archive(name, url, cache, console, stop):
    """Returns the `Dataset` of an archive that was prepared or is had now."""
    from trainer.data.preparing import published

    named = NAMED[name]
    if data := published.read(name):
        return data
    source = _find_archive(named, cache)
    if source is None:
        file = _archive_of(named)
        with shared_folder.hold(cache, console, stop):
            files.remove_unfinished(cache)
            if not (cache / file).is_file():
                download(
                    url,
                    file,
                    named.most_bytes,
                    lambda content, _: named.files[file].fault_of(
                        content, content
                    ),
                    cache,
                    console,
                    stop,
                )
        source = cache / file
    return _prepared(name, source, console, stop)


def _prepared(name, source, console, stop):
    # Pillow, and what else decodes images.
    from trainer.data.preparing import published

    return published.read(name) or published.prepare(
        name, source, console, stop
    )


def _archive_of(named):
    (file,) = named.files
    return file


def _find_archive(named, folder):
    """Returns the path of an archive, or of a folder of its members."""
    folder = pathlib.Path(folder)
    if folder.is_file():
        return folder
    for place in (folder, *map(folder.joinpath, named.unpacked)):
        if all((place / member).is_file() for member in named.members):
            return place
    path = folder / _archive_of(named)
    return path if path.is_file() else None
