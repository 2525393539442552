"""The workers of a job: telling each other things, and noticing who is lost.

TensorFlow's collectives wait for a missing worker, some of them forever, and
do not say who it is. So each worker keeps a connection to the chief, made
before TensorFlow starts, on the port that TensorFlow then takes over.
"""

import contextlib
import io
import os
import socket
import threading
import time

import numpy as np
import tensorflow as tf

from trainer.distributed import messages, rendezvous
from trainer.errors import PeerLostError, TrainerError
from trainer.job_dir import arrays as arrays_lib
from trainer.runtime import platform

# A worker that is silent for this long is lost. TensorFlow needs 8 to 9
# seconds to notice a cut link, and all must have ended after 60.
SILENCE_SECONDS = 20.0
_BEAT_SECONDS = 2.0
_POLL_SECONDS = 0.25
_FAREWELL_SECONDS = 2.0
# After a loss, how long the main thread may take to notice it, before the
# process is ended under it; it may hang in a collective.
_NOTICE_SECONDS = 10.0
# The bytes of a message: of one without arrays, and of the state of a model,
# which is less than the memory of any GPU.
_MOST_WORDS, _MOST_STATE = 1 << 10, 1 << 37
# Of messages that have not been heard yet; a worker has a handful.
_MOST_KINDS = 16
# What a worker answers that is asked where it stands.
_STANDS = "stands"
_NO_SECRET = contextlib.nullcontext()


class Peers:
    """The connections of a worker: of the chief to all, of others to the chief.

    Args:
        topology: a `Topology`.
        links: dict of connected sockets by index of the worker at the end.
        stop: the `StopSignal` of this process.
        console: a `Console`.

    Attributes:
        stands: function that says where the threads of this process stand.
    """

    def __init__(self, topology, links, stop, console):
        self.topology = topology
        self._links = links
        self._stop = stop
        self._console = console
        self._locks = {index: threading.Lock() for index in links}
        self._inbox = {index: {} for index in links}
        self._ended = {index: threading.Event() for index in links}
        self._changed = threading.Condition()
        self._error = None
        self._noticed = threading.Event()
        self._left = False
        self.stands = lambda: "it has not begun"
        # Of the others a chief hears words alone.
        self._most_bytes = _MOST_WORDS if self.is_chief else _MOST_STATE
        for index, link in links.items():
            link.settimeout(SILENCE_SECONDS)
            self._spawn(self._listen, index)
        self._spawn(self._beat)

    @property
    def is_chief(self):
        """Whether this process leads."""
        return self.topology.is_chief

    def tell(self, kind, content, arrays=None):
        """Sends a message to all peers of this process.

        Args:
            kind: str, what `hear` waits for.
            content: a JSON value.
            arrays: NumPy arrays by name.

        Raises:
            PeerLostError: a peer was lost.
        """
        payload = io.BytesIO()
        np.savez(payload, **(arrays or {}))
        for index in self._links:
            try:
                self._send(
                    index,
                    {"kind": kind, "content": content},
                    payload.getbuffer(),
                )
            except OSError as error:
                self._lose_unless_explained(index, error)
        self.check()

    def hear(self, kind):
        """Waits for a message of a kind from each peer of this process.

        Returns:
            A list of (content, arrays), by index of the peer.

        Raises:
            PeerLostError: a peer was lost.
            InterruptedJobError: the stop signal came.
        """
        with self._changed:
            while not all(kind in box for box in self._inbox.values()):
                self.check()
                self._stop.check()
                self._changed.wait(_POLL_SECONDS)
            heard = [
                self._inbox[index].pop(kind) for index in sorted(self._inbox)
            ]
        return [(content, _arrays(payload)) for content, payload in heard]

    def where_all_stand(self, seconds):
        """Asks the other workers where their threads stand.

        Args:
            seconds: how long they may take to answer.

        Returns:
            A dict of str by index of the worker; None for one that does not
            answer.
        """
        for index in self._links:
            # Whoever cannot be reached has no answer.
            with contextlib.suppress(OSError):
                self._send(index, {"kind": "where"})
        with self._changed:
            self._changed.wait_for(
                lambda: all(_STANDS in box for box in self._inbox.values()),
                seconds,
            )
            return {
                index: box.get(_STANDS, (None, b""))[0]
                for index, box in sorted(self._inbox.items())
            }

    def wait_for_chief(self):
        """Waits until the chief has ended well.

        Raises:
            PeerLostError: the chief ended otherwise; with its exit code.
        """
        with self._changed:
            while not self._error and "bye" not in self._inbox[0]:
                self._changed.wait(_POLL_SECONDS)
        self.check()

    def check(self):
        """Raises `PeerLostError` once a peer is lost."""
        if self._error is not None:
            self._noticed.set()
            raise self._error

    @contextlib.contextmanager
    def guard(self):
        """Turns TensorFlow's error about a lost peer into one that names it."""
        try:
            yield
        except tf.errors.OpError as error:
            with self._changed:
                # TensorFlow may know of a cut link before the silence tells.
                self._changed.wait_for(
                    lambda: self._error, SILENCE_SECONDS + _BEAT_SECONDS
                )
            if self._error is None:
                raise
            self._noticed.set()
            raise self._error from error

    def leave(self, header):
        """Says good-bye: the end of this process is no loss.

        Args:
            header: dict, as `messages.bye` returns it.
        """
        self._left = True
        self._noticed.set()
        for index in self._links:
            with contextlib.suppress(OSError):
                self._send(index, header)
                # All that was sent arrives before the end of the stream.
                self._links[index].shutdown(socket.SHUT_WR)
        for ended in self._ended.values():
            ended.wait(_FAREWELL_SECONDS)

    def _spawn(self, target, *args):
        threading.Thread(target=target, args=args, daemon=True).start()

    def _send(self, index, header, payload=b""):
        with self._locks[index]:
            messages.send(self._links[index], header, payload)

    def _beat(self):
        """Shows that this process lives, and forwards its stop signal."""
        stop_sent = False
        beat = 0.0
        while not self._left:
            due = time.monotonic() - beat >= _BEAT_SECONDS
            if due:
                beat = time.monotonic()
            for index in self._links:
                try:
                    if due:
                        self._send(index, {"kind": "beat"})
                    if self._stop.requested and not (
                        stop_sent or self.is_chief
                    ):
                        self._send(
                            index, {"kind": "stop", "content": self._stop.name}
                        )
                        stop_sent = True
                except OSError as error:
                    self._lose_unless_explained(index, error)
                    return
            time.sleep(_POLL_SECONDS)

    def _listen(self, index):
        """Takes what a peer sends, until it is lost or says good-bye."""
        try:
            while True:
                header, payload = messages.receive(
                    self._links[index], self._most_bytes
                )
                kind, content = header["kind"], header.get("content")
                if kind == "stop":
                    name = messages.sentence(content)
                    self._stop.request(
                        f"{name} to {self.topology.describe(index)}"
                    )
                elif kind == "where" and not self.is_chief:
                    # Its text is long, and this thread has to listen.
                    self._spawn(self._tell_where)
                elif kind == _STANDS:
                    text = messages.text(content)
                    self._keep(index, kind, text, b"")
                elif kind == "lost":
                    farewell = messages.farewell(header)
                    self._fail(_lost(farewell.reason, farewell.exit_code))
                elif kind == "bye":
                    farewell = messages.farewell(header)
                    if farewell.exit_code or self.is_chief:
                        who = self.topology.describe(index)
                        self._fail(farewell.error(f"The {who}"))
                    self._keep(index, kind, content, b"")
                    return
                elif kind != "beat":
                    self._keep(index, kind, content, payload)
        except TimeoutError:
            self._lose(
                index, f"has been silent for {SILENCE_SECONDS:.0f} seconds"
            )
        except (OSError, EOFError, ValueError) as error:
            self._lose(index, f"is gone ({error})")
        finally:
            self._ended[index].set()

    def _tell_where(self):
        text = self.stands()[: messages.MOST_TEXT]
        with contextlib.suppress(OSError):  # Its loss is noticed elsewhere.
            self._send(0, {"kind": _STANDS, "content": text})

    def _keep(self, index, kind, content, payload):
        with self._changed:
            box = self._inbox[index]
            # What nobody waits for would stay for ever.
            if kind not in box and len(box) == _MOST_KINDS:
                raise ValueError(messages.MISFIT)
            box[kind] = (content, payload)
            self._changed.notify_all()

    def _lose_unless_explained(self, index, error):
        """Takes an error of sending for a loss, unless a good-bye came."""
        self._ended[index].wait(_FAREWELL_SECONDS)
        if "bye" not in self._inbox[index]:
            self._lose(index, f"cannot be reached ({error})")

    def _lose(self, index, what):
        self._fail(
            PeerLostError(
                f"Lost {self.topology.describe(index)}: it {what}; run the "
                "same command again on all workers to go on from the last "
                "checkpoint."
            )
        )

    def _fail(self, error):
        with self._changed:
            if self._error is not None or self._left:
                return
            self._error = error
            self._changed.notify_all()
        self._spawn(self._end_under_main_thread)
        if self.is_chief:
            # The others have no connection to the one that is lost.
            for index in self._links:
                with contextlib.suppress(OSError):
                    self._send(
                        index, {**messages.bye_for(error), "kind": "lost"}
                    )

    def _end_under_main_thread(self):
        if not self._noticed.wait(_NOTICE_SECONDS):
            self._console.error(str(self._error))
            os._exit(platform.exit_code(self._error.exit_code))


