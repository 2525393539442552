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

from trainer.distributed import messages, proof
from trainer.distributed.reception import Reception
from trainer.errors import ConfigError, PeerLostError, TrainerError

_POLL_SECONDS = 0.25
_REMINDER_SECONDS = 30.0
# For a connection to be made, and for a whole message that has begun.
_ANSWER_SECONDS = 5.0
# The chief knows who is missing, so it is the one to give up first.
_GRACE_SECONDS = 10.0
_NO_PROOF = "it does not prove that it knows the secret of this job"


def gather(topology, identity, timeout_seconds, stop, console, secret=None):
    """The chief: waits until all workers have joined.

    Who else comes is ignored, and a worker with other flags sent away.

    Args:
        topology: a `Topology`.
        identity: dict of JSON values that must be the same on all workers.
        timeout_seconds: how long the others may take to appear.
        stop: the `StopSignal` of this process.
        console: a `Console`.
        secret: the `Secret` of the job; None if it has none.

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
            Reception(listener, topology, identity, console, secret)
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
            reception.dismiss(error)
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


def join(topology, identity, timeout_seconds, stop, console, secret=None):
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
    console.line(f"Looking for the {topology.describe(0)}.")
    reason = None
    while True:
        with contextlib.ExitStack() as unless_welcome:
            try:
                link = unless_welcome.enter_context(
                    _connect(topology.hosts[0], end, stop)
                )
                hello = _hello(topology.index, identity, secret)
                messages.send(link, hello)
                if secret:
                    _prove(link, hello, end, stop, secret)
                header = _answer(link, end + _GRACE_SECONDS, stop)
                _check_welcome(header)
                unless_welcome.pop_all()
                link.setblocking(True)
                return {0: link}
            except (OSError, EOFError, ValueError) as error:
                # It is not there yet, or not ready: TensorFlow may still have
                # the port for a session that is ending.
                stop.check()
                # What is wrong with who answers says more than that the last
                # try found nobody.
                if isinstance(error, ValueError) or reason is None:
                    reason = error
                if time.monotonic() >= end:
                    raise PeerLostError(
                        f"The {topology.describe(0)} was not found in "
                        f"{timeout_seconds:g} seconds ({reason}); start it, "
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


def _hello(index, identity, secret):
    """Returns what a worker says of itself."""
    hello = {"kind": "hello", "index": index, "identity": identity}
    return {**hello, "nonce": proof.new_nonce()} if secret else hello


def _prove(link, hello, end, stop, secret):
    """Lets the chief prove that it is the chief, and does the same.

    Nothing that comes before the proof is believed.

    Raises:
        OSError, EOFError, ValueError: it is not the chief that answers.
        TrainerError: the secret cannot be read.
    """
    answer = _answer(link, min(end, time.monotonic() + _ANSWER_SECONDS), stop)
    name, nonce = answer.get("secret"), answer.get("nonce")
    if answer["kind"] != "challenge" or not proof.is_nonce(nonce):
        raise ValueError(_NO_PROOF)
    said = ((nonce, hello["nonce"]), hello["index"], hello["identity"])
    if not isinstance(name, str):
        raise ValueError(messages.MISFIT)
    key = secret.find(name)
    if not proof.is_proof(answer.get("proof"), key, proof.CHIEF, *said):
        raise ValueError(_NO_PROOF)
    messages.send(
        link,
        {"kind": "proof", "proof": proof.prove(key, proof.WORKER, *said)},
    )


def _answer(link, end, stop):
    """Waits for what the chief says, and returns it.

    Raises:
        OSError, EOFError, ValueError: it is not the chief that answers, or
            it does not until `end`.
        InterruptedJobError: the stop signal came.
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
            return header
        if not begun:
            begun, end = True, min(end, time.monotonic() + _ANSWER_SECONDS)


def _check_welcome(header):
    """Raises unless the chief says that all are there.

    Raises:
        ValueError: it is not the chief that says so.
        TrainerError: the chief stopped, or refused this worker.
    """
    if header["kind"] == "bye":
        farewell = messages.farewell(header)
        if farewell.exit_code == ConfigError.exit_code:
            raise ConfigError(
                f"The chief refused this worker: {farewell.reason}"
            )
        if farewell.exit_code:
            raise farewell.error("The chief")
    if header["kind"] != "welcome":
        raise ValueError(messages.MISFIT)


def _address(host_and_port):
    host, _, port = host_and_port.rpartition(":")
    return host.strip("[]"), int(port)
