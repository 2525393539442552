"""Keeps a job directory in a bucket equal to a staging folder.

Training writes to the staging folder and never waits for the network. One
thread publishes what is there, in an order that lets a reader of the bucket
see only whole checkpoints, each after the rows that belong to it.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import shutil
import threading
import time

import google_crc32c

from trainer import files
from trainer.errors import (
    JobDirError,
    StorageUnavailableError,
    TrainerError,
)
from trainer.job_dir.bucket import claim as claim_lib, ownership
from trainer.job_dir.bucket.object_store import ObjectChangedError, crc32c
from trainer.job_dir.job_dir import MIRROR_FILE

INTERVAL_SECONDS = 5.0
_FINISHED, _MANIFEST = "finished.json", "manifest.json"
_PARALLEL_DOWNLOADS = 8
_APPENDED = ("metrics.jsonl", "logs/")
_CHECKPOINTS = "checkpoints/"
# What a command may have written while the job was running.
_OF_COMMANDS = ("plots/", "export/")
_NAMED_IN_ERRORS = 3


@dataclasses.dataclass(frozen=True)
class _Published:
    """What the bucket holds of a file."""

    generation: int
    size: int
    crc32c: int


class Mirror:
    """Publishes a staging folder.

    Args:
        job: the claimed `JobDir` of the staging folder.
        store: the `ObjectStore` of the job directory in the bucket.
        claim: a `BucketClaim` that is held.

    Attributes:
        others: dict of `ObjectInfo` by name: what lies there and is not of
            this job.
    """

    def __init__(self, job, store, claim):
        self._job = job
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

    def pull(self, console):
        """Makes the staging folder hold what the bucket holds.

        A staging folder that this machine left behind is kept when nobody
        has written to the bucket since: it holds all of that, and what could
        not be sent.

        Raises:
            ObjectChangedError: an object is damaged.
            JobDirError: an object of others is where the job would write.
        """
        store, remote = self._store, self._store.list()
        store.owner = ownership.find(store, remote) or self._job.id()
        remote = claim_lib.clear(store, remote)
        ours, self.others = ownership.split(remote, store.owner)
        ownership.refuse_clashes(store, ours, self.others)
        if self.others:
            console.line(ownership.others_sentence(store, self.others))
        if ownership.is_unmarked(remote):
            ownership.mark(store, ours, console)
        for name, info in _litter(ours).items():
            store.delete(name, info.generation)
            del ours[name]
        self._published = self._read_record()
        if {n: p.generation for n, p in self._published.items()} == {
            n: info.generation for n, info in ours.items()
        }:
            return
        self._clear()
        self._published = {
            name: _Published(info.generation, info.size, info.crc32c)
            for name, info in ours.items()
        }
        download(store, ours, self._job.root, console)
        self._write_record()

    def start(self):
        """Starts to publish, every few seconds."""
        self.is_started = True
        self._thread.start()

    def check(self):
        """Raises what stopped the publishing, if anything did.

        Raises:
            TrainerError: of storage, or of the claim; the message says what
                is not in the bucket.
        """
        if self._error is not None:
            raise self._unsent()
        self._claim.check()

    def finish(self, seconds, console, extend=False):
        """Publishes all that is left, and stops.

        Args:
            seconds: how long that may take.
            console: shows the progress.
            extend: whether each file that is sent gives that time anew: a
                link that is slow is not one that is gone.

        Raises:
            TrainerError: something is not in the bucket; the message says
                what. It stays in the staging folder.
        """
        self._final = True
        self._wake.set()
        if not self.is_started:
            self.start()
        started = time.monotonic()
        end = started + seconds
        total = left = sum(self._pending().values())
        with console.byte_bar("Uploading", total) as advance:
            while self._thread.is_alive() and time.monotonic() < end:
                self._thread.join(0.1)
                before, left = left, sum(self._pending().values())
                if left < before:
                    advance(before - left)
                    end = time.monotonic() + seconds if extend else end
        if self._error is None and not self._thread.is_alive():
            if self._sent_files:
                console.line(
                    f"Everything is in {self._store.url}: sent "
                    f"{self._store.bytes_sent / 1e6:.1f} MB with "
                    f"{self._cpu_seconds:.1f} s of CPU, and waited "
                    f"{time.monotonic() - started:.1f} s for the rest."
                )
            return
        raise self._unsent(f"{seconds:.0f} s were not enough.")

    def _unsent(self, reason=""):
        """Returns the error that says what is not in the bucket, and why.

        Anything but a `TrainerError` is a defect, and is returned as it is.
        """
        error = self._error or StorageUnavailableError(reason)
        if not isinstance(error, TrainerError):
            return error
        missing = sorted(self._pending())
        named = ", ".join(missing[:_NAMED_IN_ERRORS])
        if len(missing) > _NAMED_IN_ERRORS:
            named += f" and {len(missing) - _NAMED_IN_ERRORS} more"
        return type(error)(
            f"Not everything is in {self._store.url}: {error} Missing: "
            f"{named or 'nothing'}; it is kept in {self._job.root}, and the "
            "next start on this machine sends it."
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
        while True:
            names = sorted(
                (n for n in self._local_files() if n.startswith(_CHECKPOINTS)),
                key=_order_of_checkpoints,
            )
            with contextlib.ExitStack() as attempt:
                try:
                    files_by_name = {
                        name: attempt.enter_context(
                            open(self._job.root / name, "rb")
                        )
                        for name in names
                    }
                except FileNotFoundError:
                    continue  # Rotated away in the meantime: look again.
                opened.enter_context(attempt.pop_all())
                return files_by_name

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
            open(self._job.root / name, "rb") as file,
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
            with open(self._job.root / name, "rb") as file:
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
        self._write_record()

    def _note(self, name, info):
        self._sent_files += 1
        self._published[name] = _Published(
            info.generation, info.size, info.crc32c
        )
        self._write_record()

    def _local_files(self):
        """Returns the names of the files that belong in the bucket."""
        return {
            name
            for folder, _, file_names in os.walk(self._job.root)
            for name in (
                os.path.relpath(os.path.join(folder, name), self._job.root)
                for name in file_names
            )
            if ownership.is_file(name)
        }

    def _pending(self):
        """Returns the bytes that are not in the bucket, by name."""
        pending = {}
        published = dict(self._published)
        for name in self._local_files():
            with contextlib.suppress(FileNotFoundError):
                size = (self._job.root / name).stat().st_size
                known = published.get(name)
                if known is None:
                    pending[name] = size
                elif known.size != size:
                    pending[name] = abs(size - known.size)
        return pending

    def _clear(self):
        for path in self._job.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "claim.lock" and not path.name.startswith("."):
                path.unlink()

    def _read_record(self):
        try:
            record = json.loads((self._job.root / MIRROR_FILE).read_bytes())
        except FileNotFoundError:
            return {}
        return {
            name: _Published(*values)
            for name, values in record.items()
            # An earlier version took all that lay there for the job's.
            if ownership.is_file(name)
        }

    def _write_record(self):
        record = {
            name: dataclasses.astuple(published)
            for name, published in self._published.items()
        }
        files.write_atomically(
            self._job.root / MIRROR_FILE, json.dumps(record).encode()
        )


def _order_of_checkpoints(name):
    """By step, which has 7 digits or more; of each the manifest last."""
    folder = name.rpartition("/")[0]
    return len(folder), folder, name.endswith(_MANIFEST)


def _litter(ours):
    """What killed sessions left: half checkpoints, and parts of files."""
    whole = {
        name.rpartition("/")[0]
        for name in ours
        if name.endswith(f"/{_MANIFEST}")
    }
    return {
        name: info
        for name, info in ours.items()
        if ownership.is_tail(name)
        or (
            name.startswith(_CHECKPOINTS)
            and name.rpartition("/")[0] not in whole
        )
    }


def download(store, objects, folder, console):
    """Downloads objects in parallel, each checked against its CRC32C.

    A checkpoint's file that is damaged is left out: whoever reads that
    checkpoint will find it damaged, and use the one before.

    Args:
        store: an `ObjectStore`.
        objects: dict of `ObjectInfo` by name.
        folder: `pathlib.Path` to put them in.
        console: shows the progress.

    Raises:
        ObjectChangedError: another object is damaged, or changed meanwhile.
    """

    def fetch(name, info):
        try:
            content = store.read(name, info.generation)
        except ObjectChangedError:
            if name.startswith(_CHECKPOINTS):
                return info.size
            raise
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise JobDirError(
                f"{store.url}/{name} would land outside of {folder}; remove "
                "that object."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, content)
        return info.size

    total = sum(info.size for info in objects.values())
    with (
        console.byte_bar(f"Downloading {store.url}", total) as advance,
        concurrent.futures.ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool,
    ):
        for done in concurrent.futures.as_completed(
            [pool.submit(fetch, *item) for item in objects.items()]
        ):
            advance(done.result())