def _arrays(payload):
    """Returns the arrays of a message, by name."""
    try:
        return arrays_lib.parse(payload)
    except arrays_lib.NoArraysError as error:
        raise PeerLostError(
            f"What another worker sent is {error}; start all workers again."
        ) from error


def _lost(message, exit_code):
    error = PeerLostError(message)
    error.exit_code = exit_code
    return error


@contextlib.contextmanager
def together(
    topology,
    identity,
    timeout_seconds,
    stop,
    console,
    secret=_NO_SECRET,
):
    """Connects the workers of a job while the block runs.

    Args:
        topology: a `Topology`.
        identity: dict of JSON values that must be the same on all workers.
        timeout_seconds: how long the others may take to appear.
        stop: the `StopSignal` of this process.
        console: a `Console`.
        secret: a context that gives the `Secret` of the job, or None.

    Yields:
        The `Peers` of this process.

    Raises:
        PeerLostError: a worker did not appear, or was lost.
        ConfigError: the chief was started with other flags.
        InterruptedJobError: the stop signal came before all were there.
    """
    meet = rendezvous.gather if topology.is_chief else rendezvous.join
    with secret as known:
        links = meet(topology, identity, timeout_seconds, stop, console, known)
    peers = Peers(topology, links, stop, console)
    try:
        with peers.guard():
            yield peers
    except TrainerError as error:
        peers.leave(messages.bye_for(error))
        raise
    except BaseException as error:
        peers.leave(messages.bye(1, f"{type(error).__name__}: {error}"))
        raise
    else:
        peers.leave(messages.bye(0, "finished"))
