"""How the workers of a job find each other, and what they send.

They meet on the chief's port before TensorFlow starts, which then takes it
over; the connections stay.
"""

import contextlib
import errno
import json
import select
import socket
import struct
import time

from trainer.errors import ConfigError, PeerLostError, TrainerError

_POLL_SECONDS = 0.25
_RETRY_SECONDS = 0.5
_REMINDER_SECONDS = 30.0
_HELLO_SECONDS = 5.0
# A message: magic, length of its JSON, length of the bytes that follow.
_PREFIX = struct.Struct(">8sIQ")
_MAGIC = b"vae-peer"
_MAX_HEADER = 1 << 20


def gather(topology, identity, timeout_seconds, stop, console):
    """The chief: waits until all workers have joined.

    Args:
        topology: a `Topology`.
        identity: dict of JSON values that must be the same on all workers.
        timeout_seconds: how long the others may take to appear.
        stop: the `StopSignal` of this process.
        console: a `progress.Console`.

    Returns:
        A dict of connected sockets by index of the worker.

    Raises:
        PeerLostError: a worker did not appear in time.
        ConfigError: a worker was started with other flags.
        InterruptedJobError: the stop signal came.
    """
    end = time.monotonic() + timeout_seconds
    links = {}
    expected = range(1, len(topology.hosts))
    try:
        with _listener(topology.hosts[0], end, stop) as listener:
            reminder = 0.0
            while len(links) < len(expected):
                stop.check()
                missing = ", ".join(
                    topology.describe(i) for i in expected if i not in links
                )
                if time.monotonic() >= end:
                    raise PeerLostError(
                        f"Not found after {timeout_seconds:g} seconds: "
                        f"{missing}; start all workers, or give them more "
                        "time with --cluster_timeout_seconds."
                    )
                if time.monotonic() >= reminder:
                    console.line(f"Waiting for {missing}.")
                    reminder = time.monotonic() + _REMINDER_SECONDS
                readable, _, _ = select.select(
                    [listener, *links.values()], [], [], _POLL_SECONDS
                )
                for index in [i for i in links if links[i] in readable]:
                    # It has nothing to say yet: this is its end.
                    links.pop(index).close()
                if listener in readable:
                    link, address = listener.accept()
                    index = _admit(link, topology, identity)
                    if index is None:
                        link.close()
                        continue
                    if index in links:
                        links.pop(index).close()
                    links[index] = link
                    console.line(
                        f"{topology.describe(index)} joined from {address[0]}."
                    )
    except TrainerError as error:
        for link in links.values():
            with contextlib.suppress(OSError):
                send(
                    link,
                    {"kind": "bye", "content": [error.exit_code, str(error)]},
                )
        raise
    for link in links.values():
        # An error is noticed by whoever listens to the link.
        with contextlib.suppress(OSError):
            send(link, {"kind": "welcome"})
    return links


def _listener(host_and_port, end, stop):
    """Returns a socket that listens where the chief said it would."""
    host, port = _address(host_and_port)
    while True:
        try:
            family, *_, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )[0]
            # With SO_REUSEADDR: TensorFlow takes over the port while the
            # links are open.
            try:
                return socket.create_server(address[:2], family=family)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
            # The others know this machine by an address that it does not have
            # itself, as behind a container's bridge or a service.
            return socket.create_server(("", port))
        except OSError as error:
            # An earlier process may still be ending; a name may be new.
            stop.check()
            if time.monotonic() >= end:
                raise PeerLostError(
                    f"The chief cannot listen on {host_and_port} ({error}); "
                    "check that the port is free and the name is known."
                ) from error
            time.sleep(_RETRY_SECONDS)


