"""Zip and tar files of pictures, which are read where they lie."""

import tarfile
import zipfile

from trainer.data.names import shown
from trainer.data.preparing import decoding, listing
from trainer.data.preparing.listing import RangeReader, Refused, ZipReader
from trainer.data.preparing.tree import Tree
from trainer.errors import DataError

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# Of the system that a member was packed on.
_WINDOWS = 0
_CHECK_EVERY = 1000


def list_zip(path, stop):
    """Returns the `Listing` of a zip file of pictures.

    Raises:
        DataError: it is damaged, or holds no pictures.
    """
    tree, reader = Tree("zip", path.name), ZipReader(str(path))
    for number, member in enumerate(zip_members(path)):
        if not number % _CHECK_EVERY:
            stop.check()
        name = member.filename
        if member.create_system == _WINDOWS:
            # What some of its tools put between folders.
            name = name.replace("\\", "/")
        if name.endswith("/"):
            continue
        locator = (
            member.header_offset,
            member.compress_size,
            member.file_size,
            member.compress_type,
            member.CRC,
        )
        if member.flag_bits & _ENCRYPTED:
            locator = Refused("it is encrypted")
        elif member.compress_type not in _METHODS:
            locator = Refused("it is compressed in another way than deflate")
        if _is_hidden(name):
            tree.ignore(name)
        elif listing.is_named_like_image(name) or _is_image(reader, locator):
            tree.add(name, locator, (member.file_size, member.CRC))
        else:
            tree.ignore(name)
    return tree.listing(reader, listing.stamp_of(path), unwrap=True)


def zip_members(path):
    """Returns the list of `zipfile.ZipInfo` of a zip file.

    Raises:
        DataError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if any(member.header_offset < 0 for member in members):
            raise zipfile.BadZipFile("a member begins before the file")
        return members
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        EOFError,
        OverflowError,
        IndexError,
        UnicodeDecodeError,
    ) as error:
        raise DataError(
            f"{path} is a damaged zip file ({shown(error)}); fetch it again."
        ) from error


def list_tar(path, name, stamp, stop):
    """Returns the `Listing` of a tar file of pictures that is not compressed.

    Args:
        path: `pathlib.Path`.
        name: str, what the source is called.
        stamp: as `Listing.stamp`.
        stop: a `StopSignal`.

    Raises:
        DataError: it is damaged, or holds no pictures.
    """
    tree, reader = Tree("tar", name), RangeReader([str(path)])
    for number, member in enumerate(tar_members(path)):
        if not number % _CHECK_EVERY:
            stop.check()
        if member.isdir():
            continue
        path_in_tar = member.name.removeprefix("./")
        locator = (0, member.offset_data, member.size)
        named = listing.is_named_like_image(path_in_tar)
        if member.issym() or member.islnk():
            locator = Refused("it is a link in an archive")
        elif not member.isreg() or member.issparse():
            locator = Refused("it is no regular file")
        if _is_hidden(path_in_tar):
            tree.ignore(path_in_tar)
        elif named or _is_image(reader, locator):
            tree.add(path_in_tar, locator, member.size)
        else:
            tree.ignore(path_in_tar)
    return tree.listing(reader, stamp, unwrap=True)


def tar_members(path):
    """Yields each `tarfile.TarInfo` of a tar file.

    Raises:
        DataError: it is damaged.
    """
    try:
        with tarfile.open(path, "r:", errors="surrogateescape") as archive:
            before = -1
            while (member := archive.next()) is not None:
                # A size below zero leads back to where it came from.
                if archive.offset <= before or member.size < 0:
                    raise tarfile.ReadError("its members go back")
                before = archive.offset
                yield member
                # It would keep all of them.
                archive.members.clear()
            _check_end(path, archive.offset)
    except (
        tarfile.TarError,
        EOFError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise DataError(
            f"{path} is a damaged tar file ({shown(error)}); fetch it again."
        ) from error


def _check_end(path, offset):
    """Refuses a tar file that has no end where its last member ends.

    tarfile takes anything that is no header for the end.
    """
    with path.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it is cut or damaged at byte {offset:,}")


def _is_hidden(path):
    return any(
        part.startswith(".") or part == "__MACOSX"
        for part in path.split("/")
        if part not in (".", "..")
    )


def _is_image(reader, locator):
    """Whether a member without the name of a picture is one."""
    if isinstance(locator, Refused):
        return False
    try:
        start = reader.start(locator, decoding.START_BYTES)
        return decoding.looks_like_image(start)
    except decoding.BadImageError:
        return False
