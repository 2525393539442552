"""The meeting of a job's workers, whoever else comes to the chief's port."""

import concurrent.futures
import contextlib
import errno
import itertools
import json
import random
import socket
import threading
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.tools import deadline, fuzz_rendezvous
from tests.tools.fuzz_rendezvous import connect, hello, message
from tests.tools.workers import free_hosts
from trainer.distributed import messages, reception, rendezvous
from trainer.distributed.topology import Topology
from trainer.errors import ConfigError, InterruptedJobError, PeerLostError
from trainer.runtime.stop_signal import StopSignal

LOST = 75
IDENTITY = {"batch_size": 8, "dataset": "synthetic"}
# Of a machine ten times slower than one on which these tests take a second.
PATIENCE = deadline.SECONDS
DEEP = b'{"kind":' + b"[" * 60_000


class Lines:
    """A console that remembers."""

    def __init__(self):
        self.said = []

    def line(self, text):
        self.said.append(text)

    def warning(self, text):
        self.said.append(f"WARNING: {text}")


class Chief:
    """A chief that waits for its workers in a thread of this process."""

    def __init__(self, pool, workers, timeout):
        self.hosts = tuple(free_hosts(workers))
        self.stop = StopSignal()
        self.console = Lines()
        self._pool = pool
        self._timeout = timeout
        self._open = contextlib.ExitStack()
        self._links = pool.submit(self._meet, rendezvous.gather, 0, IDENTITY)
        self.wait_until_said("Waiting for")

    def _meet(self, meet, index, identity):
        console = self.console if index == 0 else Lines()
        topology = Topology(self.hosts, index)
        links = meet(topology, identity, self._timeout, self.stop, console)
        for link in links.values():
            self._open.enter_context(link)
        return links

    def worker(self, index=1, identity=None):
        """Starts another worker."""
        return self._pool.submit(
            self._meet, rendezvous.join, index, identity or IDENTITY
        )

    def connect(self):
        """Returns the connection of a stranger."""
        return connect(self.hosts[0])

    def links(self):
        """Waits for what the chief's waiting comes to."""
        return self._links.result(PATIENCE)

    def close(self):
        self.stop.request("the end of the test")
        self._open.close()

    def wait_until_said(self, text):
        deadline.wait_until(
            lambda: any(text in line for line in self.console.said),
            lambda: f"{text!r} in {self.console.said}",
            every=0.01,
        )


@pytest.fixture
def start_chief():
    """Starts a `Chief`, of a job with so many workers."""
    with (
        concurrent.futures.ThreadPoolExecutor(4) as pool,
        contextlib.ExitStack() as stack,
    ):

        def start_chief(workers=2, timeout=PATIENCE):
            chief = Chief(pool, workers, timeout)
            stack.callback(chief.close)
            return chief

        yield start_chief


@pytest.fixture
def hello_seconds(monkeypatch):
    """Sets how long a guest has from now on to say who it is.

    Strangers get little, so that a test need not wait, and workers enough.
    """
    return lambda seconds: monkeypatch.setattr(
        reception, "_HELLO_SECONDS", seconds
    )


def is_closed(link):
    """Waits until the other side has closed a connection."""
    with contextlib.suppress(ConnectionError):
        return link.recv(1) == b""
    return True


def drip(link, packet=b"vae-peer" + bytes(10_000)):
    """Sends a byte every 0.2 seconds from a thread; returns its event."""
    until = threading.Event()

    def send():
        with contextlib.suppress(OSError):
            for byte in packet:
                link.sendall(bytes([byte]))
                if until.wait(0.2):
                    return

    threading.Thread(target=send, daemon=True).start()
    return until


def note(content):
    return message(json.dumps(content).encode())


