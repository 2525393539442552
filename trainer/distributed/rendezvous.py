"""How the workers of a job find each other.

They meet on the chief's port before TensorFlow starts, which then takes it
over; the connections stay. Neither side trusts what it finds there.
"""

import contextlib
import errno
import os
import select
import socket
import time

from trainer.distributed import messages
from trainer.distributed.reception import Reception
from trainer.errors import ConfigError, PeerLostError, TrainerError

_POLL_SECONDS = 0.25
_REMINDER_SECONDS = 30.0
# For a connection to be made, and for a whole message that has begun.
_ANSWER_SECONDS = 5.0
# The chief knows who is missing, so it is the one to give up first.
_GRACE_SECONDS = 10.0


def gather(topology, identity, timeout_seconds, stop, console):
    """The chief: waits until all workers have joined.

    Who else comes is ignored, and a worker with other flags sent away.

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
        InterruptedJobError: the stop signal came.
    """
    end = time.monotonic() + timeout_seconds
    with (
        _listener(topology.hosts[0], end, stop) as listener,
        contextlib.closing(
            Reception(listener, topology, identity, console)
        ) as reception,
    ):
        try:
            reminder = 0.0
            while missing := [
                index
                for index in range(1, len(topology.hosts))
                if index not in reception.links
            ]:
                stop.check()
                if time.monotonic() >= end:
                    raise _not_found(
                        topology, missing, reception.refused, timeout_seconds
                    )
                if time.monotonic() >= reminder:
                    names = ", ".join(map(topology.describe, missing))
                    console.line(f"Waiting for {names}.")
                    reminder = time.monotonic() + _REMINDER_SECONDS
                reception.serve(_POLL_SECONDS)
        except TrainerError as error:
            reception.dismiss(error.exit_code, str(error))
            raise
        reception.welcome()
    for link in reception.links.values():
        link.setblocking(True)
    return reception.links


def _not_found(topology, missing, refused, timeout_seconds):
    """Returns the error that names the workers that did not come."""
    names = ", ".join(
        topology.describe(index)
        + (f", refused for {refused[index]}" if index in refused else "")
        for index in missing
    )
    return PeerLostError(
        f"Not found after {timeout_seconds:g} seconds: {names}; start all "
        "workers with the same flags, or give them more time with "
        "--cluster_timeout_seconds."
    )


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
            time.sleep(_POLL_SECONDS)


def join(topology, identity, timeout_seconds, stop, console):
    """Another worker: connects to the chief, and waits until all are there.

    What does not answer as the chief does is taken for a chief that is not
    there yet.

    Args, returns: as `gather`; the one link is that to the chief.

    Raises:
        PeerLostError: the chief was not found in time, or has stopped.
        ConfigError: the chief was started with other flags.
        InterruptedJobError: the stop signal came.
    """
    end = time.monotonic() + timeout_seconds
    hello = {"kind": "hello", "index": topology.index, "identity": identity}
    console.line(f"Looking for the {topology.describe(0)}.")
    while True:
        with contextlib.ExitStack() as unless_welcome:
            try:
                link = unless_welcome.enter_context(
                    _connect(topology.hosts[0], end, stop)
                )
                messages.send(link, hello)
                _wait_for_welcome(link, end + _GRACE_SECONDS, stop)
                unless_welcome.pop_all()
                link.setblocking(True)
                return {0: link}
            except (OSError, EOFError, ValueError) as error:
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
        time.sleep(_POLL_SECONDS)


def _connect(host_and_port, end, stop):
    """Returns a connected socket that does not block.

    Raises:
        OSError: nobody listens there, or not within some seconds.
        InterruptedJobError: the stop signal came.
    """
    host, port = _address(host_and_port)
    for family, *_, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        with contextlib.ExitStack() as unless_connected:
            try:
                link = unless_connected.enter_context(
                    socket.socket(family, socket.SOCK_STREAM)
                )
                link.setblocking(False)
                code = link.connect_ex(address)
                late = min(end, time.monotonic() + _ANSWER_SECONDS)
                while code == errno.EINPROGRESS:
                    stop.check()
                    if time.monotonic() >= late:
                        raise TimeoutError("it does not answer")
                    if select.select([], [link], [], _POLL_SECONDS)[1]:
                        code = link.getsockopt(
                            socket.SOL_SOCKET, socket.SO_ERROR
                        )
                if code:
                    raise OSError(code, os.strerror(code))
                unless_connected.pop_all()
                return link
            except OSError as error:
                failure = error
    raise failure


def _wait_for_welcome(link, end, stop):
    """Waits until the chief says that all are there.

    Raises:
        OSError, EOFError, ValueError: it is not the chief that answers, or
            it does not until `end`.
        TrainerError: the chief stopped, or refused this worker.
    """
    note, begun = messages.Note(link), False
    while True:
        stop.check()
        if time.monotonic() >= end:
            raise TimeoutError(
                "its answer is not whole"
                if begun
                else "it is waiting for another worker"
            )
        if not select.select([link], [], [], _POLL_SECONDS)[0]:
            continue
        header = note.read()
        if header is not None:
            break
        if not begun:
            begun, end = True, min(end, time.monotonic() + _ANSWER_SECONDS)
    if header["kind"] == "bye":
        exit_code, reason = messages.farewell(header)
        if exit_code == ConfigError.exit_code:
            raise ConfigError(f"The chief refused this worker: {reason}")
        if exit_code:
            error = PeerLostError(f"The chief stopped: {reason}")
            error.exit_code = exit_code
            raise error
    if header["kind"] != "welcome":
        raise ValueError(messages.MISFIT)


def _address(host_and_port):
    host, _, port = host_and_port.rpartition(":")
    return host.strip("[]"), int(port)
