"""Single objects of a bucket."""

import dataclasses
import socket

import pytest
from gcp_storage_emulator import server as gcp_emulator

from tests.tools import deadline
from trainer.errors import (
    ConfigError,
    JobDirError,
    StorageUnavailableError,
)
from trainer.job_dir.bucket import object_store
from trainer.job_dir.bucket.answers import ObjectChangedError
from trainer.job_dir.bucket.object_store import ObjectStore


def new_store(seconds=deadline.SECONDS):
    return ObjectStore("gs://bucket/job", seconds)


def test_objects_are_written_read_listed_and_deleted(store):
    info = store.write("a/b", b"hello")
    assert store.read("a/b", info) == b"hello"
    assert store.list() == {"a/b": dataclasses.replace(info)}
    assert (info.size, info.crc32c) == (5, object_store.crc32c(b"hello"))
    newer = store.write("a/b", b"hello again", info.generation)
    assert newer.generation != info.generation
    store.delete("a/b", newer.generation)
    store.delete("a/b", newer.generation)
    assert store.info("a/b") is None


def test_an_independent_emulator_agrees(monkeypatch):
    """What our own test server may have misunderstood, this one has not.

    It knows no preconditions; what it can say is that the requests are right.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    with gcp_emulator.create_server(
        host, port, in_memory=True, default_bucket="bucket"
    ):
        store = new_store()
        large = bytes(range(256)) * 40_000  # Above 8 MiB: a resumable upload.
        info = store.write("large", large)
        assert (info.size, info.crc32c) == (
            len(large),
            object_store.crc32c(large),
        )
        before = store.write("log", b"one ")
        whole = object_store.crc32c(b"one two")
        after = store.append("log", b"two", before, whole)
        assert after.crc32c == whole
        assert store.read("log") == b"one two"
        assert store.read("large") == large
        assert set(store.list()) == {"large", "log"}
        store.delete("log", after.generation)
        assert store.info("log") is None


def test_nobody_elses_object_is_overwritten_or_deleted(store):
    info = store.write("name", b"mine")
    theirs = new_store().write("name", b"theirs", info.generation)
    for write in (
        lambda: store.write("name", b"mine again", info.generation),
        lambda: store.write("name", b"mine again"),
        lambda: store.append("name", b"more", info, 0),
        lambda: store.delete("name", info.generation),
        lambda: store.read("name", info),
    ):
        with pytest.raises(ObjectChangedError, match="by somebody else"):
            write()
    assert store.read("name", theirs) == b"theirs"


def test_appending_sends_only_what_is_new(store, server):
    info = store.write("log", b"x" * 10_000)
    whole = object_store.crc32c(b"x" * 10_000 + b"tail")
    server.reset_counters()
    after = store.append("log", b"tail", info, whole)
    assert server.bytes_received < 2_000
    assert store.read("log", after).endswith(b"xtail")
    assert list(store.list()) == ["log"]


def test_an_answer_lost_after_the_commit_is_not_a_conflict(store, server):
    server.lose_answer(times=1, match="upload")
    info = store.write("name", b"content")
    assert store.read("name", info) == b"content"
    server.lose_answer(times=1, match="compose")
    after = store.append("name", b"!", info, object_store.crc32c(b"content!"))
    assert store.read("name", after) == b"content!"


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda s: s.fail(503, times=3), None, ""),
        (lambda s: s.fail(429, times=3), None, ""),
        (lambda s: s.drop(times=2), None, ""),
        (lambda s: s.outage(True), StorageUnavailableError, "not be reached"),
        (lambda s: s.fail(401, times=99), JobDirError, "Not signed in"),
        (lambda s: s.fail(403, times=99), JobDirError, "Permission denied"),
    ],
)
def test_a_burst_is_survived_and_a_refusal_is_said(
    server, break_it, error, message
):
    # What does not end is to be given up soon.
    unavailable = error is StorageUnavailableError
    store = new_store(0.3) if unavailable else new_store()
    break_it(server)
    if error is None:
        assert store.write("name", b"x").size == 1
        return
    for call in (
        lambda: store.write("name", b"x"),
        store.list,
        lambda: store.read("name"),
    ):
        with pytest.raises(error, match=message) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_missing_bucket_and_a_missing_name_are_said(server):
    missing = ObjectStore("gs://no-such-bucket/job", 1)
    for call in (missing.list, lambda: missing.write("a", b"")):
        with pytest.raises(JobDirError, match="There is no bucket no-such"):
            call()
    with pytest.raises(ConfigError, match="names no bucket"):
        ObjectStore("gs://", 1)


def test_a_damaged_object_is_noticed(store, server):
    store.write("name", b"content" * 100)
    server.corrupt("job/name")
    with pytest.raises(ObjectChangedError, match="is damaged"):
        store.read("name")
