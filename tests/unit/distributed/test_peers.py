"""Two or three workers as threads of this process, without a strategy."""

import concurrent.futures
import contextlib
import socket
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.tools import deadline
from tests.tools.workers import free_hosts
from trainer.distributed import peers as peers_lib, rendezvous
from trainer.distributed.topology import Topology
from trainer.errors import ConfigError, InterruptedJobError, PeerLostError
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal

LOST = 75


@pytest.fixture
def run():
    """Runs a function of `Peers` on each worker; returns their outcomes."""

    def run(*bodies, timeout=deadline.SECONDS, stops=None):
        hosts = tuple(free_hosts(len(bodies)))

        def worker(index):
            try:
                with peers_lib.together(
                    Topology(hosts, index),
                    {"batch_size": 8},
                    timeout,
                    (stops or {}).get(index, StopSignal()),
                    Console(),
                ) as peers:
                    return bodies[index] and bodies[index](peers)
            except Exception as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
            futures = [
                pool.submit(worker, index)
                for index, body in enumerate(bodies)
                if body is not None
            ]
            return [future.result(deadline.SECONDS) for future in futures]

    return run


def until_lost(peers):
    """What a worker does that waits for the others."""
    return peers.hear("never")


def test_arrays_arrive_as_they_were(run):
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}

    def chief(peers):
        peers.tell("start", {"step": 7}, state)
        return peers.hear("ready")

    def follower(peers):
        ((content, arrays),) = peers.hear("start")
        peers.tell("ready", peers.topology.index)
        peers.wait_for_chief()
        return content, arrays

    ready, *others = run(chief, follower, follower)
    assert [content for content, _ in ready] == [1, 2]
    for content, arrays in others:
        assert content == {"step": 7}
        np.testing.assert_array_equal(arrays["w"], state["w"])
        assert arrays["w"].dtype == np.float32


def test_a_worker_that_never_comes_is_named(run):
    chief, worker = run(until_lost, until_lost, None, timeout=3)
    for error in (chief, worker):
        assert isinstance(error, PeerLostError)
        assert error.exit_code == LOST
        assert "Not found after 3 seconds: worker 2 (127.0.0.1:" in str(error)


def test_a_chief_that_never_comes_is_named(run):
    (error,) = run(None, until_lost, timeout=1)
    assert isinstance(error, PeerLostError)
    assert "The chief (127.0.0.1:" in str(error)
    assert "was not found in 1 seconds" in str(error)


def test_who_stops_says_why_and_all_take_over_the_code(run):
    def fails(peers):
        raise ConfigError("the data is bad.")

    chief, one, two = run(until_lost, fails, until_lost)
    assert isinstance(one, ConfigError)
    for error in (chief, two):
        assert error.exit_code == ConfigError.exit_code
        assert "worker 1 (127.0.0.1:" in str(error)
        assert "stopped: the data is bad." in str(error)


