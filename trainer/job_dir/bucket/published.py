"""What a bucket holds of each file of a staging folder, remembered there."""

import dataclasses
import json

from trainer import files, stored
from trainer.errors import JobDirError
from trainer.job_dir.bucket import ownership
from trainer.job_dir.bucket.staging import MIRROR_FILE


@dataclasses.dataclass(frozen=True)
class Published:
    """What the bucket holds of a file.

    Attributes:
        generation: int, as in `ObjectInfo`.
        size: bytes.
        crc32c: int, of the content.
    """

    generation: int
    size: int
    crc32c: int

    @classmethod
    def of(cls, info):
        """Returns what an `ObjectInfo` says."""
        return cls(info.generation, info.size, info.crc32c)


def read(root):
    """Returns a dict of `Published` by name; empty for a new folder.

    Raises:
        JobDirError: it is not what `write` wrote.
    """
    try:
        record = stored.read_json(root / MIRROR_FILE)
    except FileNotFoundError:
        return {}
    except stored.UnreadableError as error:
        raise _not_known(root, error) from error
    if not isinstance(record, dict) or not all(
        isinstance(values, list)
        and len(values) == len(dataclasses.fields(Published))
        and all(map(stored.is_count, values))
        for values in record.values()
    ):
        raise _not_known(root, "does not say what the bucket holds")
    return {
        name: Published(*values)
        for name, values in record.items()
        # An earlier version took all that lay there for the job's.
        if ownership.is_file(name)
    }


def _not_known(root, reason):
    return JobDirError(
        f"{root / MIRROR_FILE} {reason}; move {root} away, and the same "
        "command takes the job from the bucket."
    )


def write(root, published):
    """Remembers a dict of `Published` by name."""
    record = {
        name: dataclasses.astuple(each) for name, each in published.items()
    }
    files.write_atomically(root / MIRROR_FILE, json.dumps(record).encode())
