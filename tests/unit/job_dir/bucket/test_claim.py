"""Who may write to a job directory in a bucket."""

import json
import threading
import time

import pytest

from tests.tools import deadline
from trainer.errors import InterruptedJobError, JobDirError
from trainer.job_dir.bucket import claim as claim_lib
from trainer.job_dir.bucket.claim import BucketClaim
from trainer.job_dir.bucket.object_store import ObjectStore
from trainer.runtime.console import Console


def new_store():
    return ObjectStore("gs://bucket/job", deadline.SECONDS)


def test_a_live_claim_is_refused(store, quick_claims, console, stop, capsys):
    first = BucketClaim(store, "machine-a")
    first.acquire(console, stop)
    second = BucketClaim(new_store(), "machine-b")
    with pytest.raises(JobDirError, match="is in use by process"):
        second.acquire(console, stop)
    assert "to see whether it still runs" in capsys.readouterr().out
    assert (first.is_held, second.is_held) == (True, False)
    first.check()
    first.release()
    assert not first.is_held
    BucketClaim(new_store(), "machine-b").acquire(console, stop)


def test_a_stale_claim_is_taken_by_the_servers_clock(
    store, server, console, stop
):
    dead = BucketClaim(store, "machine-a")
    dead._take(0)
    server.clock_offset_seconds += claim_lib.STALE_SECONDS + 1
    BucketClaim(new_store(), "machine-b").acquire(console, stop)
    holder = json.loads(server.objects()["job/claim.json"])
    assert holder["machine"] == "machine-b"


def test_the_same_machine_need_not_wait_for_its_own_claim(
    store, server, console, stop
):
    BucketClaim(store, "machine-a")._take(0)
    BucketClaim(new_store(), "machine-a").acquire(console, stop)
    assert list(server.objects()) == ["job/claim.json"]


def test_waiting_for_a_claim_can_be_stopped(store, console, stop):
    BucketClaim(store, "machine-a")._take(0)
    stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError):
        BucketClaim(new_store(), "machine-b").acquire(console, stop)


def writes(server):
    return sum(method == "POST" for method, _ in server.requests)


@pytest.mark.parametrize(
    ("status", "tries", "message"),
    [
        (412, claim_lib._TRIES, "could not be claimed: 10 times"),
        (409, claim_lib._TRIES, "could not be claimed: 10 times"),
        (404, 1, "needs no more than the bucket"),
        (400, 1, "does not accept the request"),
    ],
)
def test_a_bucket_that_refuses_every_claim_is_given_up(
    store, server, console, stop, capsys, monkeypatch, status, tries, message
):
    monkeypatch.setattr(claim_lib, "_PAUSE_SECONDS", 0.02)
    server.fail(status, times=None, match="^POST /upload")
    started = time.monotonic()
    with pytest.raises(JobDirError, match=message) as error:
        BucketClaim(store, "machine-a").acquire(console, stop)
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)
    assert writes(server) == tries
    assert time.monotonic() - started >= 0.02 * (tries - 1)
    said = capsys.readouterr().out
    assert said.count("looking again") == tries - 1


def test_a_stop_signal_counts_between_lost_races(store, server, console, stop):
    server.fail(412, times=None, match="^POST /upload")
    threading.Timer(0.1, stop.request, ["SIGTERM"]).start()
    with pytest.raises(InterruptedJobError):
        BucketClaim(store, "machine-a").acquire(console, stop)
    assert writes(server) < claim_lib._TRIES


def test_a_lost_race_for_a_stale_claim_is_looked_at_again(
    store, server, console, stop, capsys, monkeypatch
):
    monkeypatch.setattr(claim_lib, "_PAUSE_SECONDS", 0.02)
    BucketClaim(store, "machine-a")._take(0)
    server.clock_offset_seconds += claim_lib.STALE_SECONDS + 1
    winner = BucketClaim(new_store(), "machine-b")
    loser = BucketClaim(new_store(), "machine-c")
    age_seconds = loser._age_seconds

    def age_while_another_is_faster(*arguments):
        if winner._info is None:
            winner.acquire(console, stop)
        return age_seconds(*arguments)

    loser._age_seconds = age_while_another_is_faster
    with pytest.raises(JobDirError, match="is in use by process"):
        loser.acquire(console, stop)
    assert "looking again" in capsys.readouterr().out
    holder = json.loads(server.objects()["job/claim.json"])
    assert holder["machine"] == "machine-b"
    winner.release()


def test_what_is_waited_for_is_not_waited_for_longer(
    store, server, console, stop
):
    BucketClaim(store, "machine-a")._take(0)
    server.clock_offset_seconds += claim_lib.STALE_SECONDS - 1
    started = time.monotonic()
    claim = BucketClaim(new_store(), "machine-b")
    claim.acquire(console, stop)
    assert time.monotonic() - started < claim_lib.RENEW_SECONDS
    claim.release()


def test_a_server_whose_clock_stands_still_is_not_waited_for_for_ever(
    store, server, console, stop, monkeypatch, quick_claims
):
    monkeypatch.setattr(claim_lib, "STALE_SECONDS", 0.5)
    BucketClaim(store, "machine-a")._take(0)
    claim = BucketClaim(new_store(), "machine-b")
    claim._age_seconds = lambda *_: -1_000.0
    claim.acquire(console, stop)
    claim.release()


@pytest.mark.parametrize(
    "content",
    [
        b"theirs",
        b"",
        b"\xff\xfe",
        b"5",
        b"[]",
        b'{"machine": "b"}',
        b"[" * 60_000,
        b'{"holder": "b", "more": "' + b"x" * claim_lib._BYTES + b'"}',
    ],
    ids=range(8),
)
def test_a_claim_that_is_nonsense_is_said(
    store, server, console, stop, content
):
    server.write("job/claim.json", content)
    with pytest.raises(JobDirError, match="is not the claim of a job") as error:
        BucketClaim(store, "machine-a").acquire(console, stop)
    assert "\n" not in str(error.value)
    assert not any("/download" in path for _, path in server.requests) or (
        len(content) <= claim_lib._BYTES
    )
    assert server.objects() == {"job/claim.json": content}


def test_a_claim_cannot_write_upon_the_terminal(
    store, server, stop, capsys, quick_claims
):
    class Listener(Console):
        def line(self, text):
            super().line(text)
            stop.request("SIGTERM")

    content = json.dumps({"holder": "\x1b[2J\nall is well" + "x" * 5_000})
    server.write("job/claim.json", content.encode())
    with pytest.raises(InterruptedJobError):
        BucketClaim(store, "machine-a").acquire(Listener(), stop)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert len(said.splitlines()[0]) < 500


def test_a_claim_that_cannot_be_given_up_is_left_to_go_stale(
    store, server, console, stop, monkeypatch
):
    monkeypatch.setattr(claim_lib, "_RELEASE_SECONDS", 0.2)
    claim = BucketClaim(store, "machine-a")
    claim.acquire(console, stop)
    server.hold("^DELETE")
    started = time.monotonic()
    claim.release()
    assert time.monotonic() - started < deadline.SECONDS / 10
    assert claim.is_held
    assert "job/claim.json" in server.objects()
