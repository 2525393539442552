"""Who may write to a job directory in a bucket."""

import json

import pytest

from tests.tools import deadline
from trainer.errors import InterruptedJobError, JobDirError
from trainer.job_dir.bucket import claim as claim_lib
from trainer.job_dir.bucket.claim import BucketClaim
from trainer.job_dir.bucket.object_store import ObjectStore


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
