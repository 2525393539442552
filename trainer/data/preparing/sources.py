"""What a source of images is, and the list of its images."""

import os
import pathlib
import zipfile

from trainer.data.names import shown
from trainer.data.preparing import (
    archives,
    cifar,
    folders,
    idx_files,
    listing,
    numpy_files,
    parquet,
    spool,
)
from trainer.errors import DataError

_TAR_MAGIC_AT = 257


def list_source(path, work, stop):
    """Returns the `Listing` of a folder, an archive or a file of images.

    What it is, is decided by what is in it, not by its name.

    Args:
        path: `pathlib.Path`.
        work: `pathlib.Path` of a folder for what has to be unpacked.
        stop: a `StopSignal`.

    Raises:
        DataError: it is damaged, or of a kind that is not known.
    """
    if path.is_dir():
        return _list_folder(path, work, stop)
    if not path.is_file():
        raise DataError(
            f"{path} is neither a folder nor a regular file; give one of "
            "them with --from."
        )
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"\x93NUMPY"):
        return numpy_files.list_npy(path)
    if start.startswith(b"PAR1"):
        return parquet.list_parquet([path], path.name, stop)
    tar = path
    if spool.compression(start):
        tar = spool.unpack(path, work, stop)
        with tar.open("rb") as file:
            start = file.read(512)
    if start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        files = cifar.files_in_tar(tar)
        if form := cifar.find_form(files):
            return cifar.list_cifar(form, files, path.name, [path], work, stop)
        return archives.list_tar(tar, path.name, listing.stamp_of(path), stop)
    # Asked last, since it looks at the end, where a member of a tar file may
    # be a zip file.
    if zipfile.is_zipfile(path):
        members = archives.zip_members(path)
        if members and all(m.filename.endswith(".npy") for m in members):
            return numpy_files.list_npz(path, work, stop)
        return archives.list_zip(path, stop)
    raise DataError(
        f"{path} is nothing that images are taken from: neither a zip, tar, "
        "NumPy nor Parquet file; give one of them, or a folder."
    )


def _list_folder(path, work, stop):
    path = pathlib.Path(os.path.realpath(path))
    if files := parquet.parquet_files(path):
        return parquet.list_parquet(files, path.name, stop)
    if idx_files.is_idx_folder(path):
        return idx_files.list_idx(path, work, stop)
    files = cifar.files_in_folder(path)
    if form := cifar.find_form(files):
        source = [path for path, _, _ in files.values()]
        return cifar.list_cifar(form, files, path.name, source, work, stop)
    return folders.list_folder(path, stop)


def ignored_sentence(found):
    """Returns what to say of the files that were left out, or ""."""
    if not found.ignored_count:
        return ""
    names = ", ".join(map(shown, found.ignored[:3]))
    more = ", ..." if found.ignored_count > 3 else ""
    return (
        "Files that are hidden or no images are left out: "
        f"{found.ignored_count:,} ({names}{more})"
    )
