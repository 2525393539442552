"""Makes a job directory in a bucket equal to a staging folder.

Training writes to the staging folder and never waits for the network. One
thread publishes what is there, in an order that lets a reader of the bucket
see only whole checkpoints, each after the rows that belong to it.
"""

import contextlib
import os
import threading
import time

import google_crc32c

from trainer.errors import (
    JobDirError,
    StorageUnavailableError,
    TrainerError,
)
from trainer.job_dir.bucket import ownership, published
from trainer.job_dir.bucket.answers import ObjectChangedError
from trainer.job_dir.bucket.object_store import crc32c
from trainer.job_dir.bucket.pull import pull

INTERVAL_SECONDS = 5.0
# A scheduler that sends SIGTERM kills 30 seconds later.
STOP_SECONDS = 20.0
# Of looking at the checkpoints while the job saves and removes some.
_LOOKS, _PAUSE_SECONDS = 100, 0.05
_FINISHED, _MANIFEST = "finished.json", "manifest.json"
_APPENDED = ("metrics.jsonl", "logs/")
_CHECKPOINTS = "checkpoints/"
# What a command may have written while the job was running.
_OF_COMMANDS = ("plots/", "export/")
_NAMED_IN_ERRORS = 3


class Mirror:
    """Publishes a staging folder.

    Args:
        root: `pathlib.Path` of the staging folder, which is held.
        store: the `ObjectStore` of the job directory in the bucket.
        claim: a `BucketClaim`, held from `pull` on.

    Attributes:
        others: dict of `ObjectInfo` by name: what lies there and is not of
            this job.
        is_started: bool, whether `start` was called.
    """

    def __init__(self, root, store, claim):
        self._root = root
        self._store = store
        self._claim = claim
        self.others = {}
        self._published = {}
        self._seen = {}
        self._error = None
        self._wake = threading.Event()
        self._final = False
        self.is_started = False
        self._sent_files = 0
        self._cpu_seconds = 0.0
        self._thread = threading.Thread(
            target=self._work, name="mirror", daemon=True
        )

    def pull(self, job_id, console, stop=None):
        """Makes the staging folder hold what the bucket holds: `pull.pull`.

        Raises:
            InterruptedJobError: the stop signal came.
        """
        store = self._store.heeding(stop)
        self._published, self.others = pull(store, self._root, job_id, console)
        self._store.owner = store.owner

    def start(self):
        """Starts to publish, every few seconds."""
        self.is_started = True
        self._thread.start()

    def is_needed(self):
        """Whether the staging folder may have what the bucket does not."""
        return self.is_started and bool(self._local_files())

    def check(self):
        """Raises what stopped the publishing, if anything did.

        Raises:
            TrainerError: of storage, or of the claim; the message says what
                is not in the bucket.
        """
        if self._error is not None:
            raise self._unsent()
        self._claim.check()

    def finish(self, seconds, console, extend=False, stop=None):
        """Publishes all that is left, and stops.

        Args:
            seconds: how long that may take.
            console: shows the progress.
            extend: whether each file that is sent gives that time anew: a
                link that is slow is not one that is gone.
            stop: a `StopSignal`, after which it may take `STOP_SECONDS` more.

        Raises:
            TrainerError: something is not in the bucket; the message says
                what. It stays in the staging folder.
        """
        self._final = True
        self._wake.set()
        if not self.is_started:
            self.start()
        started = time.monotonic()
        end, limit = started + seconds, f"{seconds:.0f} s"
        is_stopped = False
        total = left = sum(self._pending().values())
        with console.byte_bar("Uploading", total) as advance:
            while self._thread.is_alive() and time.monotonic() < end:
                self._thread.join(0.1)
                before, left = left, sum(self._pending().values())
                if left < before:
                    advance(before - left)
                    if extend and not is_stopped:
                        end = time.monotonic() + seconds
                if stop is not None and stop.requested and not is_stopped:
                    is_stopped = True
                    end = min(end, time.monotonic() + STOP_SECONDS)
                    limit = f"{STOP_SECONDS:.0f} s after {stop.name}"
        if self._error is None and not self._thread.is_alive():
            if self._sent_files:
                console.line(
                    f"Everything is in {self._store.url}: sent "
                    f"{self._store.bytes_sent / 1e6:.1f} MB with "
                    f"{self._cpu_seconds:.1f} s of CPU, and waited "
                    f"{time.monotonic() - started:.1f} s for the rest."
                )
            return
        raise self._unsent(f"{limit} were not enough.")

    def abandon(self, seconds, console):
        """Publishes what is left and gives up the claim, as `finish` raises."""
        try:
            self.finish(seconds, console)
        finally:
            self._claim.release()

    def _unsent(self, reason=""):
        """Returns the error that says what is not in the bucket, and why.

        Anything but a `TrainerError` is a defect, and is returned as it is.
        """
        error = self._error or StorageUnavailableError(reason)
        if not isinstance(error, TrainerError):
            return error
        missing = sorted(self._pending())
        if not missing:
            return type(error)(
                f"Not sure whether all is in {self._store.url}: {error}"
            )
        named = ", ".join(missing[:_NAMED_IN_ERRORS])
        if len(missing) > _NAMED_IN_ERRORS:
            named += f" and {len(missing) - _NAMED_IN_ERRORS} more"
        # `pull` gives up what is staged if the bucket has changed.
        advice = (
            "copy it away if it is wanted: the next start on this machine "
            "takes what the bucket holds, if that has changed."
            if isinstance(error, ObjectChangedError)
            else "the next start on this machine sends it, if nobody else has "
            "written to the bucket by then."
        )
        return type(error)(
            f"Not everything is in {self._store.url}: {error} Missing: "
            f"{named}; it is kept in {self._root}; {advice}"
        )

    def _work(self):
        try:
            while True:
                final = self._final
                self._wake.clear()
                self._publish()
                if final:
                    return
                if not self._final:
                    self._wake.wait(INTERVAL_SECONDS)
        except Exception as error:
            self._error = error
        finally:
            self._cpu_seconds = time.thread_time()

    def _publish(self):
        """One round: everything that differs, in the order that is safe."""
        with contextlib.ExitStack() as opened:
            # Looked at before the rows are sent: rows up to the step of a
            # checkpoint are on the disk before it is visible there.
            checkpoints = self._open_checkpoints(opened)
            local = self._local_files()
            if _FINISHED in self._published and _FINISHED not in local:
                self._delete(_FINISHED)
            for name in sorted(local):
                if not name.startswith((*_APPENDED, _CHECKPOINTS, _FINISHED)):
                    self._replace_file(name)
            for name in sorted(local):
                if name.startswith(_APPENDED):
                    self._append(name)
            # The older first: who goes on from the newest that is there finds
            # the earlier ones that will be kept, the best among them.
            for name, file in checkpoints.items():
                self._replace(name, file)
            self._delete_gone(checkpoints)
            if _FINISHED in local:
                self._replace_file(_FINISHED)

    def _open_checkpoints(self, opened):
        """Opens the files of all checkpoints that are on the disk.

        An open file can be read to its end, also when it is rotated away.

        Args:
            opened: a `contextlib.ExitStack` that will close them.

        Returns:
            A dict of files by name, in the order in which they are to be
            sent: of a checkpoint the manifest last, which makes it whole.
        """
        for _ in range(_LOOKS):
            names = sorted(
                (n for n in self._local_files() if n.startswith(_CHECKPOINTS)),
                key=_order_of_checkpoints,
            )
            with contextlib.ExitStack() as attempt:
                try:
                    files_by_name = {
                        name: attempt.enter_context(
                            open(self._root / name, "rb")
                        )
                        for name in names
                    }
                except FileNotFoundError as error:
                    # Rotated away in the meantime: look again.
                    missing = error.filename
                    time.sleep(_PAUSE_SECONDS)
                    continue
                opened.enter_context(attempt.pop_all())
                return files_by_name
        raise JobDirError(
            f"{missing} is listed but cannot be opened; remove it, and run the "
            "same command again."
        )

    def _delete_gone(self, checkpoints):
        local = self._local_files()
        gone = sorted(
            (
                name
                for name in self._published
                if name not in checkpoints
                and (name not in local or name.startswith(_CHECKPOINTS))
            ),
            key=lambda name: not name.endswith(_MANIFEST),
        )
        for name in gone:
            self._delete(name)

    def _replace_file(self, name):
        """Sends a whole file, if it is not what the bucket has."""
        # What is not there any more is deleted when the next round looks.
        with (
            contextlib.suppress(FileNotFoundError),
            open(self._root / name, "rb") as file,
        ):
            self._replace(name, file)

    def _replace(self, name, file):
        status = os.fstat(file.fileno())
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._seen.get(name) == mark:
            return
        content = file.read()
        known = self._published.get(name)
        if known is None or (known.size, known.crc32c) != (
            len(content),
            crc32c(content),
        ):
            self._write(name, content, known)
        self._seen[name] = mark

    def _append(self, name):
        """Sends what was added to a file, or all of it if it was rewritten."""
        known = self._published.get(name)
        try:
            with open(self._root / name, "rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                start = known.crc32c if known is not None else None
                if known is not None and self._seen.get(name) != inode:
                    start = crc32c(file.read(known.size))
                elif known is not None:
                    file.seek(known.size)
                if known is None or start != known.crc32c:
                    file.seek(0)
                    self._write(name, file.read(), known)
                elif tail := file.read():
                    self._claim.ensure()
                    whole = google_crc32c.extend(known.crc32c, tail)
                    self._note(
                        name, self._store.append(name, tail, known, whole)
                    )
        except FileNotFoundError:
            return
        self._seen[name] = inode

    def _write(self, name, content, known):
        self._claim.ensure()
        generation = known.generation if known is not None else 0
        try:
            info = self._store.write(name, content, generation)
        except ObjectChangedError:
            found = self._store.info(name)
            if found is None:
                raise
            if found.owner != self._store.owner:
                raise ownership.clash(self._store, name) from None
            # Half a checkpoint that a killed session left there is invisible,
            # and may be replaced. Anything else is the work of another one.
            is_half = known is None and name.startswith(_CHECKPOINTS)
            if not is_half and not name.startswith(_OF_COMMANDS):
                raise
            info = self._store.write(name, content, found.generation)
        self._note(name, info)

    def _delete(self, name):
        self._claim.ensure()
        self._store.delete(name, self._published[name].generation)
        del self._published[name]
        self._seen.pop(name, None)
        published.write(self._root, self._published)

    def _note(self, name, info):
        self._sent_files += 1
        self._published[name] = published.Published.of(info)
        published.write(self._root, self._published)

    def _local_files(self):
        """Returns the names of the files that belong in the bucket."""
        return {
            name
            for folder, _, file_names in os.walk(self._root)
            for name in (
                os.path.relpath(os.path.join(folder, name), self._root)
                for name in file_names
            )
            if ownership.is_file(name)
        }

    def _pending(self):
        """Returns the bytes that are not in the bucket, by name."""
        pending = {}
        sent = dict(self._published)
        for name in self._local_files():
            with contextlib.suppress(FileNotFoundError):
                size = (self._root / name).stat().st_size
                known = sent.get(name)
                if known is None:
                    pending[name] = size
                elif known.size != size:
                    pending[name] = abs(size - known.size)
        return pending


def _order_of_checkpoints(name):
    """By step, which has 7 digits or more; of each the manifest last."""
    folder = name.rpartition("/")[0]
    return len(folder), folder, name.endswith(_MANIFEST)
