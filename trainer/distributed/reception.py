"""Who comes to the chief's port: workers of this job, and strangers.

Whatever a stranger does there, the chief goes on as if nobody had come.
"""

import contextlib
import dataclasses
import errno
import selectors
import time

from trainer.distributed import messages, proof
from trainer.errors import ConfigError

# For a whole hello, which a worker sends as soon as it is connected.
_HELLO_SECONDS = 5.0
# For its proof, for which it may have to read the secret in a bucket.
_PROOF_SECONDS = 30.0
# Besides one for each worker.
_MOST_GUESTS = 64
_MOST_LINES = 50
_MOST_DIFFERENCES = 10
_BREATH_SECONDS = 0.05
# How a worker differs that has a secret, or has none.
_ONE_SECRET = {
    True: "a secret (the chief has none; see --cluster_secret)",
    False: "no secret (the chief has one; see --cluster_secret)",
}
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


@dataclasses.dataclass(frozen=True)
class _Claim:
    """Who a guest says it is, and the nonces by which it has to prove it."""

    index: int
    identity: dict
    nonces: tuple[str, str]


@dataclasses.dataclass(frozen=True)
class _Guest:
    """A connection of which nobody knows yet whose it is."""

    address: str
    note: messages.Note
    end: float
    claim: _Claim | None = None


class Reception:
    """The connections to the chief's port, while it waits for the workers.

    None of them is waited for: each is read as far as it has come.

    Args:
        listener: the socket of that port, which listens.
        topology: a `Topology`.
        identity: dict of JSON values that must be the same on all workers.
        console: a `Console`.
        secret: the `Secret` of the job; None if it has none.

    Attributes:
        links: dict of connected sockets by index of the worker.
        refused: dict of how the flags of a worker differ, by its index.
    """

    def __init__(self, listener, topology, identity, console, secret=None):
        self.links = {}
        self.refused = {}
        self._topology = topology
        self._identity = identity
        self._console = console
        self._secret = secret
        self._key = secret and secret.find(secret.name)
        self._guests = {}
        self._most_guests = _MOST_GUESTS + len(topology.hosts)
        self._said = set()
        listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def serve(self, seconds):
        """Takes what has come; waits so many seconds if nothing has."""
        for key, _ in self._selector.select(seconds):
            key.data(key.fileobj)
        now = time.monotonic()
        for link in [link for link, g in self._guests.items() if g.end <= now]:
            self._ignore(
                link,
                f"it did not prove within {_PROOF_SECONDS:g} seconds who it is"
                if self._guests[link].claim
                else f"it did not say within {_HELLO_SECONDS:g} seconds who it "
                "is",
            )

    def welcome(self):
        """Tells all workers that have joined that the job begins."""
        for link in self.links.values():
            _send(link, {"kind": "welcome"})

    def dismiss(self, error):
        """Tells all workers that have joined which `TrainerError` ends it."""
        for link in self.links.values():
            _send(link, messages.bye_for(error))
            link.close()

    def close(self):
        """Lets go of everyone but the workers that have joined."""
        for link in self._guests:
            link.close()
        self._selector.close()

    def _accept(self, listener):
        # No more at once: the chief has a clock and signals to look at.
        for _ in range(self._most_guests):
            try:
                link, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR and self._guests:
                    self._ignore_oldest()
                    continue
                # Trying again at once would be of no use, and take a core.
                time.sleep(_BREATH_SECONDS)
                return
            link.setblocking(False)
            self._guests[link] = _Guest(
                address[0],
                messages.Note(link),
                time.monotonic() + _HELLO_SECONDS,
            )
            self._selector.register(link, selectors.EVENT_READ, self._read)
            # A worker's hello is often there by now.
            self._read(link)
            if len(self._guests) > self._most_guests:
                self._ignore_oldest()

    def _read(self, link):
        guest = self._guests.get(link)
        if guest is None:
            return  # It had to go a moment ago.
        try:
            header = guest.note.read()
            if header is None:
                return
            if guest.claim:
                self._check_proof(link, header, guest.claim)
                return
            index, identity, nonce = read_hello(
                header, len(self._topology.hosts)
            )
        except (OSError, EOFError):
            self._ignore(link, "it was closed before it said who it is")
        except ValueError as error:
            self._ignore(link, str(error))
        else:
            if bool(nonce) != bool(self._secret):
                # Whether there is one is no secret.
                self._refuse(link, index, _ONE_SECRET[bool(nonce)])
            elif self._secret:
                self._challenge(link, index, identity, nonce)
            else:
                self._compare(link, index, identity)

    def _challenge(self, link, index, identity, nonce):
        """Proves to a worker that this is the chief, and asks for the same."""
        claim = _Claim(index, identity, (proof.new_nonce(), nonce))
        self._guests[link] = dataclasses.replace(
            self._guests[link],
            note=messages.Note(link),
            end=time.monotonic() + _PROOF_SECONDS,
            claim=claim,
        )
        _send(
            link,
            {
                "kind": "challenge",
                "nonce": claim.nonces[0],
                "secret": self._secret.name,
                "proof": proof.prove(
                    self._key, proof.CHIEF, claim.nonces, index, identity
                ),
            },
        )

    def _check_proof(self, link, header, claim):
        if header["kind"] != "proof" or not proof.is_proof(
            header.get("proof"),
            self._key,
            proof.WORKER,
            claim.nonces,
            claim.index,
            claim.identity,
        ):
            raise ValueError("it does not know the secret of this job")
        self._compare(link, claim.index, claim.identity)

    def _compare(self, link, index, identity):
        differing = differences(identity, self._identity)
        if differing:
            self._refuse(link, index, differing)
        else:
            self._admit(link, index)

    def _admit(self, link, index):
        address = self._guests.pop(link).address
        if index in self.links:
            self._close(self.links.pop(index))
        self.links[index] = link
        self._selector.modify(link, selectors.EVENT_READ, self._end)
        self.refused.pop(index, None)
        self._console.line(
            f"{self._topology.describe(index)} joined from {address}."
        )

    def _end(self, link):
        """Takes what a worker says that has nothing to say yet for its end."""
        for index in [i for i in self.links if self.links[i] is link]:
            self._close(self.links.pop(index))

    def _refuse(self, link, index, differing):
        address = self._guests.pop(link).address
        self.refused[index] = differing
        reason = (
            f"{self._topology.describe(index)} was started with {differing}; "
            "give all workers the same."
        )
        _send(link, messages.bye_for(ConfigError(reason)))
        self._close(link)
        self._say_once(
            self._console.warning,
            f"Refused a connection from {address}: {reason}",
        )

    def _ignore(self, link, reason):
        address = self._guests.pop(link).address
        self._close(link)
        self._say_once(
            self._console.line,
            f"Ignored a connection from {address}: {reason}.",
        )

    def _ignore_oldest(self):
        self._ignore(next(iter(self._guests)), "too many came after it")

    def _close(self, link):
        self._selector.unregister(link)
        link.close()

    def _say_once(self, say, text):
        if text in self._said or len(self._said) > _MOST_LINES:
            return
        self._said.add(text)
        if len(self._said) > _MOST_LINES:
            text = "Others that are ignored or refused will not be named."
        say(text)


