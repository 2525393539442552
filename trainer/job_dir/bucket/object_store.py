"""Objects in a Cloud Storage bucket: the few calls that a job needs.

Retries are the client's own. Credentials are the application's default ones,
and `STORAGE_EMULATOR_HOST` is honoured: both by the client.
"""

import base64
import contextlib
import dataclasses
import datetime
import uuid

import google_crc32c
import requests
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage as gcs
from google.cloud.storage.exceptions import (
    DataCorruption,
    InvalidResponse,
)
from google.cloud.storage.retry import DEFAULT_RETRY

from trainer import places
from trainer.errors import JobDirError, StorageUnavailableError

# The key of the metadata that say whose an object is.
OWNER = "vae-trainer-job"
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_NEW = 0  # The generation of an object that must not exist yet.


class ObjectChangedError(JobDirError):
    """An object is not the one that this job wrote or read last."""


@dataclasses.dataclass(frozen=True)
class ObjectInfo:
    """One version of an object.

    Attributes:
        generation: int, a number that the server gives each version.
        size: bytes.
        crc32c: int, of the content.
        updated: the server's time when it was written.
        owner: str, what its metadata say of `OWNER`; None if nothing.
    """

    generation: int
    size: int
    crc32c: int
    updated: datetime.datetime
    owner: str | None = None