def test_a_silent_worker_is_lost_to_all(run, monkeypatch):
    monkeypatch.setattr(peers_lib, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(peers_lib, "_BEAT_SECONDS", 0.1)
    beat = peers_lib.Peers._beat

    def mute(peers):
        if peers.topology.index != 1:
            beat(peers)

    monkeypatch.setattr(peers_lib.Peers, "_beat", mute)
    chief, _, two = run(until_lost, until_lost, until_lost)
    for error in (chief, two):
        assert isinstance(error, PeerLostError)
        assert "Lost worker 1 (127.0.0.1:" in str(error)
        assert "silent for 3 seconds" in str(error)


def test_a_signal_to_any_worker_reaches_the_chief(run):
    stops = {index: StopSignal() for index in range(2)}

    def chief(peers):
        stops[1].request("SIGTERM")
        return peers.hear("never")

    def follower(peers):
        peers.wait_for_chief()

    error, other = run(chief, follower, stops=stops)
    assert isinstance(error, InterruptedJobError)
    assert "by SIGTERM to worker 1 (127.0.0.1:" in str(error)
    assert str(error) in str(other)


def test_a_good_bye_is_no_loss_to_who_sends_at_that_moment(run, monkeypatch):
    # Beats so dense that some meet a link that the chief has just closed.
    monkeypatch.setattr(peers_lib, "_BEAT_SECONDS", 0.0)
    monkeypatch.setattr(peers_lib, "_POLL_SECONDS", 0.0)

    def chief(peers):
        time.sleep(0.05)
        for link in peers._links.values():
            peers._send(1, {"kind": "bye", "content": [0, "finished", False]})
            link.shutdown(socket.SHUT_RDWR)

    def follower(peers):
        peers.wait_for_chief()
        return "well"

    for _ in range(10):
        assert run(chief, follower)[1] == "well"


def test_an_error_of_tensorflow_becomes_the_loss_that_caused_it(run):
    def chief(peers):
        raise tf.errors.UnavailableError(None, None, "Connection reset")

    def leaves(peers):
        time.sleep(0.5)
        peers._links[0].shutdown(socket.SHUT_RDWR)

    error, _ = run(chief, leaves)
    assert isinstance(error, PeerLostError)
    assert "Lost worker 1 (127.0.0.1:" in str(error)


def test_an_error_of_tensorflow_alone_stays(run, monkeypatch):
    monkeypatch.setattr(peers_lib, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(peers_lib, "_BEAT_SECONDS", 0.1)

    def chief(peers):
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    error, other = run(chief, until_lost)
    assert isinstance(error, tf.errors.ResourceExhaustedError)
    assert "out of memory" in str(other)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"kind": ["beat"]},
        {"kind": "stop"},
        {"kind": "stop", "content": [1]},
        {"kind": "lost"},
        {"kind": "lost", "content": 75},
        {"kind": "lost", "content": ["75", "lost"]},
        {"kind": "bye", "content": {}},
        {"kind": "bye", "content": [75, None, False]},
        {"kind": "bye", "content": [7500, "so long", False]},
        {"kind": "bye", "content": [True, "so long", False]},
    ],
    ids=str,
)
def test_a_worker_that_does_not_speak_as_one_is_lost(run, header):
    def misfit(peers):
        peers._send(0, header)
        return until_lost(peers)

    for error in run(until_lost, misfit):
        assert isinstance(error, PeerLostError)
        assert error.exit_code == LOST
        assert "Lost worker 1 (127.0.0.1:" in str(error)
        assert "it does not speak as a worker of this job does" in str(error)


def test_a_worker_that_says_what_nobody_waits_for_is_lost(run):
    def talkative(peers):
        # The chief may close the link before all is said.
        with contextlib.suppress(OSError):
            for number in range(100):
                peers._send(0, {"kind": f"kind {number}", "content": "x"})
        return until_lost(peers)

    for error in run(until_lost, talkative):
        assert isinstance(error, PeerLostError)
        assert "it does not speak as a worker of this job does" in str(error)


def test_what_a_worker_says_at_its_end_is_one_line(run):
    def fails(peers):
        raise ConfigError("bad\n\x1b[2J" + "x" * 100_000)

    error, _ = run(until_lost, fails)
    assert error.exit_code == ConfigError.exit_code
    assert "stopped: bad \\x1b[2Jxxx" in str(error)
    assert len(str(error)) < 10_000


def test_a_chief_behind_an_address_of_somebody_else_listens(stop):
    port = free_hosts(1)[0].rpartition(":")[2]
    # 192.0.2.0/24 is for documentation: no machine has it.
    with rendezvous._listener(f"192.0.2.1:{port}", time.monotonic(), stop):
        socket.create_connection(("127.0.0.1", int(port))).close()


def test_a_port_that_is_taken_is_named(stop):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PeerLostError, match=f"cannot listen on {host}"):
            rendezvous._listener(host, time.monotonic(), stop)


def test_a_worker_that_comes_again_takes_its_place():
    hosts = tuple(free_hosts(3))

    def worker(index, stop):
        with peers_lib.together(
            Topology(hosts, index), {}, deadline.SECONDS, stop, Console()
        ) as peers:
            return peers.topology.index

    gone = StopSignal()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        chief = pool.submit(worker, 0, StopSignal())
        first = pool.submit(worker, 1, gone)
        time.sleep(1)
        gone.request("SIGTERM")
        with pytest.raises(InterruptedJobError):
            first.result(deadline.SECONDS)
        again = pool.submit(worker, 1, StopSignal())
        last = pool.submit(worker, 2, StopSignal())
        assert [
            each.result(deadline.SECONDS) for each in (chief, again, last)
        ] == [0, 1, 2]
