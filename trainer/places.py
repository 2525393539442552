"""Where a job or its data lies: a folder of this machine or of a bucket."""

import dataclasses
import hashlib
import os
import pathlib
import re
import unicodedata

from trainer.errors import ConfigError

SCHEME = "gs://"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]")
# https://cloud.google.com/storage/docs/objects#naming; what is left is for the
# names of the job's own files.
_OBJECT_BYTES, _FILE_NAME_BYTES = 1024, 200
# Of Linux: NAME_MAX and PATH_MAX.
_NAME_BYTES, _PATH_BYTES = 255, 4096
# Python makes them by a function that calls itself for each.
_MOST_FOLDERS = 500
_READABLE_CHARACTERS = 60
_WHICH = re.compile("last|best|[0-9]+")
_SHOWN_CHARACTERS = 100


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder, on this machine or in a bucket.

    Attributes:
        bucket: str, the name of the bucket; "" for a folder of this machine.
        path: str, that of the folder. In a bucket it has no slash at either
            end, and is "" for all of the bucket.
    """

    bucket: str
    path: str

    @property
    def in_bucket(self):
        """Whether it is in a bucket."""
        return bool(self.bucket)

    def __str__(self):
        if not self.bucket:
            return self.path
        return f"{SCHEME}{self.bucket}/{self.path}".rstrip("/")

    @property
    def cache_name(self):
        """A name of one segment that no other place has.

        It starts with what a person can read, and ends with 64 bits of the
        SHA-256 of the whole.
        """
        text = str(self)
        readable = re.sub(r"[^A-Za-z0-9]+", "-", text.removeprefix(SCHEME))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{readable.strip('-')[:_READABLE_CHARACTERS]}-{digest}"


def parse(text, flag="--job_dir"):
    """Returns the `Place` that a user named.

    Args:
        text: str or path, a folder or `gs://bucket/folder`.
        flag: str, what the user gave it with.

    Raises:
        ConfigError: it is neither, or no file system or bucket can hold it.
    """
    text = str(text)
    if not text:
        raise ConfigError(f"{flag} is empty; give a folder.")
    _refuse_characters(text, flag)
    if text.startswith(SCHEME):
        return _in_bucket(text, flag)
    url = _URL.match(text)
    if url or text.lower().startswith("gs:"):
        scheme = url[1] if url else "gs"
        advice = (
            "write gs://bucket/folder, in small letters and with two slashes"
            if scheme.lower() == "gs"
            else "give a folder of this machine, or gs://bucket/folder"
        )
        raise ConfigError(
            f"{flag}={_shown(text)} is a URL of the scheme {scheme}:, which "
            f"is not known here; {advice}."
        )
    if text.startswith("~"):
        raise ConfigError(
            f"{flag}={_shown(text)} starts with a ~ that the shell has left "
            "as it is; write $HOME in its place (or ./~ for a folder of that "
            "name)."
        )
    _refuse_lengths(text, text.split("/"), _PATH_BYTES, flag)
    return Place("", text)


def parse_local(text, flag):
    """Returns the `pathlib.Path` of a folder of this machine.

    Raises:
        ConfigError: as `parse`, or it is in a bucket.
    """
    place = parse(text, flag)
    if place.in_bucket:
        raise ConfigError(
            f"{flag}={place} is in a bucket; give a folder of this machine."
        )
    return pathlib.Path(place.path)


def split_checkpoint(text, flag):
    """Returns the folder of a job, and which of its checkpoints a user named.

    Args:
        text: str, `FOLDER[@last|best|STEP]`, the folder as for `parse`.
        flag: str, what the user gave it with.

    Returns:
        (folder, which): both str; without an @ it is the last one.

    Raises:
        ConfigError: it is something else.
    """
    folder, at, which = text.rpartition("@")
    if not at or "/" in which:
        folder, which = text, "last"
    parse(folder, flag)
    if not _WHICH.fullmatch(which):
        raise ConfigError(
            f"{flag}={_shown(text)}: {_shown(which)} is not last, best or a "
            "step number; of a folder with an @ in its name, write "
            "FOLDER@last."
        )
    return folder, which


def cache_folder():
    """Returns where this machine keeps copies of what is in buckets."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "vae-trainer"


def _in_bucket(text, flag):
    bucket, _, path = text.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise ConfigError(
            f"{flag}={_shown(text)} names no bucket; give gs://bucket/folder."
        )
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"{flag}={_shown(text)}: {_shown(bucket)} cannot be the name of a "
            "bucket, which has 3 to 222 small letters, digits, dots, dashes "
            "and underscores."
        )
    path = path.removesuffix("/")
    segments = path.split("/") if path else []
    for segment in segments:
        if segment in ("", ".", ".."):
            raise ConfigError(
                f"{flag}={_shown(text)} has a segment {segment!r}, which in a "
                "bucket is a name like any other; leave it out."
            )
    _refuse_lengths(text, segments, _OBJECT_BYTES - _FILE_NAME_BYTES, flag)
    return Place(bucket, path)


def _refuse_characters(text, flag):
    for character in text:
        # Cc: control characters. Cs: what is left of bytes that are no UTF-8.
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ConfigError(
                f"{flag}={_shown(text)} has the character "
                f"{character!a}, which is no part of a name; leave it out."
            )


def _refuse_lengths(text, segments, path_bytes, flag):
    longest = max((len(segment.encode()) for segment in segments), default=0)
    if longest > _NAME_BYTES:
        raise ConfigError(
            f"{flag}={_shown(text)} has a name of {longest} bytes; a file "
            f"system holds {_NAME_BYTES} at most. Give a shorter one."
        )
    length = len(text.encode())
    if length > path_bytes:
        raise ConfigError(
            f"{flag}={_shown(text)} has {length} bytes, of which {path_bytes} "
            "can be held at most; give a shorter one."
        )
    if len(segments) > _MOST_FOLDERS:
        raise ConfigError(
            f"{flag}={_shown(text)} has {len(segments)} folders within each "
            f"other; the most is {_MOST_FOLDERS}. Give a shorter one."
        )


def _shown(text):
    """Returns text for a message: short, and safe on any terminal."""
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}..."
    return text if text.isprintable() else ascii(text)
