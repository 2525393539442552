"""The claim on a job directory in a bucket: only one job writes there.

`claim.json` is renewed every 20 seconds. Its age is taken from the server's
time stamps, so no machine's clock matters. A claim that is 90 seconds old
belongs to a job that died.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid

from trainer.errors import JobDirError, StorageUnavailableError, TrainerError
from trainer.job_dir.bucket.answers import ObjectChangedError, printable
from trainer.job_dir.bucket.object_store import CLOCK, CLUSTER_TOKEN

NAME = "claim.json"
RENEW_SECONDS, STALE_SECONDS = 20.0, 90.0
# A claim that could not be renewed for this long is renewed again before
# anything is published: others may take it soon.
DOUBTFUL_SECONDS = 60.0
_POLL_SECONDS = 2.0
# Who loses a race for it sees the claim of the winner a moment later. A bucket
# that says so this often contradicts itself.
_TRIES, _PAUSE_SECONDS = 10, 1.0
# One that cannot be given up by then goes stale. Together with the last upload
# this is less than the 30 seconds after which a scheduler kills.
_RELEASE_SECONDS = 5.0
# A claim has 200 bytes.
_BYTES = 64 * 1024


def clear(store, remote):
    """Deletes what killed starts left that was for a moment.

    Args:
        store: the `ObjectStore` of the directory.
        remote: dict of `ObjectInfo` by name, as listed.

    Returns:
        dict as `remote`, without these and without the claim itself.
    """
    passing = {
        name: info
        for name, info in remote.items()
        # Those of a job in a folder below are its own business.
        if info.owner in (CLOCK, CLUSTER_TOKEN) and "/" not in name
    }
    for name, info in passing.items():
        store.delete(name, info.generation)
    return {
        name: info
        for name, info in remote.items()
        if name not in passing and name != NAME
    }


class BucketClaim:
    """Holds a job directory in a bucket.

    Args:
        store: the `ObjectStore` of the directory.
        machine: str, names the staging folder of this machine. Its `flock`
            is held, so an older claim with the same name is that of a job
            that died, and need not be waited for.

    Attributes:
        is_held: bool, whether it may lie in the bucket.
    """

    def __init__(self, store, machine):
        self._store = store
        self._machine = machine
        self._content = json.dumps(
            {
                "machine": machine,
                "session": uuid.uuid4().hex,
                "holder": f"process {os.getpid()} on {socket.gethostname()}",
            }
        ).encode()
        self._info = None
        # The generation of another one's claim that was seen first, and when.
        self._seen, self._seen_seconds = None, 0.0
        self.is_held = False
        self._renewed = 0.0
        self._error = None
        self._lock = threading.Lock()
        self._released = threading.Event()

    def acquire(self, console, stop):
        """Takes the claim, waiting for that of a dead job to go stale.

        Raises:
            JobDirError: another job holds it, or the bucket contradicts
                itself.
            InterruptedJobError: the stop signal came.
        """
        store = self._store.heeding(stop)
        lost = 0
        while self._info is None:
            stop.check()
            try:
                self._look(store, console, stop)
            except ObjectChangedError as error:
                lost += 1
                if lost == _TRIES:
                    raise JobDirError(
                        f"{self._store.url} could not be claimed: {lost} times "
                        f"{NAME} was another one a moment later. Start one job "
                        "there, not several; if it is the only one, the bucket "
                        f"contradicts itself, which last was: {error}"
                    ) from error
                console.line(
                    f"{self._store.url} is claimed by somebody else in this "
                    f"moment; looking again, {_TRIES - lost} times at most."
                )
                self._wait(_PAUSE_SECONDS, stop)
        threading.Thread(
            target=self._renew_forever, name="claim", daemon=True
        ).start()

    def check(self):
        """Raises if another job has taken the claim.

        Raises:
            JobDirError: it has, or this account may not renew it.
        """
        if self._error is not None:
            raise self._error

    def ensure(self):
        """Makes sure of the claim before something is published.

        Raises:
            JobDirError: as `check`.
            StorageUnavailableError: it could not be renewed.
        """
        self.check()
        if time.monotonic() - self._renewed > DOUBTFUL_SECONDS:
            self._renew()

    def release(self):
        """Gives the claim up, so that the next job need not wait."""
        self._released.set()
        if self._info is not None and self._error is None:
            thread = threading.Thread(
                target=self._give_up, name="release", daemon=True
            )
            thread.start()
            thread.join(_RELEASE_SECONDS)

    def _give_up(self):
        with contextlib.suppress(TrainerError):
            self._store.delete(NAME, self._info.generation)
            self.is_held = False

    def _look(self, store, console, stop):
        """Takes the claim if it can be had; else waits for some seconds.

        Args:
            store: the `ObjectStore` that heeds the stop signal.
            console: says what is waited for.
            stop: a `StopSignal`.

        Raises:
            JobDirError: another job holds it.
            ObjectChangedError: somebody else was faster.
        """
        found = store.info(NAME)
        if found is None:
            self._take(0, store)
            return
        holder = self._holder(store, found)
        if holder.get("machine") == self._machine:
            self._take(found.generation, store)
            return
        named = printable(str(holder["holder"]))
        if self._seen is None:
            self._seen, self._seen_seconds = found.generation, time.monotonic()
        if found.generation != self._seen:
            raise JobDirError(
                f"{self._store.url} is in use by {named}; wait until that job "
                "has ended, or give another --job_dir."
            )
        # This machine has watched it too, should the server's clock stand
        # still.
        age = max(
            self._age_seconds(store, found),
            time.monotonic() - self._seen_seconds,
        )
        left = STALE_SECONDS - age
        if left <= 0:
            self._take(found.generation, store)
            return
        console.line(
            f"{self._store.url} was claimed {age:.0f} s ago by {named}; "
            f"waiting up to {left:.0f} s to see whether it still runs."
        )
        self._wait(min(RENEW_SECONDS, left), stop)

    def _take(self, generation, store=None):
        started = time.monotonic()
        # Also where the answer is lost.
        self.is_held = True
        try:
            self._info = (store or self._store).write(
                NAME, self._content, generation
            )
        except ObjectChangedError:
            self.is_held = False
            raise
        self._renewed = started

    def _holder(self, store, found):
        holder = None
        if found.size <= _BYTES:
            # A RecursionError is what deep JSON ends with.
            with contextlib.suppress(ValueError, RecursionError):
                holder = json.loads(store.read(NAME, found))
        if not isinstance(holder, dict) or "holder" not in holder:
            raise JobDirError(
                f"{self._store.url}/{NAME} is not the claim of a job; move it "
                "away, or give another --job_dir."
            )
        return holder

    def _age_seconds(self, store, found):
        """How old a claim is, by the server's clock."""
        name = f"{CLOCK}-{uuid.uuid4().hex[:8]}"
        now = store.write(name, b"", owner=CLOCK)
        store.delete(name, now.generation)
        return (now.updated - found.updated).total_seconds()

    def _wait(self, seconds, stop):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            stop.check()
            time.sleep(min(_POLL_SECONDS, left))

    def _renew(self):
        with self._lock:
            try:
                self._take(self._info.generation)
            except ObjectChangedError as error:
                self._error = ObjectChangedError(
                    f"The claim on {self._store.url} was taken by another "
                    "job; this one stops and writes nothing more."
                )
                raise self._error from error
            except JobDirError as error:
                self._error = error
                raise

    def _renew_forever(self):
        while not self._released.wait(RENEW_SECONDS):
            try:
                self._renew()
            except StorageUnavailableError:
                continue  # `ensure` tries again before it matters.
            except JobDirError:
                return  # `check` says so.
