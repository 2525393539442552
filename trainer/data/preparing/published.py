"""A dataset that is published as one archive: prepared once, in a cache."""

import dataclasses
import hashlib
import json
import pathlib
import tempfile

from trainer import places
from trainer.data import prepared, records
from trainer.data.preparing import archives, automatic, listing, spool
from trainer.errors import DataError, DataUnavailableError
from trainer.named_datasets import NAMED


def read(name):
    """Returns the `Dataset` of a name that was prepared before, or None.

    Args:
        name: str, one of `NAMED`.

    Raises:
        DataError: it is damaged.
    """
    try:
        stored = records.open_dataset(_folder_of(name))
    except DataUnavailableError:
        return None
    return _of_name(name, prepared.of_stored(stored))


def prepare(name, source, console, stop):
    """Returns the `Dataset` of a name, prepared from where it lies.

    Args:
        name: str, one of `NAMED`.
        source: `pathlib.Path` of the archive, or of a folder of its members.
        console: a `Console`.
        stop: a `StopSignal`.

    Raises:
        DataError: a member is not the one that was published.
        InterruptedJobError: the stop signal came; what is done is kept.
    """
    with tempfile.TemporaryDirectory() as unpacked:
        _check(name, source, pathlib.Path(unpacked), stop)
    return _of_name(
        name,
        automatic.read(source, console, stop, _folder_of(name)),
    )


def _folder_of(name):
    """Returns where a dataset is prepared: another one for other members."""
    members = json.dumps(NAMED[name].members, sort_keys=True).encode()
    digest = hashlib.sha256(members).hexdigest()[:16]
    return places.cache_folder() / "prepared" / f"{name}-{digest}"


def _of_name(name, data):
    """Returns a `Dataset` under its name, known by what was published.

    Not by its `dataset.json`, which also says how it was prepared.
    """
    return dataclasses.replace(
        data, name=name, title="", md5=NAMED[name].members, sha256={}
    )


def _check(name, source, work, stop):
    """Compares the MD5 of each member with the published one."""
    named = NAMED[name]
    found = _members_of(source, named.members, work, stop)
    for member, expected in named.members.items():
        stop.check()
        if member not in found:
            raise DataError(
                f"{source} holds no {member}, which is a part of "
                f"{named.title}; fetch it again."
            )
        path, offset, size = found[member]
        content = listing.RangeReader([path]).read((0, offset, size))
        md5 = hashlib.md5(content).hexdigest()
        if md5 != expected:
            raise DataError(
                f"{source}: {member} has the wrong checksum (MD5: found {md5}, "
                f"expected {expected}); fetch it again."
            )


def _members_of(source, names, work, stop):
    """Returns (path, offset, size) of the members that are there, by name."""
    if source.is_dir():
        paths = [source / name for name in names]
        return {
            path.name: (str(path), 0, path.stat().st_size)
            for path in paths
            if path.is_file()
        }
    tar = source
    with source.open("rb") as file:
        if spool.compression(file.read(512)):
            tar = spool.unpack(source, work, stop)
    found = {}
    for member in archives.tar_members(tar):
        stop.check()
        name = member.name.rpartition("/")[2]
        if name in names and member.isreg() and not member.issparse():
            found[name] = str(tar), member.offset_data, member.size
    return found
