"""Who knows the secret of a job belongs to it; nobody else does."""

import concurrent.futures
import contextlib
import hmac
import json
import socket
import stat
import threading

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.tools import deadline
from tests.tools.workers import free_hosts
from trainer.config import TrainConfig
from trainer.distributed import messages, proof, rendezvous, secret
from trainer.distributed.topology import Topology
from trainer.errors import ConfigError, JobDirError, PeerLostError
from trainer.job_dir import cluster_token
from trainer.job_dir.bucket import claim
from trainer.job_dir.bucket.object_store import ObjectStore
from trainer.runtime.stop_signal import StopSignal

IDENTITY = {"batch_size": 8, "beta": 1.0}
PATIENCE = deadline.SECONDS
TOKEN = "0123456789abcdef"
KEY = TOKEN.encode()


class Lines:
    """A console that remembers."""

    def __init__(self):
        self.said = []

    def line(self, text):
        self.said.append(text)

    warning = line


class Meeting:
    """Workers that meet in threads of this process, each with its flags."""

    def __init__(self, pool, stack, timeout, workers):
        self.hosts = tuple(free_hosts(workers))
        self.console = Lines()
        self.stop = StopSignal()
        self._pool, self._stack, self._timeout = pool, stack, timeout

    def start(self, index, flags, identity=None, hosts=None):
        """Starts a worker; returns the future of its links."""
        return self._pool.submit(
            self._meet, index, flags, identity or IDENTITY, hosts or self.hosts
        )

    def _meet(self, index, flags, identity, hosts):
        meet = rendezvous.join if index else rendezvous.gather
        console = Lines() if index else self.console
        config = TrainConfig(**flags)
        with secret.opened(config, not index, self.stop) as known:
            links = meet(
                Topology(hosts, index),
                identity,
                self._timeout,
                self.stop,
                console,
                known,
            )
        for link in links.values():
            self._stack.enter_context(link)
        return links

    def wait_until_said(self, text):
        deadline.wait_until(
            lambda: any(text in line for line in self.console.said),
            lambda: f"{text!r} in {self.console.said}",
            every=0.01,
        )

    def connect(self):
        """Returns a connection to the chief, of which the caller is owner."""
        host, _, port = self.hosts[0].rpartition(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE)


@pytest.fixture
def meeting():
    """Gives a function that makes a `Meeting`."""
    with (
        concurrent.futures.ThreadPoolExecutor(4) as pool,
        contextlib.ExitStack() as stack,
    ):

        def make(timeout=PATIENCE, workers=2):
            made = Meeting(pool, stack, timeout, workers)
            stack.callback(made.stop.request, "the end of the test")
            return made

        yield make


@pytest.fixture
def token_flags(tmp_path):
    """Gives a function from a token to the flags of a worker that has it."""

    def flags(token=TOKEN):
        path = tmp_path / token
        if not path.exists():
            path.write_text(f"{token}\n")
        return {"cluster_token_file": str(path)}

    return flags


def test_workers_with_one_token_meet(meeting, token_flags):
    there = meeting()
    chief = there.start(0, token_flags())
    worker = there.start(1, token_flags())
    assert list(chief.result(PATIENCE)) == [1]
    assert list(worker.result(PATIENCE)) == [0]


def test_a_worker_with_another_token_stays_out_and_both_say_why(
    meeting, token_flags
):
    there = meeting(timeout=1)
    chief = there.start(0, token_flags())
    worker = there.start(1, token_flags("another-token-of-somebody"))
    with pytest.raises(PeerLostError, match="Not found after 1 seconds"):
        chief.result(PATIENCE)
    with pytest.raises(PeerLostError, match="does not prove that it knows"):
        worker.result(PATIENCE)
    # It looked every quarter of a second.
    assert len(there.console.said) == 2
    assert "closed before it said who it is" in there.console.said[1]


@pytest.mark.parametrize("has_one", [0, 1])
def test_a_secret_that_one_side_alone_has_is_named(
    meeting, token_flags, has_one
):
    there = meeting(timeout=1)
    flags = [{}, {}]
    flags[has_one] = token_flags()
    chief, worker = there.start(0, flags[0]), there.start(1, flags[1])
    # A worker without a secret believes a chief that says so; one with a
    # secret believes only who proves that it knows it.
    error = ConfigError if has_one == 0 else PeerLostError
    with pytest.raises(error, match="secret"):
        worker.result(PATIENCE)
    with pytest.raises(PeerLostError, match=r"refused for (no|a) secret"):
        chief.result(PATIENCE)


def note(link):
    """Waits for a message of the chief; returns its header."""
    header, _ = messages.receive(link, 0)
    return header


def hello_of(index=1, identity=None):
    """Returns the hello of a worker with a secret."""
    return {
        "kind": "hello",
        "index": index,
        "identity": identity or IDENTITY,
        "nonce": proof.new_nonce(),
    }


