"""From the paths of pictures to splits, classes and an order."""

import hashlib

import numpy as np

from trainer.data.manifest import SPLITS
from trainer.data.names import shown
from trainer.data.preparing import listing
from trainer.data.preparing.listing import ANY_SPLIT, Listing, Refused
from trainer.errors import DataError

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
MAX_DEPTH = 32
_NO_NAMES = frozenset(("", ".", ".."))
_MAX_IGNORED = 20


class Tree:
    """Collects the files of a folder or an archive.

    Args:
        kind: str, "folder", "zip" or "tar".
        name: str, what the source is called.
    """

    def __init__(self, kind, name):
        self._kind, self._name = kind, name
        self._paths, self._locators, self._sizes = [], [], []
        self._ignored, self._ignored_count = [], 0

    def add(self, path, locator, size):
        """Adds a picture.

        Args:
            path: str, with slashes.
            locator: what the reader takes, or a `Refused`.
            size: int, bytes of the file; 0 if it is not known.
        """
        parts = path.split("/")
        if path.startswith("/") or not _NO_NAMES.isdisjoint(parts):
            locator = Refused("its path leads out")
            path = "/".join(part for part in parts if part not in _NO_NAMES)
        elif len(parts) > MAX_DEPTH:
            locator = Refused(f"it is more than {MAX_DEPTH} folders deep")
        self._paths.append(path)
        self._locators.append(locator)
        self._sizes.append(size)
        if len(self._paths) > listing.MAX_RECORDS:
            raise DataError(f"{shown(self._name)} holds too many files.")

    def ignore(self, path):
        """Counts a file that is no picture."""
        self._ignored_count += 1
        if len(self._ignored) < _MAX_IGNORED:
            self._ignored.append(shown(path))

    def listing(self, reader, stamp, *, unwrap=False):
        """Returns the `Listing` of what was added.

        The order is that of the SHA-256 of the paths: the first images are of
        all classes then, however many are looked at.

        Args:
            reader: reads a locator.
            stamp: as `Listing.stamp`.
            unwrap: whether a single folder around all is that of an archive.

        Raises:
            DataError: splits or classes are not clear.
        """
        paths = self._paths
        cut = _wrapping(paths) if unwrap else 0
        split_names = self._splits(paths, cut)
        depth = cut + bool(split_names)
        splits = [ANY_SPLIT] * len(paths)
        if split_names:
            splits = [
                split_names[path.split("/", cut + 1)[cut]] for path in paths
            ]
        class_names, labels = self._classes(paths, depth)
        keys = [
            hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
            for path in paths
        ]
        # Of two members of one path in an archive the first stays first.
        order = sorted(range(len(paths)), key=keys.__getitem__)
        names = [paths[at] for at in order]
        return Listing(
            kind=self._kind,
            name=self._name,
            class_names=class_names,
            labels=None if labels is None else labels[order],
            splits=np.asarray(splits, np.int8)[order],
            locators=[self._locators[at] for at in order],
            reader=reader,
            name_of=names.__getitem__,
            digest=listing.digest_of(
                (paths[at], self._sizes[at]) for at in order
            ),
            stamp=stamp,
            ignored=tuple(self._ignored),
            ignored_count=self._ignored_count,
        )

    def _splits(self, paths, cut):
        """Returns the indices in `SPLITS` by folder; empty without."""
        tops = {
            parts[cut]
            for parts in (path.split("/", cut + 1) for path in paths)
            if len(parts) > cut + 1
        }
        known = {top for top in tops if top.lower() in SPLIT_FOLDERS}
        found = [SPLIT_FOLDERS[top.lower()] for top in known]
        if not known:
            return {}
        name = shown(self._name)
        if "train" not in found:
            raise DataError(
                f"{name} holds {shown(min(known))}/ but no train/; add one, or "
                "rename the folder if it is a class."
            )
        if len(set(found)) < len(found):
            raise DataError(
                f"{name} holds several folders for one split "
                f"({', '.join(map(shown, sorted(known)))}); keep one of each."
            )
        for path in paths:
            parts = path.split("/", cut + 1)
            if parts[cut] not in known or len(parts) == cut + 1:
                raise DataError(
                    f"{name} holds train/, and beside it {shown(path)}, which "
                    "is in no split; move or remove it."
                )
        return {top: SPLITS.index(SPLIT_FOLDERS[top.lower()]) for top in known}

    def _classes(self, paths, depth):
        """Returns (names, labels) by the folders at a depth."""
        named, loose = [], None
        for path in paths:
            parts = path.split("/", depth + 1)
            if len(parts) > depth + 1:
                named.append(parts[depth])
            else:
                loose = path
        folders = set(named)
        if len(folders) < 2:
            return (), None
        if loose is not None:
            raise DataError(
                f"{shown(self._name)} holds folders of classes, and beside "
                f"them {shown(loose)}, which is of no class; move or remove it."
            )
        ordered = sorted(folders)
        number = {folder: label for label, folder in enumerate(ordered)}
        labels = np.array([number[folder] for folder in named], np.int32)
        return tuple(map(shown, ordered)), labels


def _wrapping(paths):
    """Returns how many folders lie around all of an archive."""
    cut = 0
    while True:
        tops = {tuple(path.split("/", cut + 1)[: cut + 1]) for path in paths}
        if len(tops) != 1 or tops.pop()[-1].lower() in SPLIT_FOLDERS:
            return cut
        if any(path.count("/") <= cut for path in paths):
            return cut
        cut += 1
