import numpy as np
import pytest

from trainer.distributed import calls as calls_lib
from trainer.distributed.calls import Calls, Workers
from trainer.errors import InterruptedJobError, PeerLostError


class Clock:
    """Time that passes only in calls."""

    def __init__(self, monkeypatch, seconds_per_step):
        self.now = 0.0
        self._seconds = seconds_per_step
        monkeypatch.setattr(calls_lib.time, "monotonic", lambda: self.now)

    def call(self, steps, proposal, *args):
        self.now += self._seconds * int(steps)
        return (int(steps), *args), proposal


def run(calls, count):
    sizes = []
    for _ in range(count):
        sizes.append(calls.size(10_000))
        calls.run(sizes[-1])
    return sizes


def test_calls_grow_until_they_take_a_second(monkeypatch, stop):
    clock = Clock(monkeypatch, seconds_per_step=0.01)
    # The first is mostly tracing; then at most four times as many.
    calls = Calls(clock.call, Workers(stop))
    assert run(calls, 7) == [1, 1, 4, 16, 64, 100, 100]
    assert calls.seconds == pytest.approx(1.0)


def test_a_call_has_one_step_at_least(monkeypatch, stop):
    clock = Clock(monkeypatch, seconds_per_step=60.0)
    assert run(Calls(clock.call, Workers(stop)), 4) == [1, 1, 1, 1]


def test_a_fixed_number_of_steps_stays(monkeypatch, stop):
    clock = Clock(monkeypatch, seconds_per_step=0.01)
    assert run(Calls(clock.call, Workers(stop), 7), 3) == [7, 7, 7]


def test_no_call_is_longer_than_asked(monkeypatch, stop):
    clock = Clock(monkeypatch, seconds_per_step=0.01)
    assert Calls(clock.call, Workers(stop), 7).size(5) == 5


def test_what_is_given_beside_reaches_the_function(monkeypatch, stop):
    clock = Clock(monkeypatch, seconds_per_step=0.01)
    assert Calls(clock.call, Workers(stop)).run(3, "sums") == (3, "sums")


def test_no_call_begins_after_a_stop_signal(monkeypatch, stop):
    clock = Clock(monkeypatch, seconds_per_step=0.01)
    stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError, match="Interrupted by SIGTERM"):
        Calls(clock.call, Workers(stop)).run(1)
    assert clock.now == 0


class FakePeers:
    """The connections of a worker; `error` is what became of them."""

    error = None

    def check(self):
        if self.error:
            raise self.error


def test_beside_others_the_chiefs_proposal_counts(monkeypatch, stop):
    chiefs = np.array([0.0, 30.0])
    calls = Calls(
        lambda steps, ours: (None, chiefs), Workers(stop, FakePeers())
    )
    assert run(calls, 3) == [1, 30, 30]


def test_beside_others_a_signal_counts_once_the_chief_has_said_so(stop):
    chiefs = np.array([0.0, 1.0])
    workers = Workers(stop, FakePeers())
    calls = Calls(lambda steps, ours: (None, chiefs), workers)
    stop.request("SIGTERM")
    calls.run(1)  # The others have begun it as well.
    assert not workers.stopping
    chiefs[0] = 1.0
    calls.run(1)
    assert workers.stopping
    with pytest.raises(InterruptedJobError):
        calls.run(1)


def test_a_lost_peer_ends_it(stop):
    peers = FakePeers()
    calls = Calls(lambda steps, ours: (None, ours), Workers(stop, peers))
    calls.run(1)
    peers.error = PeerLostError("Lost worker 1.")
    with pytest.raises(PeerLostError, match="Lost worker 1"):
        calls.run(1)