MISFITS = {
    "nothing": b"",
    "another protocol": b"GET / HTTP/1.1\r\nHost: chief\r\n\r\n",
    "a long header": message(b"", header_length=2**32 - 1),
    "a payload": message(b"{}", payload_length=2**64 - 1),
    "part of a message": message(b"", header_length=100),
    "no JSON": message(b"hello"),
    "no header": message(b""),
    "no UTF-8": message(b'{"kind": "\xff\xfe"}'),
    "deep JSON": message(DEEP),
    "deep identity": message(
        b'{"kind": "hello", "index": 1, "identity": '
        + b"[" * 900
        + b"]" * 900
        + b"}"
    ),
    "a list": note(["hello"]),
    "null": note(None),
    "no kind": note({"index": 1, "identity": IDENTITY}),
    "a kind that is no text": hello(1, IDENTITY, kind=["hello"]),
    "another kind": hello(1, IDENTITY, kind="welcome"),
    "an index that is text": hello("a", {}),
    "an index that is NaN": hello(float("nan"), IDENTITY),
    "an index that is true": hello(True, IDENTITY),
    "an index with a fraction": hello(1.0, IDENTITY),
    "a large index": hello(10**400, IDENTITY),
    "a larger index": message(
        b'{"kind": "hello", "identity": {}, "index": ' + b"1" * 9000 + b"}"
    ),
    "an index below": hello(-1, IDENTITY),
    "the chief's index": hello(0, IDENTITY),
    "an index above": hello(9, IDENTITY),
    "no index": note({"kind": "hello", "identity": IDENTITY}),
    "no identity": note({"kind": "hello", "index": 1}),
    "an identity that is text": hello(1, "synthetic"),
    "an identity that is null": hello(1, None),
}


@pytest.mark.parametrize("packet", MISFITS.values(), ids=MISFITS)
def test_a_misfit_is_named_once_and_changes_nothing(
    start_chief, hello_seconds, packet
):
    hello_seconds(1.0)
    chief = start_chief()
    for _ in range(2):
        with chief.connect() as stranger:
            stranger.sendall(packet)
            assert is_closed(stranger)
    hello_seconds(PATIENCE)
    assert set(chief.worker().result(PATIENCE)) == {0}
    assert set(chief.links()) == {1}
    waiting, ignored, joined = chief.console.said
    assert waiting.startswith("Waiting for worker 1 (127.0.0.1:")
    assert ignored.startswith("Ignored a connection from 127.0.0.1: it ")
    assert joined.endswith("joined from 127.0.0.1.")


def test_a_slow_stranger_does_not_delay_the_deadline(start_chief, monkeypatch):
    monkeypatch.setattr(reception, "_HELLO_SECONDS", 1000.0)
    chief = start_chief(timeout=2)
    with chief.connect() as stranger:
        until = drip(stranger)
        with pytest.raises(PeerLostError, match="Not found after 2 seconds"):
            chief.links()
        until.set()


def test_a_slow_stranger_does_not_delay_the_stop_signal(
    start_chief, monkeypatch
):
    monkeypatch.setattr(reception, "_HELLO_SECONDS", 1000.0)
    chief = start_chief(timeout=1000)
    with chief.connect() as stranger:
        until = drip(stranger)
        time.sleep(0.5)
        chief.stop.request("SIGTERM")
        with pytest.raises(InterruptedJobError):
            chief.links()
        until.set()


def test_a_slow_stranger_has_one_deadline_for_all_its_bytes(
    start_chief, hello_seconds
):
    hello_seconds(1.0)
    chief = start_chief()
    with chief.connect() as stranger:
        until = drip(stranger)
        assert is_closed(stranger)
        until.set()
    chief.wait_until_said("it did not say within 1 seconds who it is.")


def test_strangers_that_stay_do_not_keep_a_worker_out(start_chief, monkeypatch):
    monkeypatch.setattr(reception, "_HELLO_SECONDS", 1000.0)
    chief = start_chief()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(chief.connect()) for _ in range(100)]
        chief.worker().result(PATIENCE)
        assert set(chief.links()) == {1}
        assert is_closed(strangers[0])
    assert len(chief.console.said) == 3
    assert "127.0.0.1: too many came after it." in chief.console.said[1]


