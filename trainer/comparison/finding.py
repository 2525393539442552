"""Which job directories are meant: folders, patterns, and places in buckets."""

import fnmatch
import glob
import os

from trainer import places
from trainer.errors import ConfigError
from trainer.job_dir import layout

_MAGIC = frozenset("*?[")


def expand(words, listing):
    """Returns the places that words name, each once, in their order.

    Args:
        words: list of str, folders of this machine or of buckets; `*`, `?`
            and `[…]` stand for what they do in a shell.
        listing: function of a place in a bucket; returns the names of all
            objects below it.

    Raises:
        ConfigError: a word names no place, or a pattern matches nothing.
    """
    found = {}
    for word in words:
        place = places.parse(word, "a job directory")
        if place.in_bucket:
            matching = _in_bucket(place, listing)
        elif os.path.lexists(word) or not _MAGIC & set(word):
            matching = [word]
        else:
            matching = sorted(glob.glob(word))
        if not matching:
            raise ConfigError(
                f"{word} matches nothing; give the --job_dir of trainings, "
                "for instance runs/*."
            )
        for each in matching:
            identity = each if place.in_bucket else os.path.realpath(each)
            found.setdefault(identity, each)
    return list(found.values())


def _in_bucket(place, listing):
    """Returns the jobs whose folders match a pattern, as `gs://…`."""
    segments = place.path.split("/")
    fixed = next(
        (n for n, each in enumerate(segments) if _MAGIC & set(each)), None
    )
    if fixed is None:
        return [str(place)]
    base = places.Place(place.bucket, "/".join(segments[:fixed]))
    pattern = segments[fixed:]
    ending = f"/{layout.CONFIG}"
    return [
        f"{base}/{folder}"
        for folder in sorted(
            name.removesuffix(ending)
            for name in listing(str(base))
            if name.endswith(ending)
        )
        if len(folder.split("/")) == len(pattern)
        and all(map(fnmatch.fnmatchcase, folder.split("/"), pattern))
    ]
