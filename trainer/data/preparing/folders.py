"""A folder of pictures, whose sub-folders are classes."""

import hashlib
import os
import pathlib
import stat

from trainer.data.names import shown
from trainer.data.preparing import decoding, listing
from trainer.data.preparing.decoding import BadImageError
from trainer.data.preparing.listing import FolderReader, Refused
from trainer.data.preparing.tree import MAX_DEPTH, Tree
from trainer.errors import DataError


def list_folder(root, stop):
    """Returns the `Listing` of a folder of pictures.

    A file is a picture by the end of its name, or by its first bytes. What is
    hidden is left out. Links are followed to files within the folder only.

    Args:
        root: `pathlib.Path`.
        stop: a `StopSignal`.

    Raises:
        DataError: it holds no pictures, or its classes are not clear.
    """
    root = pathlib.Path(os.path.realpath(root))
    tree = Tree("folder", root.name)
    stamp = hashlib.sha256()
    folders = [""]
    while folders:
        folder = folders.pop()
        stop.check()
        try:
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"The folder {shown(root / folder)} cannot be read "
                f"({error.strerror}); see that it is there and may be read."
            ) from error
        for entry in found:
            path = f"{folder}{entry.name}"
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                tree.ignore(path)
            elif entry.is_dir(follow_symlinks=False):
                if path.count("/") > MAX_DEPTH:
                    tree.add(f"{path}/...", Refused("it is too deep"), 0)
                else:
                    folders.append(f"{path}/")
            else:
                _add_file(tree, root, path, entry, stamp)
    return tree.listing(FolderReader(str(root)), stamp.hexdigest())


def _add_file(tree, root, path, entry, stamp):
    named = listing.is_named_like_image(entry.name)
    if entry.is_symlink() and (reason := _refused_link(root, entry)):
        tree.add(path, Refused(reason), 0)
        return
    try:
        info = entry.stat()
        is_file = stat.S_ISREG(info.st_mode)
        is_image = named or (is_file and _starts_like_image(entry.path))
    except OSError as error:
        problem = listing.unreadable(entry.path, error)
        if not isinstance(problem, BadImageError):
            raise problem from error
        tree.add(path, Refused(str(problem)), 0)
        return
    if not is_image:
        tree.ignore(path)
    elif is_file:
        state = path, info.st_size, info.st_mtime_ns
        stamp.update(f"{state!r}\n".encode())
        tree.add(path, path, info.st_size)
    else:
        tree.add(path, Refused("it is no regular file"), 0)


def _refused_link(root, entry):
    """Returns why a link is not followed; "" if it is."""
    target = os.path.realpath(entry.path)
    if not pathlib.Path(target).is_relative_to(root):
        return "it is a link that leads out of the folder"
    if not os.path.exists(target):
        return "it is a link that leads nowhere"
    if os.path.isdir(target):
        return "it is a link to a folder"
    return ""


def _starts_like_image(path):
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        return decoding.looks_like_image(file.read(decoding.START_BYTES))