def test_a_connection_that_cannot_be_accepted_changes_nothing(
    start_chief, monkeypatch
):
    monkeypatch.setattr(reception, "_HELLO_SECONDS", 1000.0)
    accept, accepted = socket.socket.accept, []
    failures = [errno.EMFILE, errno.ECONNABORTED, errno.ENOBUFS]

    def failing(listener):
        if accepted and failures:
            raise OSError(failures.pop(), "not now")
        accepted.append(accept(listener))
        return accepted[-1]

    monkeypatch.setattr(socket.socket, "accept", failing)
    chief = start_chief()
    with chief.connect() as stranger:
        chief.worker().result(PATIENCE)
        assert set(chief.links()) == {1}
        assert not failures
        # It made room when there were no descriptors left.
        assert is_closed(stranger)


def test_a_stranger_does_not_unseat_a_worker(start_chief, hello_seconds):
    chief = start_chief(workers=3)
    first = chief.worker(1)
    chief.wait_until_said("joined")
    hello_seconds(1.0)
    for packet in (*MISFITS.values(), hello(1, {}), hello(1, {"a": 1})):
        with chief.connect() as stranger:
            stranger.sendall(packet)
            while not is_closed(stranger):
                pass  # It was told why.
    hello_seconds(PATIENCE)
    last = chief.worker(2)
    assert {*first.result(PATIENCE), *last.result(PATIENCE)} == {0}
    assert set(chief.links()) == {1, 2}
    assert sum("joined" in line for line in chief.console.said) == 2


def test_random_packets_change_nothing(start_chief, hello_seconds):
    hello_seconds(1.0)
    chief = start_chief()
    packets = fuzz_rendezvous.packets(random.Random(0), IDENTITY)
    for packet in itertools.islice(packets, 300):
        with chief.connect() as stranger, contextlib.suppress(OSError):
            stranger.sendall(packet)
    hello_seconds(PATIENCE)
    chief.worker().result(PATIENCE)
    assert set(chief.links()) == {1}
    said = chief.console.said
    # Those that are named, who is waited for, who joined, and that others
    # are not named.
    assert len(said) <= reception._MOST_LINES + 3
    assert all(line.isascii() and line.isprintable() for line in said)
    assert max(map(len, said)) < 5000


def test_a_worker_with_other_flags_is_told_and_the_chief_goes_on(start_chief):
    chief = start_chief()
    for _ in range(2):
        with pytest.raises(ConfigError) as refusal:
            chief.worker(1, {**IDENTITY, "batch_size": 16}).result(PATIENCE)
        assert refusal.value.exit_code == ConfigError.exit_code
        assert "--batch_size=16 (the chief has 8)" in str(refusal.value)
    chief.worker().result(PATIENCE)
    assert set(chief.links()) == {1}
    _, refused, joined = chief.console.said
    assert refused.startswith("WARNING: Refused a connection from 127.0.0.1: ")
    assert "--batch_size=16 (the chief has 8)" in refused
    assert "joined" in joined


def test_a_refused_worker_is_among_those_that_were_not_found(start_chief):
    chief = start_chief(workers=3, timeout=3)
    waits = chief.worker(2)
    with pytest.raises(ConfigError):
        chief.worker(1, {**IDENTITY, "dataset": "mnist"}).result(PATIENCE)
    for end in (chief.links, lambda: waits.result(PATIENCE)):
        with pytest.raises(PeerLostError) as lost:
            end()
        assert lost.value.exit_code == LOST
        assert f"Not found after 3 seconds: worker 1 ({chief.hosts[1]}), " in (
            str(lost.value)
        )
        assert (
            "refused for --dataset='mnist' (the chief has 'synthetic'); start"
        ) in str(lost.value)
        assert "worker 2" not in str(lost.value)


