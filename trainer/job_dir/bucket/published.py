"""What a bucket holds of each file of a staging folder, remembered there."""

import dataclasses
import json

from trainer import files
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
        JobDirError: it is damaged.
    """
    path = root / MIRROR_FILE
    try:
        record = json.loads(path.read_bytes())
        return {
            name: Published(*map(int, values))
            for name, values in record.items()
            # An earlier version took all that lay there for the job's.
            if ownership.is_file(name)
        }
    except FileNotFoundError:
        return {}
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise JobDirError(
            f"{path} is damaged ({error}); copy away what is wanted of "
            f"{root}, remove that folder, and run the same command again."
        ) from error


def write(root, published):
    """Remembers a dict of `Published` by name."""
    record = {
        name: dataclasses.astuple(each) for name, each in published.items()
    }
    files.write_atomically(root / MIRROR_FILE, json.dumps(record).encode())