def proof_of(hello, challenge, key=KEY, side=proof.WORKER):
    """Returns the answer to a challenge."""
    nonces = challenge["nonce"], hello["nonce"]
    return {
        "kind": "proof",
        "proof": proof.prove(
            key, side, nonces, hello["index"], hello["identity"]
        ),
    }


def test_a_replay_of_what_was_overheard_is_ignored(meeting, token_flags):
    there = meeting(workers=3)
    chief = there.start(0, token_flags())
    there.wait_until_said("Waiting")
    hello = hello_of()
    with there.connect() as worker:
        messages.send(worker, hello)
        overheard = proof_of(hello, note(worker))
        messages.send(worker, overheard)
        # It leaves again, and one that has not come keeps the chief waiting.
        there.wait_until_said("joined")
    with there.connect() as stranger:
        messages.send(stranger, hello)
        note(stranger)
        messages.send(stranger, overheard)
        there.wait_until_said("it does not know the secret of this job")
        assert stranger.recv(1) == b""
    assert not chief.done()


@pytest.mark.parametrize(
    "answer",
    [
        lambda hello, challenge: proof_of(hello, challenge, key=b""),
        # The chief's own proof, sent back.
        lambda hello, challenge: {"kind": "proof", "proof": challenge["proof"]},
        # That of another worker, and of one with other flags.
        lambda hello, challenge: proof_of({**hello, "index": 2}, challenge),
        lambda hello, challenge: proof_of(
            {**hello, "identity": {"batch_size": 9}}, challenge
        ),
        lambda hello, challenge: {"kind": "proof"},
        lambda hello, challenge: {"kind": "proof", "proof": ["a"]},
        lambda hello, challenge: {"kind": "proof", "proof": "\u00e9" * 64},
        lambda hello, challenge: {"kind": "proof", "proof": ""},
        lambda hello, challenge: hello,
        lambda hello, challenge: {"kind": "welcome"},
    ],
)
def test_a_stranger_proves_nothing(meeting, token_flags, answer):
    there = meeting()
    chief = there.start(0, token_flags())
    there.wait_until_said("Waiting")
    with there.connect() as stranger:
        hello = hello_of()
        messages.send(stranger, hello)
        messages.send(stranger, answer(hello, note(stranger)))
        assert stranger.recv(1) == b""
    there.wait_until_said("Ignored a connection")
    worker = there.start(1, token_flags())
    assert list(chief.result(PATIENCE)) == [1]
    assert list(worker.result(PATIENCE)) == [0]


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "welcome"},
        {"kind": "bye", "content": [1, "no", False]},
        {"kind": "bye", "content": [2, "no", False]},
        {"kind": "challenge"},
        {"kind": "challenge", "nonce": "1", "secret": "", "proof": ""},
        {"kind": "challenge", "nonce": "0" * 64, "secret": [], "proof": ""},
        {"kind": "challenge", "nonce": "0" * 64, "secret": "", "proof": "0"},
    ],
    ids=str,
)
def test_a_worker_believes_no_chief_without_a_proof(
    meeting, token_flags, header
):
    there = meeting(timeout=1)
    host, _, port = there.hosts[0].rpartition(":")
    with socket.create_server((host, int(port))) as impostor:

        def serve():
            with contextlib.suppress(OSError, EOFError):
                while True:
                    link, _ = impostor.accept()
                    with link:
                        note(link)
                        messages.send(link, header)
                        link.recv(1 << 16)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(PeerLostError, match="was not found in 1 seconds"):
            there.start(1, token_flags()).result(PATIENCE)
        impostor.shutdown(socket.SHUT_RDWR)


def test_the_time_to_compare_does_not_depend_on_what_is_right(monkeypatch):
    compared, compare = [], hmac.compare_digest
    monkeypatch.setattr(
        proof.hmac,
        "compare_digest",
        lambda a, b: compared.append((a, b)) or compare(a, b),
    )
    said = b"key", proof.WORKER, ("a", "b"), 1, IDENTITY
    right = proof.prove(*said)
    for value in (right, "0" * 64, ""):
        assert proof.is_proof(value, *said) == (value == right)
    assert compared == [(right, right), (right, "0" * 64), (right, "")]


@hypothesis.given(
    first=st.tuples(st.text(), st.text(), st.integers()),
    second=st.tuples(st.text(), st.text(), st.integers()),
)
def test_a_proof_is_of_what_was_said_alone(first, second):
    def proven(said, side):
        chief, worker, index = said
        return proof.prove(b"key", side, (chief, worker), index, IDENTITY)

    same = proven(first, proof.CHIEF) == proven(second, proof.CHIEF)
    assert same == (first == second)
    assert proven(first, proof.CHIEF) != proven(first, proof.WORKER)