def test_what_a_stranger_says_is_short_and_harmless_in_the_log(start_chief):
    chief = start_chief()
    identity = {
        **IDENTITY,
        "dataset": "\x1b[2J\n\u202e\ud800\xe9",
        **{f"{number}\n" + "y" * 200: "x" * 200 for number in range(100)},
    }
    with chief.connect() as stranger:
        stranger.sendall(hello(1, identity))
        header, _ = messages.receive(stranger, 0)
    assert header["content"][0] == ConfigError.exit_code
    chief.wait_until_said("Refused")
    line, reason = chief.console.said[1], header["content"][1]
    assert line == f"WARNING: Refused a connection from 127.0.0.1: {reason}"
    assert line.isascii() and line.isprintable()
    assert len(line) < 5000
    assert "; 91 more; give all workers the same." in line


@pytest.fixture
def impostor():
    """Answers as it is told to where a chief should be, until it is closed."""

    class Impostor:
        def __init__(self):
            self.hosts = tuple(free_hosts(2))
            self.asked = threading.Event()

        def start(self, answer, slowly=False):
            host, _, port = self.hosts[0].rpartition(":")
            self._listener = socket.create_server((host, int(port)))
            threading.Thread(
                target=self._serve, args=(answer, slowly), daemon=True
            ).start()

        def _serve(self, answer, slowly):
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                while True:
                    link, _ = self._listener.accept()
                    stack.enter_context(link)
                    stack.callback(drip(link, answer).set) if slowly else (
                        link.sendall(answer)
                    )
                    self.asked.set()

        def close(self):
            # Whoever waits in accept wakes up.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    impostor = Impostor()
    yield impostor
    with contextlib.suppress(OSError):
        impostor.close()