def _admit(link, topology, identity):
    """Returns the index of the worker that has connected; None for others."""
    link.settimeout(_HELLO_SECONDS)
    try:
        header, _ = receive(link, max_payload=0)
        index, theirs = header["index"], header["identity"]
    except (OSError, EOFError, ValueError, KeyError):
        return None
    if header["kind"] != "hello" or not 0 < index < len(topology.hosts):
        return None
    differences = [
        f"--{name}={theirs.get(name)} (the chief has {identity.get(name)})"
        for name in sorted({*identity, *theirs})
        if theirs.get(name) != identity.get(name)
    ]
    if differences:
        error = ConfigError(
            f"{topology.describe(index)} was started with "
            f"{'; '.join(differences)}; give all workers the same."
        )
        with contextlib.suppress(OSError):
            send(
                link, {"kind": "bye", "content": [error.exit_code, str(error)]}
            )
        raise error
    return index


def join(topology, identity, timeout_seconds, stop, console):
    """Another worker: connects to the chief, and waits until all are there.

    Args, returns, raises: as `gather`; the one link is that to the chief.
    """
    end = time.monotonic() + timeout_seconds
    hello = {"kind": "hello", "index": topology.index, "identity": identity}
    console.line(f"Looking for the {topology.describe(0)}.")
    while True:
        with contextlib.ExitStack() as unless_welcome:
            try:
                link = unless_welcome.enter_context(
                    socket.create_connection(
                        _address(topology.hosts[0]), timeout=_HELLO_SECONDS
                    )
                )
                send(link, hello)
                header = _wait_for_welcome(link, end, stop)
                if header["kind"] == "welcome":
                    unless_welcome.pop_all()
                    return {0: link}
                if header["kind"] == "bye":
                    exit_code, reason = header["content"]
                    error = PeerLostError(f"The chief stopped: {reason}")
                    error.exit_code = exit_code
                    raise error
            except (OSError, EOFError, ValueError, KeyError) as error:
                # It is not there yet, or not ready: TensorFlow may still have
                # the port for a session that is ending.
                stop.check()
                if time.monotonic() >= end:
                    raise PeerLostError(
                        f"The {topology.describe(0)} was not found in "
                        f"{timeout_seconds:g} seconds ({error}); start it, "
                        "check that this machine can reach it, or give it "
                        "more time with --cluster_timeout_seconds."
                    ) from error
        time.sleep(_RETRY_SECONDS)


def _wait_for_welcome(link, end, stop):
    while True:
        readable, _, _ = select.select([link], [], [], _POLL_SECONDS)
        if readable:
            return receive(link)[0]
        stop.check()
        # The chief knows who is missing, so it is the one to give up first.
        if time.monotonic() >= end + 2 * _HELLO_SECONDS:
            raise TimeoutError("it is waiting for another worker")


def _address(host_and_port):
    host, _, port = host_and_port.rpartition(":")
    return host.strip("[]"), int(port)


def send(link, header, payload=b""):
    """Sends a message: a JSON value and bytes.

    Raises:
        OSError: the link is gone.
    """
    text = json.dumps(header).encode()
    link.sendall(_PREFIX.pack(_MAGIC, len(text), len(payload)) + text)
    if len(payload):
        link.sendall(payload)


def receive(link, max_payload=None):
    """Returns the next message: a JSON value and bytes.

    Raises:
        OSError, EOFError: the link is gone.
        ValueError: something else is at its end.
    """
    magic, header_length, payload_length = _PREFIX.unpack(
        _receive_exactly(link, _PREFIX.size)
    )
    if (
        magic != _MAGIC
        or header_length > _MAX_HEADER
        or (max_payload is not None and payload_length > max_payload)
    ):
        raise ValueError("it does not speak as a worker of this job does")
    header = json.loads(_receive_exactly(link, header_length))
    return header, _receive_exactly(link, payload_length)


def _receive_exactly(link, count):
    received = bytearray()
    while len(received) < count:
        piece = link.recv(min(count - len(received), 1 << 20))
        if not piece:
            raise EOFError("its connection was closed")
        received += piece
    return bytes(received)
