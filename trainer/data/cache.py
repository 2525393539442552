"""What this machine keeps of datasets, so that a start need not make it anew.

Images that were trained on as they lay there are prepared once, and what lies
in a bucket is fetched once; each stays in a folder of the cache.
"""

import contextlib
import dataclasses
import datetime
import pathlib
import stat

from trainer import places
from trainer.data import manifest, shared_folder
from trainer.data.names import shown
from trainer.errors import DataError

# The folders of the cache that hold datasets, and how those came there.
_KINDS = {"prepared": "prepared", "data": "fetched"}


@dataclasses.dataclass(frozen=True)
class Kept:
    """A folder of data in the cache.

    Attributes:
        path: `pathlib.Path`.
        how: str, how it came there.
        bytes: int, of its files together.
        changed: `datetime.date`, when it was written last.
        what: str, the dataset; empty where that is not known.
    """

    path: pathlib.Path
    how: str
    bytes: int
    changed: datetime.date
    what: str

    def line(self):
        """Returns what is printed of it."""
        what = f", {self.what}" if self.what else ""
        return (
            f"{self.path}: {self.bytes:,} bytes, {self.how} {self.changed}"
            f"{what}"
        )

    def remove(self):
        """Removes it, unless a process uses it; returns whether it did."""
        return shared_folder.remove_unused(self.path, manifest.NAME)


def contents():
    """Returns what is kept, a list of `Kept`."""
    return [
        _look_at(folder, how)
        for kind, how in _KINDS.items()
        for folder in sorted((places.cache_folder() / kind).glob("*"))
        if folder.is_dir()
    ]


def _look_at(folder, how):
    stats = [*_stats_of([folder]), *_stats_of(folder.rglob("*"))]
    newest = max((each.st_mtime for each in stats), default=0)
    if (folder / manifest.UNFINISHED).is_dir():
        how = f"{how} in part"
    return Kept(
        folder,
        how,
        sum(each.st_size for each in stats if stat.S_ISREG(each.st_mode)),
        datetime.date.fromtimestamp(newest),
        _what(folder / manifest.NAME),
    )


def _stats_of(paths):
    """Yields what the file system says of each path that is still there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield path.stat()


def _what(path):
    """Returns what a dataset is, by its `dataset.json`."""
    try:
        promised = manifest.decode(path.read_bytes(), path)
    except (OSError, DataError):
        return ""  # IDX files, a dataset in part, or a damaged one.
    count = sum(split.count for split in promised.splits.values())
    match promised.made:
        case {"source": {"name": str(name)}}:
            return f"{count:,} images of {shown(name)}"
    return f"{count:,} images"