@pytest.mark.parametrize("exists", [True, False])
def test_a_secret_in_the_job_directory_is_there_while_they_meet(
    meeting, tmp_path, exists
):
    root = tmp_path / "runs" / "vae"
    if exists:
        root.mkdir(parents=True)
    flags = {"job_dir": str(root), "cluster_secret": "job_dir"}
    there = meeting()
    chief = there.start(0, flags)
    there.wait_until_said("Waiting")
    (path,) = root.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    worker = there.start(1, flags)
    assert list(chief.result(PATIENCE)) == [1]
    assert list(worker.result(PATIENCE)) == [0]
    assert list(tmp_path.rglob("*")) == ([root.parent, root] if exists else [])


def test_a_secret_in_a_bucket_is_there_while_they_meet(meeting, bucket):
    flags = {
        "job_dir": "gs://bucket/runs/a",
        "cluster_secret": "job_dir",
        "storage_timeout_seconds": PATIENCE,
    }
    there = meeting()
    chief, worker = there.start(0, flags), there.start(1, flags)
    assert list(chief.result(PATIENCE)) == [1]
    assert list(worker.result(PATIENCE)) == [0]
    assert not bucket.objects()


def test_a_secret_that_a_killed_chief_left_is_cleared_away(bucket, stop):
    config = TrainConfig(job_dir="gs://bucket/a", cluster_secret="job_dir")
    with contextlib.ExitStack() as killed:
        killed.enter_context(cluster_token.written(config, stop))
        store = ObjectStore(config.job_dir, PATIENCE)
        (name,) = store.list()
        assert claim.clear(store, store.list()) == {}
        assert store.list() == {}
        with pytest.raises(ValueError, match="is not in gs://bucket/a"):
            cluster_token.read(config, stop, name)


def test_a_worker_that_sees_another_folder_stays_out(meeting, tmp_path):
    there = meeting(timeout=1)
    chief, worker = (
        there.start(
            index,
            {"job_dir": str(tmp_path / name), "cluster_secret": "job_dir"},
        )
        for index, name in enumerate("ab")
    )
    with pytest.raises(PeerLostError, match=r"is not to be read in .*/b"):
        worker.result(PATIENCE)
    with pytest.raises(PeerLostError):
        chief.result(PATIENCE)


@pytest.mark.parametrize(
    "name", ["", "config.json", "../x", ".unfinished-cluster-token-0", "\0"]
)
def test_a_secret_of_another_name_is_not_looked_for(tmp_path, name, stop):
    config = TrainConfig(job_dir=str(tmp_path))
    with pytest.raises(ValueError, match="names no secret"):
        cluster_token.read(config, stop, name)


def test_a_secret_that_cannot_be_written_is_a_sentence(tmp_path, stop):
    (tmp_path / "file").write_text("")
    config = TrainConfig(job_dir=str(tmp_path / "file" / "job"))
    with (
        pytest.raises(JobDirError, match="secret of the workers cannot be"),
        cluster_token.written(config, stop),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "holds 0 bytes"),
        (b"short token\n", "holds 11 bytes"),
        (b"x" * 5000, "more than 4096 bytes"),
    ],
)
def test_a_file_that_holds_no_token_is_refused(
    tmp_path, content, message, stop
):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    config = TrainConfig(cluster_token_file=str(path))
    with (
        pytest.raises(ConfigError, match=message),
        secret.opened(config, True, stop),
    ):
        pass


@pytest.mark.parametrize(
    "flags",
    [
        {"cluster_secret": "token_file"},
        {"cluster_secret": "job_dir", "cluster_token_file": "token"},
        {"cluster_secret": "none", "cluster_token_file": "token"},
    ],
)
def test_flags_that_name_two_secrets_are_refused(flags):
    with pytest.raises(ConfigError, match="contradict each other"):
        TrainConfig(**flags)


def test_a_message_of_more_than_was_asked_for_is_refused_unread():
    left, right = socket.socketpair()
    with left, right:
        # Its bytes never come: who waits for them would wait for ever.
        prefix = messages._PREFIX.pack(messages._MAGIC, 2, 1 << 40)
        right.sendall(prefix + b"{}")
        with pytest.raises(ValueError, match="does not speak"):
            messages.receive(left, most_bytes=1 << 30)


def test_the_secret_is_in_no_message(meeting, token_flags, monkeypatch):
    sent = []
    send = messages.send
    monkeypatch.setattr(
        messages,
        "send",
        lambda link, header, *more: (
            sent.append(json.dumps(header)) or send(link, header, *more)
        ),
    )
    there = meeting()
    chief, worker = (there.start(index, token_flags()) for index in (0, 1))
    assert chief.result(PATIENCE) and worker.result(PATIENCE)
    assert len(sent) >= 4
    assert not [text for text in sent if TOKEN in text]