ANSWERS = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "deep JSON": message(DEEP),
    "a long header": message(b"", header_length=2**32 - 1),
    "a payload": message(b'{"kind": "welcome"}', payload_length=1),
    "a list": note([]),
    "no kind": note({}),
    "another kind": note({"kind": "x"}),
    "a bye without words": note({"kind": "bye"}),
    "a bye with one word": note({"kind": "bye", "content": [75]}),
    "a bye with numbers": note({"kind": "bye", "content": [75, 75, False]}),
    "no exit code": note({"kind": "bye", "content": ["2", "no", False]}),
    "a large exit code": note({"kind": "bye", "content": [256, "no", False]}),
    "an exit code below": note({"kind": "bye", "content": [-1, "no", False]}),
    "a true exit code": note({"kind": "bye", "content": [True, "no", False]}),
    "an exit code of success": note(
        {"kind": "bye", "content": [0, "done", False]}
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_who_answers_as_no_chief_does_is_no_chief_yet(impostor, stop, answer):
    impostor.start(answer)
    hosts = impostor.hosts
    with concurrent.futures.ThreadPoolExecutor(2) as pool:

        def meet(meet, index):
            return pool.submit(
                *(meet, Topology(hosts, index), IDENTITY, PATIENCE),
                *(stop, Lines()),
            )

        worker = meet(rendezvous.join, 1)
        assert impostor.asked.wait(PATIENCE)
        impostor.close()
        chief = meet(rendezvous.gather, 0)
        with worker.result(PATIENCE)[0], chief.result(PATIENCE)[1]:
            pass


@pytest.mark.parametrize(
    ("answer", "slowly"), [(b"", False), (b"vae-peer" + bytes(10_000), True)]
)
def test_an_answer_that_does_not_end_delays_nothing(
    impostor, monkeypatch, answer, slowly
):
    monkeypatch.setattr(rendezvous, "_ANSWER_SECONDS", 1000.0)
    monkeypatch.setattr(rendezvous, "_GRACE_SECONDS", 0.0)
    impostor.start(answer, slowly)
    topology, stop = Topology(impostor.hosts, 1), StopSignal()
    with pytest.raises(PeerLostError, match="was not found in 1 seconds"):
        rendezvous.join(topology, IDENTITY, 1, stop, Lines())
    impostor.asked.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        worker = pool.submit(
            rendezvous.join, topology, IDENTITY, 1000, stop, Lines()
        )
        assert impostor.asked.wait(PATIENCE)
        stop.request("SIGTERM")
        with pytest.raises(InterruptedJobError):
            worker.result(PATIENCE)


def test_a_slow_answer_has_one_deadline_for_all_its_bytes(
    impostor, monkeypatch, stop
):
    monkeypatch.setattr(rendezvous, "_ANSWER_SECONDS", 0.3)
    impostor.start(b"vae-peer" + bytes(10_000), slowly=True)
    link = rendezvous._connect(impostor.hosts[0], time.monotonic() + 30, stop)
    with link, pytest.raises(TimeoutError, match="its answer is not whole"):
        rendezvous._answer(link, time.monotonic() + 1000, stop)


def test_a_chief_that_does_not_answer_a_connection_delays_no_stop(stop):
    # Its queue of connections is full, so it answers no more of them.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        host_and_port = "127.0.0.1:{1}".format(*full.getsockname())
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                link = stack.enter_context(socket.socket())
                link.setblocking(False)
                link.connect_ex(full.getsockname())
            time.sleep(0.1)
            with pytest.raises(TimeoutError, match="does not answer"):
                rendezvous._connect(host_and_port, time.monotonic() + 1, stop)
            stop.request("SIGTERM")
            with pytest.raises(InterruptedJobError):
                rendezvous._connect(
                    host_and_port, time.monotonic() + 1000, stop
                )


@contextlib.contextmanager
def pair():
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        yield one, other


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(
    content=st.one_of(
        st.binary(max_size=100),
        st.binary(max_size=100).map(message),
        st.builds(
            message,
            st.binary(max_size=100),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**64 - 1),
        ),
    ),
    cuts=st.lists(st.integers(0, 120), max_size=5),
)
def test_any_bytes_in_any_pieces_are_a_header_or_an_error(content, cuts):
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    with pair() as (link, other):
        note = messages.Note(link)
        try:
            for start, end in itertools.pairwise(edges):
                other.sendall(content[start:end])
                header = note.read()
                if header is not None:
                    assert isinstance(header["kind"], str)
                    return
            other.shutdown(socket.SHUT_WR)
            note.read()
            raise AssertionError("it goes on waiting")
        except (ValueError, EOFError):
            pass


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8), st.dictionaries(st.text(), inner)
    ),
    max_leaves=10,
)


@hypothesis.settings(deadline=None)
@hypothesis.given(
    index=JSON | st.just(1), identity=JSON | st.dictionaries(st.text(), JSON)
)
def test_any_hello_is_told_by_short_plain_text_or_an_error(index, identity):
    header = {"kind": "hello", "index": index, "identity": identity}
    try:
        index, identity, _ = reception.read_hello(header, workers=2)
    except ValueError as error:
        assert str(error) == messages.MISFIT
        return
    assert index == 1
    told = reception.differences(identity, IDENTITY)
    assert told
    assert told.isascii() and told.isprintable()
    assert len(told) < 5000


@hypothesis.settings(deadline=None)
@hypothesis.given(text=st.text(st.characters()) | JSON)
def test_any_sentence_of_another_worker_is_one_line(text):
    try:
        line = messages.sentence(text)
    except ValueError:
        assert not isinstance(text, str)
        return
    assert line.isprintable()
    # As the terminal takes it: no half of a surrogate pair.
    line.encode()


def test_what_follows_a_note_is_left_for_others():
    with pair() as (link, other):
        messages.send(other, {"kind": "welcome"})
        messages.send(other, {"kind": "start", "content": 7}, b"array")
        assert messages.Note(link).read() == {"kind": "welcome"}
        link.setblocking(True)
        assert messages.receive(link, most_bytes=5) == (
            {"kind": "start", "content": 7},
            b"array",
        )