def read_hello(header, workers):
    """Returns who a worker says it is.

    Args:
        header: a dict with a `kind`.
        workers: int, how many the job has, the chief among them.

    Returns:
        (index, identity, nonce): int, dict of JSON values, and the number for
        which it wants a proof, a str; empty if it wants none.

    Raises:
        ValueError: this is not the hello of a worker of such a job.
    """
    index, identity = header.get("index"), header.get("identity")
    nonce = header.get("nonce", "")
    # JSON has true and false as well, which Python takes for numbers.
    if (
        header["kind"] != "hello"
        or type(index) is not int
        or not 0 < index < workers
        or not isinstance(identity, dict)
        or not (nonce == "" or proof.is_nonce(nonce))
    ):
        raise ValueError(messages.MISFIT)
    return index, identity, nonce


def differences(theirs, ours):
    """Returns how the identity of a worker differs, for a sentence; or ""."""
    names = sorted(
        name
        for name in {*ours, *theirs}
        if name not in ours or name not in theirs or theirs[name] != ours[name]
    )
    parts = [
        f"--{messages.shown(name)[1:-1]}={_value(theirs, name)} "
        f"(the chief has {_value(ours, name)})"
        for name in names[:_MOST_DIFFERENCES]
    ]
    if len(names) > _MOST_DIFFERENCES:
        parts.append(f"{len(names) - _MOST_DIFFERENCES} more")
    return "; ".join(parts)


def _value(identity, name):
    return messages.shown(identity[name]) if name in identity else "nothing"


def _send(link, header):
    # It does not wait, and whoever listens to the link notices an error.
    with contextlib.suppress(OSError):
        messages.send(link, header)
