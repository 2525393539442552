"""Objects in a Cloud Storage bucket: the few calls that a job needs.

Retries are the client's own; which answers it tries again, and what the others
mean, is in `answers.py`. Credentials are the application's default ones, and
`STORAGE_EMULATOR_HOST` is honoured: both by the client.
"""

import copy
import io
import threading
import uuid

import google_crc32c
from google.cloud import storage as gcs
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from trainer import places
from trainer.job_dir.bucket import answers, object_info
from trainer.job_dir.bucket.answers import Call, Outcome

# What they say of an object that lives for a moment: the server's clock, and
# the secret of workers that meet. One that is left is nobody's.
CLOCK, CLUSTER_TOKEN = "claim-time", "cluster-token"
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
# How often a call looks whether it should stop.
_POLL_SECONDS = 0.1
_NEW = 0  # The generation of an object that must not exist yet.


class ObjectStore:
    """The objects under a `gs://bucket/prefix`.

    All methods raise `StorageUnavailableError` when the client's retries are
    used up, and `JobDirError` when the server says no: see `answers.TABLE`.

    Args:
        url: str, `gs://bucket/prefix`.
        timeout_seconds: how long the client retries one request.
        stop: a `StopSignal` that ends each call; None: none does.

    Attributes:
        owner: str, the id of the job that what is written belongs to; None
            for nobody's.

    Raises:
        ConfigError: the URL names no folder of a bucket.
        InterruptedJobError: the stop signal came.
    """

    def __init__(self, url, timeout_seconds, stop=None):
        place = places.parse(url)
        self.bucket_name = place.bucket
        self.prefix = f"{place.path}/" if place.path else ""
        self.url = str(place)
        self.owner = None
        self.bytes_sent = 0
        self._timeout_seconds = timeout_seconds
        self._stop = stop
        self._bucket = self._ask(
            Call.SIGN_IN, "", lambda: gcs.Client().bucket(place.bucket)
        )

    def heeding(self, stop):
        """Returns a store of the same objects whose calls a signal ends.

        A call that is ended may still arrive at the server.

        Args:
            stop: a `StopSignal`; None: no signal ends them.
        """
        store = copy.copy(self)
        store._stop = stop
        return store

    def list(self, folder=""):
        """Returns the `ObjectInfo` of every object, by name.

        The placeholders of folders, which the console and other tools make,
        are left out.

        Args:
            folder: only names that start with this.
        """

        def request():
            prefix, tokens, objects = self.prefix + folder, set(), {}
            listing = self._bucket.list_blobs(
                prefix=prefix, **self._settings(Call.LIST)
            )
            for page in listing.pages:
                # Without it an error would look like an empty bucket.
                if page.raw_page.get("kind") != "storage#objects":
                    raise ValueError("it is no listing")
                for blob in page:
                    if not blob.name.startswith(prefix):
                        raise ValueError(f"a name without {prefix!r}")
                    if not object_info.is_placeholder(blob):
                        name = blob.name.removeprefix(self.prefix)
                        objects[name] = object_info.of(blob)
                # Of a server that gives one twice the list has no end.
                if listing.next_page_token in tokens:
                    raise ValueError("the same page twice")
                tokens.add(listing.next_page_token)
            return objects

        return self._ask(Call.LIST, folder, request)

    def read(self, name, expected=None):
        """Returns the bytes of an object as they are stored, checked.

        Args:
            name: str.
            expected: `ObjectInfo` of the version expected, whose size and
                CRC32C the content must have; None for any.

        Raises:
            ObjectChangedError: it has another generation, is gone, or is
                damaged.
        """

        def request():
            content = _Content(expected.size if expected else None, self._stop)
            self._blob(name).download_to_file(
                content,
                if_generation_match=expected.generation if expected else None,
                checksum="crc32c",
                # Unpacked it would have another size and checksum.
                raw_download=expected is not None and expected.is_gzip,
                **self._settings(Call.READ),
            )
            return content.getvalue()

        content = self._ask(Call.READ, name, request)
        # The client does not check what came in two requests.
        if expected and (len(content), crc32c(content)) != (
            expected.size,
            expected.crc32c,
        ):
            raise self._damaged(name, f"it has {len(content):,} bytes")
        return content

    def info(self, name):
        """Returns the `ObjectInfo` of an object, or None."""

        def request():
            blob = self._blob(name)
            blob.reload(**self._settings(Call.LOOK))
            return object_info.of(blob)

        return self._ask(Call.LOOK, name, request)

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
        owner = owner or self.owner

        def request():
            blob = self._blob(name, owner)
            blob.upload_from_string(
                content,
                content_type="application/octet-stream",
                if_generation_match=generation,
                checksum="crc32c",
                **self._settings(Call.WRITE),
            )
            return object_info.of(blob)

        self.bytes_sent += len(content)
        ours = (len(content), crc32c(content), owner)
        info = self._ask(Call.WRITE, name, request, ours)
        if (info.size, info.crc32c) != ours[:2]:
            raise self._damaged(name, f"it has {info.size:,} bytes")
        return info

    def mark(self, name, generation):
        """Makes an object that is there one of the store's owner.

        Raises:
            ObjectChangedError: it has another generation by now.
        """

        def request():
            blob = self._blob(name, self.owner)
            blob.patch(
                if_generation_match=generation, **self._settings(Call.MARK)
            )
            return object_info.of(blob)

        self._ask(Call.MARK, name, request)

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

        def request():
            blob = self._blob(name, self.owner)
            blob.compose(
                [self._blob(name), self._blob(part_name)],
                if_generation_match=before.generation,
                **self._settings(Call.APPEND),
            )
            return object_info.of(blob)

        ours = (before.size + len(tail), whole_crc32c, self.owner)
        after = self._ask(Call.APPEND, name, request, ours)
        if after.crc32c != whole_crc32c:
            raise self._changed(name)
        self.delete(part_name, part.generation)
        return after

    def delete(self, name, generation):
        """Deletes a version of an object; it may be gone already.

        Raises:
            ObjectChangedError: it has another generation by now.
        """

        def request():
            self._blob(name).delete(
                if_generation_match=generation, **self._settings(Call.DELETE)
            )

        self._ask(Call.DELETE, name, request)

    def _blob(self, name, owner=None):
        blob = self._bucket.blob(self.prefix + name)
        if owner:
            blob.metadata = {object_info.OWNER: owner}
        return blob

    def _settings(self, call):
        """Returns how the client makes the requests of a `Call`."""

        def is_retried(error):
            if self._stop is not None and self._stop.requested:
                return False
            answer = answers.of(error)
            return (
                answer is not None
                and answers.row(call, answer).outcome is Outcome.RETRIED
            )

        return {
            "retry": DEFAULT_RETRY.with_predicate(is_retried).with_timeout(
                self._timeout_seconds
            ),
            "timeout": (_CONNECT_SECONDS, _READ_SECONDS),
        }

    def _ask(self, call, name, request, ours=None):
        """Returns what a request returns, or what its answer means.

        Args:
            call: a `Call`.
            name: str, of the object; "" for none.
            request: function without arguments, which asks the client.
            ours: (size, crc32c, owner) that the object has if an earlier
                request of ours has arrived, whose answer was lost.

        Returns:
            The same; None for an object that is not there.
        """
        try:
            return self._unless_stopped(request)
        except Exception as error:
            answer = answers.of(error)
            if answer is None:
                raise
            row = answers.row(call, answer)
            if row.outcome is Outcome.ABSENT:
                return None
            if row.outcome is Outcome.OURS:
                found = self.info(name)
                if found and (found.size, found.crc32c, found.owner) == ours:
                    return found
            raise self._error(row, call, name, answers.said(error)) from error

    def _unless_stopped(self, request):
        """Returns what a request returns, unless the stop signal comes.

        A request that hangs, or whose answer trickles in, cannot be cut. It
        is left to a thread that nobody waits for.
        """
        if self._stop is None:
            return request()
        self._stop.check()
        results, errors = [], []

        def work():
            try:
                results.append(request())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, name="storage", daemon=True)
        thread.start()
        while thread.is_alive():
            self._stop.check()
            thread.join(_POLL_SECONDS)
        if errors:
            # After the signal the client does not try again.
            self._stop.check()
            raise errors[0]
        return results[0]

    def _error(self, row, call, name, said):
        return row.error(
            doing=call.value,
            place=answers.printable(f"{self.url}/{name}".rstrip("/")),
            bucket=self.bucket_name,
            said=said,
        )

    def _changed(self, name):
        return self._error(answers.row(Call.READ, "412"), Call.READ, name, "")

    def _damaged(self, name, said):
        row = answers.row(Call.READ, answers.BAD_CHECKSUM)
        return self._error(row, Call.READ, name, said)


class _Content(io.BytesIO):
    """What is downloaded of an object, which may lie about its size."""

    def __init__(self, size, stop):
        super().__init__()
        self._size = size
        self._stop = stop

    def write(self, piece):
        if self._stop is not None:
            self._stop.check()
        if self._size is not None and self.tell() + len(piece) > self._size:
            raise DataCorruption(
                None, f"it has more than the {self._size:,} bytes of its size"
            )
        return super().write(piece)


def crc32c(content):
    """Returns the CRC32C of bytes, as an int."""
    return google_crc32c.value(content)