class ObjectStore:
    """The objects under a `gs://bucket/prefix`.

    All methods raise `StorageUnavailableError` when the client's retries are
    used up, and `JobDirError` when the server says no.

    Args:
        url: str, `gs://bucket/prefix`.
        timeout_seconds: how long the client retries one request.

    Attributes:
        owner: str, the id of the job that what is written belongs to; None
            for nobody's.

    Raises:
        ConfigError: the URL names no folder of a bucket.
    """

    def __init__(self, url, timeout_seconds):
        place = places.parse(url)
        self.bucket_name = place.bucket
        self.prefix = f"{place.path}/" if place.path else ""
        self.url = str(place)
        self.owner = None
        self.bytes_sent = 0
        self._settings = {
            "retry": DEFAULT_RETRY.with_timeout(timeout_seconds),
            "timeout": (_CONNECT_SECONDS, _READ_SECONDS),
        }
        with self._errors("signing in"):
            self._bucket = gcs.Client().bucket(place.bucket)

    def list(self, folder=""):
        """Returns the `ObjectInfo` of every object, by name.

        The placeholders of folders, which the console and other tools make,
        are left out.

        Args:
            folder: only names that start with this.
        """
        with self._errors("listing"):
            blobs = list(
                self._bucket.list_blobs(
                    prefix=self.prefix + folder, **self._settings
                )
            )
        return {
            blob.name.removeprefix(self.prefix): _info(blob)
            for blob in blobs
            if not _is_placeholder(blob)
        }

    def read(self, name, generation=None):
        """Returns the bytes of an object, checked against its CRC32C.

        Args:
            name: str.
            generation: int, the version expected; None for any.

        Raises:
            ObjectChangedError: it has another generation, or is gone.
        """
        with self._errors("reading", name):
            try:
                return self._blob(name).download_as_bytes(
                    if_generation_match=generation,
                    checksum="crc32c",
                    **self._settings,
                )
            except api_exceptions.NotFound as error:
                self._refuse_missing_bucket(error)
                raise self._changed(name) from error

    def info(self, name):
        """Returns the `ObjectInfo` of an object, or None."""
        with self._errors("looking at", name):
            blob = self._blob(name)
            try:
                blob.reload(**self._settings)
            except api_exceptions.NotFound as error:
                self._refuse_missing_bucket(error)
                return None
            return _info(blob)

    def write(self, name, content, generation=_NEW, owner=None):
        """Writes an object in one act; returns its `ObjectInfo`.

        Args:
            name: str.
            content: bytes.
            generation: int, the version that it replaces; 0: there is none.
            owner: str, in place of that of the store.

        Raises:
            ObjectChangedError: it has another generation by now.
        """
        with self._errors("writing", name):
            blob = self._blob(name, owner)
            try:
                self.bytes_sent += len(content)
                blob.upload_from_string(
                    content,
                    content_type="application/octet-stream",
                    if_generation_match=generation,
                    checksum="crc32c",
                    **self._settings,
                )
            except api_exceptions.PreconditionFailed:
                return self._committed(blob, len(content), crc32c(content))
            return _info(blob)

    def mark(self, name, generation):
        """Makes an object that is there one of the store's owner.

        Raises:
            ObjectChangedError: it has another generation by now.
        """
        with self._errors("marking", name):
            blob = self._blob(name)
            blob.patch(if_generation_match=generation, **self._settings)

    def append(self, name, tail, before, whole_crc32c):
        """Adds bytes to an object, sending only these; returns its info.

        Args:
            name: str.
            tail: bytes.
            before: `ObjectInfo` of the object to which they are added.
            whole_crc32c: int, of the object afterwards.

        Raises:
            ObjectChangedError: it is not that object any more.
        """
        part_name = f"{name}.tail-{uuid.uuid4().hex[:8]}"
        part = self.write(part_name, tail)
        with self._errors("appending to", name):
            blob = self._blob(name)
            try:
                blob.compose(
                    [self._blob(name), self._blob(part_name)],
                    if_generation_match=before.generation,
                    **self._settings,
                )
                after = _info(blob)
            except api_exceptions.PreconditionFailed:
                after = self._committed(
                    blob, before.size + len(tail), whole_crc32c
                )
        if after.crc32c != whole_crc32c:
            raise self._changed(name)
        self.delete(part_name, part.generation)
        return after

    def delete(self, name, generation):
        """Deletes a version of an object; it may be gone already.

        Raises:
            ObjectChangedError: it has another generation by now.
        """
        with self._errors("deleting", name):
            try:
                self._blob(name).delete(
                    if_generation_match=generation, **self._settings
                )
            except api_exceptions.NotFound as error:
                self._refuse_missing_bucket(error)
            except api_exceptions.PreconditionFailed as error:
                raise self._changed(name) from error

    def _blob(self, name, owner=None):
        blob = self._bucket.blob(self.prefix + name)
        if owner := owner or self.owner:
            blob.metadata = {OWNER: owner}
        return blob

    def _committed(self, blob, size, crc):
        """After a 412: was it our own request, whose answer was lost?"""
        name = blob.name.removeprefix(self.prefix)
        found = self.info(name)
        ours = (size, crc, _owner(blob))
        if found is None or (found.size, found.crc32c, found.owner) != ours:
            raise self._changed(name)
        return found

    def _changed(self, name):
        return ObjectChangedError(
            f"{self.url}/{name} was changed or deleted by somebody else while "
            "this job was using it; make sure that only one job writes there, "
            "and run the same command again."
        )

    def _refuse_missing_bucket(self, error):
        # A missing object and a missing bucket are both 404; only the
        # message tells them apart.
        if "bucket does not exist" in str(error).lower():
            raise JobDirError(
                f"There is no bucket {self.bucket_name}; make it, or give "
                "another one."
            ) from error

    @contextlib.contextmanager
    def _errors(self, doing, name=""):
        place = f"{self.url}/{name}" if name else self.url
        try:
            yield
        except auth_exceptions.TransportError as error:
            raise self._unreachable(doing, place, error) from error
        except (
            api_exceptions.Unauthorized,
            auth_exceptions.GoogleAuthError,
        ) as error:
            raise JobDirError(
                f"Not signed in for {place} ({_first_line(error)}); sign in "
                "with `gcloud auth application-default login`, or give the "
                "machine a service account, and run the same command again."
            ) from error
        except api_exceptions.Forbidden as error:
            raise JobDirError(
                f"Permission denied when {doing} {place}; give this account "
                "the role roles/storage.objectUser on the bucket, and run the "
                "same command again."
            ) from error
        except api_exceptions.NotFound as error:
            self._refuse_missing_bucket(error)
            raise self._changed(name) from error
        except api_exceptions.PreconditionFailed as error:
            raise self._changed(name) from error
        except DataCorruption as error:
            raise ObjectChangedError(
                f"{place} does not have the checksum that the bucket gives "
                "for it; it is damaged."
            ) from error
        except (
            api_exceptions.GoogleAPICallError,
            api_exceptions.RetryError,
            InvalidResponse,
            requests.RequestException,
            ConnectionError,
        ) as error:
            raise self._unreachable(doing, place, error) from error

    def _unreachable(self, doing, place, error):
        return StorageUnavailableError(
            f"The bucket could not be reached when {doing} {place} "
            f"({_first_line(error)}); run the same command again when it "
            "can be."
        )


def crc32c(content):
    """Returns the CRC32C of bytes, as an int."""
    return google_crc32c.value(content)


def _info(blob):
    return ObjectInfo(
        generation=int(blob.generation),
        # Some servers leave out what is 0 or empty.
        size=int(blob.size or 0),
        crc32c=int.from_bytes(base64.b64decode(blob.crc32c or ""), "big"),
        updated=blob.updated,
        owner=_owner(blob),
    )


def _owner(blob):
    return (blob.metadata or {}).get(OWNER)


def _is_placeholder(blob):
    """Whether an object stands for a folder, which a bucket does not have."""
    return blob.name.endswith("/") or (
        blob.size is None and _owner(blob) is None
    )


def _first_line(error):
    return str(error).split("\n")[0][:200]
