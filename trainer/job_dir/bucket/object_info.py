"""What a bucket says of an object: which version it is, and whose."""

import base64
import dataclasses
import datetime

# The key of the metadata that say whose an object is.
OWNER = "vae-trainer-job"


@dataclasses.dataclass(frozen=True)
class ObjectInfo:
    """One version of an object.

    Attributes:
        generation: int, a number that the server gives each version.
        size: bytes.
        crc32c: int, of the content; None where the server does not say it.
        updated: the server's time when it was written.
        owner: str, what its metadata say of `OWNER`; None if nothing.
        is_gzip: bool, whether a client that is not told otherwise unpacks it.
    """

    generation: int
    size: int
    crc32c: int | None
    updated: datetime.datetime
    owner: str | None = None
    is_gzip: bool = False


def of(blob):
    """Returns the `ObjectInfo` of a blob.

    Raises:
        TypeError, ValueError: what the server says of it is nonsense.
    """
    # Some servers leave out what is 0 or empty.
    size = int(blob.size or 0)
    crc = base64.b64decode(blob.crc32c or "", validate=True)
    if (crc and len(crc) != 4) or size < 0:
        raise ValueError(f"size {size}, CRC32C {blob.crc32c!r}")
    if blob.updated is None:
        raise ValueError("no time of its last change")
    return ObjectInfo(
        generation=int(blob.generation),
        size=size,
        crc32c=int.from_bytes(crc, "big") if crc or not size else None,
        updated=blob.updated,
        owner=_owner(blob),
        is_gzip=blob.content_encoding == "gzip",
    )


def _owner(blob):
    owner = (blob.metadata or {}).get(OWNER)
    if not isinstance(owner, str | None):
        raise TypeError(f"{OWNER} is {owner!r}")
    return owner


def is_placeholder(blob):
    """Whether an object stands for a folder, which a bucket does not have."""
    return blob.name.endswith("/") or (
        blob.size is None and _owner(blob) is None
    )
