"""The test server keeps Cloud Storage's rules, as the real client sees them."""

import base64
import concurrent.futures
import email.utils
import http.client
import io
import time
import urllib.parse

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from tests.fakes import gcs, gcs_bucket
from tests.tools import deadline

RETRY = storage.retry.DEFAULT_RETRY.with_delay(0.02, 0.1).with_timeout(
    deadline.SECONDS
)
MIB = 2**20
SECONDS = deadline.SECONDS


@pytest.fixture
def server():
    with gcs.serve(bucket="bucket") as server:
        yield server


@pytest.fixture
def bucket(server):
    """The bucket as the real client has it."""
    client = storage.Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": server.address},
    )
    yield client.bucket("bucket")
    client.close()


def write(bucket, name, data, **options):
    blob = bucket.blob(name)
    blob.upload_from_string(data, retry=RETRY, **options)
    return blob


def read(bucket, name, **options):
    return bucket.blob(name).download_as_bytes(retry=RETRY, **options)


def count(server):
    """Returns how many requests were about objects."""
    return sum("/b/bucket/o" in path for _, path in server.requests)


def names(bucket, **options):
    return [blob.name for blob in bucket.client.list_blobs(bucket, **options)]


def test_the_client_finds_the_server_through_the_environment(
    server, monkeypatch
):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
    client = storage.Client()
    write(client.bucket("bucket"), "a/b", b"one")
    assert server.objects() == {"a/b": b"one"}
    client.close()


def test_objects_come_back_as_they_went(bucket, server):
    for name in ("a", "a/b c+d%2Fé?x=1&y#z", "binary"):
        data = name.encode() + b"\r\n--\r\n\x00\xff"
        blob = write(bucket, name, data, if_generation_match=0)
        assert read(bucket, name) == data == server.objects()[name]
        assert blob.size == len(data)
    assert write(bucket, "empty", b"").size == 0
    assert read(bucket, "empty") == b""
    assert read(bucket, "binary", start=2, end=4) == b"nar"
    assert not bucket.blob("none").exists()
    assert bucket.blob("a").exists()
    request = (
        "POST",
        (
            "/upload/storage/v1/b/bucket/o?uploadType=multipart"
            "&ifGenerationMatch=0&name=a/b c+d%2Fé?x=1&y#z"
        ),
    )
    assert request in server.requests


def test_a_resource_tells_what_the_object_is(bucket):
    blob = bucket.blob("a")
    blob.metadata = {"key": "value"}
    blob.upload_from_string(b"data", content_type="text/csv", retry=RETRY)
    found = bucket.get_blob("a", retry=RETRY)
    sum_ = google_crc32c.value(b"data").to_bytes(4, "big")
    assert found.crc32c == base64.b64encode(sum_).decode()
    assert found.md5_hash == gcs_bucket.md5(b"data")
    assert found.metadata == {"key": "value"}
    assert found.content_type == "text/csv"
    assert (found.size, found.metageneration) == (4, 1)
    assert found.generation == blob.generation
    assert found.bucket.name == "bucket"
    assert found.etag == blob.etag
    read_back = bucket.blob("a")
    assert read_back.download_as_bytes(retry=RETRY) == b"data"
    assert read_back.crc32c == found.crc32c


def test_each_version_has_a_higher_generation(bucket, server):
    generations = [write(bucket, "a", b"1").generation]
    generations.append(int(server.write("a", b"2")["generation"]))
    server.delete("a")
    generations.append(write(bucket, "a", b"1").generation)
    assert generations == sorted(set(generations))
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=generations[0]).download_as_bytes()


def test_a_listing_comes_in_pages(bucket, server):
    expected = [f"a/{i:02}" for i in range(12)]
    for name in (*expected, "a/x/1", "a/x/2", "a/y/1", "b"):
        server.write(name, b"")
    assert names(bucket) == [*expected, "a/x/1", "a/x/2", "a/y/1", "b"]
    assert count(server) == 4
    server.reset_counters()
    assert names(bucket, prefix="a/1") == ["a/10", "a/11"]
    assert names(bucket, max_results=7) == expected[:7]
    assert names(bucket, page_size=2, prefix="a/0") == expected[:10]
    assert count(server) == 1 + 2 + 5
    listing = bucket.client.list_blobs(bucket, prefix="a/", delimiter="/")
    assert [blob.name for blob in listing] == expected
    assert listing.prefixes == {"a/x/", "a/y/"}
    assert names(bucket, prefix="none") == []


def test_a_listing_goes_on_where_a_deleted_object_was(bucket, server):
    for name in "abcdefgh":
        server.write(name, b"")
    pages = bucket.client.list_blobs(bucket).pages
    assert [blob.name for blob in next(pages)] == list("abcde")
    server.delete("e")
    server.delete("f")
    assert [blob.name for blob in next(pages)] == list("gh")


def test_delete(bucket, server):
    blob = write(bucket, "a", b"1")
    server.write("a", b"2")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").delete(if_generation_match=blob.generation)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=blob.generation).delete(retry=RETRY)
    bucket.blob("a").delete(retry=RETRY)
    assert server.objects() == {}
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a").delete(retry=RETRY)


def test_compose(bucket, server):
    parts = [write(bucket, name, name * 3) for name in "ab"]
    whole = bucket.blob("whole")
    whole.compose(parts, if_generation_match=0, retry=RETRY)
    assert read(bucket, "whole") == b"aaabbb"
    assert whole.md5_hash is None
    assert whole.component_count == 2
    assert whole.crc32c == gcs_bucket.crc32c(b"aaabbb")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("whole").compose(parts, if_generation_match=0)
    server.write("a", b"new")
    with pytest.raises(exceptions.NotFound):
        bucket.blob("other").compose(parts)
    parts[0] = bucket.blob("a")
    generations = [1, parts[1].generation]
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("other").compose(
            parts, if_source_generation_match=generations
        )
    bucket.blob("twice").compose([whole, whole], retry=RETRY)
    assert bucket.get_blob("twice").component_count == 4
    assert "other" not in server.objects()


def test_copy_and_rewrite(bucket, server):
    source = write(bucket, "a", b"data")
    bucket.copy_blob(source, bucket, "b", if_generation_match=0, retry=RETRY)
    _, rewritten, size = bucket.blob("c").rewrite(
        source, if_generation_match=0, retry=RETRY
    )
    assert rewritten == size == 4
    assert server.objects() == dict.fromkeys("abc", b"data")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.copy_blob(source, bucket, "b", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("c").rewrite(source, if_source_generation_match=1)


def test_generation_0_matches_no_object(bucket, server):
    write(bucket, "a", b"first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, "a", b"second", if_generation_match=0)
    assert server.objects() == {"a": b"first"}


def test_only_the_generation_that_was_seen_is_replaced(bucket, server):
    seen = write(bucket, "a", b"1").generation
    new = write(bucket, "a", b"2", if_generation_match=seen).generation
    for name, stale in (("a", seen), ("none", seen)):
        with pytest.raises(exceptions.PreconditionFailed):
            write(bucket, name, b"3", if_generation_match=stale)
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, "a", b"3", if_generation_not_match=new)
    with pytest.raises(exceptions.PreconditionFailed):
        read(bucket, "a", if_generation_match=seen)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.get_blob("a", if_generation_match=seen)
    with pytest.raises(exceptions.NotModified):
        bucket.get_blob("a", if_generation_not_match=new)
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, "a", b"3", if_metageneration_match=2)
    assert server.objects() == {"a": b"2"}
    assert read(bucket, "a", if_generation_match=new) == b"2"


def test_one_of_eight_creates_wins(bucket, server):
    def create(i):
        # Large, so that the server's threads change places amid its sums.
        data = bytes([i]) * MIB
        try:
            write(bucket, f"lease-{i // 8}", data, if_generation_match=0)
        except exceptions.PreconditionFailed:
            return None
        return i

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [i for i in pool.map(create, range(64)) if i is not None]
    assert [i // 8 for i in winners] == list(range(8))
    written = [data[0] for data in server.objects().values()]
    assert sorted(written) == winners


def upload_in_chunks(bucket, data, **options):
    blob = bucket.blob("big", chunk_size=MIB)
    blob.upload_from_file(io.BytesIO(data), retry=RETRY, **options)
    return blob


def test_resumable_upload(bucket, server):
    data = bytes(range(256)) * (9 * MIB // 256) + b"end"
    upload_in_chunks(bucket, data, size=len(data), if_generation_match=0)
    sent = [m for m, path in server.requests if path.endswith("name=big")]
    assert sent == ["POST"] + ["PUT"] * 10
    assert server.bytes_received >= len(data)
    assert server.objects() == {"big": data}
    assert read(bucket, "big") == data
    with pytest.raises(exceptions.PreconditionFailed):
        upload_in_chunks(bucket, b"x", if_generation_match=0)
    upload_in_chunks(bucket, data[: 2 * MIB])
    assert read(bucket, "big") == data[: 2 * MIB]


def test_a_resumable_upload_checks_its_precondition_when_it_ends(
    bucket, server
):
    class Meddler(io.BytesIO):
        def read(self, size=-1):
            if self.tell() == MIB:
                server.write("big", b"other")
            return super().read(size)

    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("big", chunk_size=MIB).upload_from_file(
            Meddler(bytes(2 * MIB)), if_generation_match=0, retry=RETRY
        )
    assert server.objects() == {"big": b"other"}


@pytest.mark.parametrize("status", [503, None])
def test_a_resumable_upload_survives_faults(bucket, server, status):
    data = bytes(3 * MIB) + b"end"
    server.fail(match="^POST")
    server.drop(match="^PUT", times=2)
    server.lose_answer(match="^PUT", times=2, status=status)
    upload_in_chunks(bucket, data, if_generation_match=0)
    assert server.objects() == {"big": data}


@pytest.mark.parametrize("status", [503, None])
def test_a_resumable_upload_that_has_ended_says_so_again(
    bucket, server, status
):
    server.lose_answer(match="^PUT", status=status)
    upload_in_chunks(bucket, b"data", if_generation_match=0)
    assert server.objects() == {"big": b"data"}
    assert count(server) == 3


@pytest.mark.parametrize("status", [503, None])
def test_a_lost_answer_looks_like_a_lost_race(bucket, server, status):
    server.lose_answer(match="name=a$", status=status)
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, "a", b"mine", if_generation_match=0)
    assert count(server) == 2
    assert read(bucket, "a") == b"mine"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_client_gets_through_bursts_of_errors(bucket, server, status):
    for match in ("^POST", "^GET.*/o", "^DELETE"):
        server.fail(status, times=4, match=match)
    write(bucket, "a", b"data")
    assert read(bucket, "a") == b"data"
    bucket.blob("a").delete(retry=RETRY)
    assert count(server) == 3 * 5
    assert server.objects() == {}


def test_the_client_gets_through_dropped_connections(bucket, server):
    server.drop(times=3, match="name=a")
    write(bucket, "b", b"not this one")
    write(bucket, "a", b"data")
    assert count(server) == 1 + 4
    server.drop(times=3)
    assert read(bucket, "a") == b"data"
    server.lose_answer(times=1, match="^GET.*/o", status=None)
    assert names(bucket) == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, GoogleAuthError),  # Anonymous credentials cannot be renewed.
        (403, exceptions.Forbidden),
        (404, exceptions.NotFound),
        (412, exceptions.PreconditionFailed),
    ],
)
def test_refusals_are_not_retried(bucket, server, status, error):
    calls = (
        lambda: write(bucket, "a", b"data"),
        lambda: read(bucket, "a"),
        lambda: names(bucket),
    )
    for call in calls:
        server.fail(status, times=None)
        server.reset_counters()
        with pytest.raises(error):
            call()
        assert count(server) == 1
        server.forget_faults()
    write(bucket, "a", b"data")


def test_only_the_bucket_exists(bucket):
    assert bucket.exists()
    other = bucket.client.bucket("other")
    assert not other.exists()
    for call in (
        lambda: bucket.client.get_bucket("other"),
        lambda: write(other, "a", b"data"),
        lambda: read(other, "a"),
        lambda: names(other),
    ):
        with pytest.raises(exceptions.NotFound):
            call()


def test_wrong_checksums_are_refused(bucket, server):
    for chunk_size in (None, MIB):
        for wrong in (
            {"crc32c": "AAAAAA=="},
            {"md5_hash": gcs_bucket.md5(b"other")},
        ):
            blob = bucket.blob("a", chunk_size=chunk_size)
            for name, value in wrong.items():
                setattr(blob, name, value)
            with pytest.raises(exceptions.BadRequest):
                blob.upload_from_string(b"data", retry=RETRY, checksum=None)
    assert server.objects() == {}
    uploads = f"{server.address}/upload/storage/v1/b/bucket/o"
    start = requests.post(
        f"{uploads}?uploadType=resumable",
        json={"name": "a"},
        timeout=SECONDS,
    )
    headers = {"Content-Range": "bytes 0-3/4", "x-goog-hash": "crc32c=AAAAAA=="}
    end = requests.put(
        start.headers["Location"],
        b"data",
        headers=headers,
        timeout=SECONDS,
    )
    assert end.status_code == 400
    assert server.objects() == {}
    right = bucket.blob("a")
    right.crc32c = gcs_bucket.crc32c(b"data")
    right.upload_from_string(b"data", retry=RETRY, checksum=None)


def test_corruption_is_found(bucket, server):
    write(bucket, "a", b"data")
    server.corrupt("a")
    with pytest.raises(DataCorruption):
        read(bucket, "a")
    bucket.blob("whole").compose([write(bucket, "a", b"data")])
    assert read(bucket, "whole") == b"data"
    server.corrupt("whole")
    with pytest.raises(DataCorruption):
        read(bucket, "whole")


def test_slow(bucket, server):
    server.slow(1_000_000, match="^GET")
    server.slow(500_000, match="^POST")
    start = time.monotonic()
    write(bucket, "a", bytes(100_000))
    middle = time.monotonic()
    assert len(read(bucket, "a")) == 100_000
    assert middle - start > 0.2
    assert time.monotonic() - middle > 0.1


def test_what_is_held_is_never_done(bucket, server):
    server.hold("^POST")
    once = RETRY.with_timeout(0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        write = pool.submit(
            bucket.blob("a").upload_from_string, b"data", retry=once
        )
        deadline.wait_until(lambda: server.held == 1, "request")
        assert list(bucket.list_blobs()) == []
        assert not write.done()
        server.release()
        with pytest.raises((exceptions.RetryError, requests.ConnectionError)):
            write.result()
    assert server.objects() == {}
    bucket.blob("a").upload_from_string(b"data", retry=once)
    assert server.held == 0


@pytest.mark.parametrize("status", [503, None])
def test_outage(bucket, server, status):
    server.outage(True, status)
    server.forget_faults()
    short = RETRY.with_timeout(0.3)
    with pytest.raises((exceptions.RetryError, requests.ConnectionError)):
        bucket.blob("a").upload_from_string(b"data", retry=short)
    server.outage(False)
    assert server.objects() == {}
    write(bucket, "a", b"data")


def test_the_clock_is_the_servers(bucket, server):
    server.clock_offset_seconds = -7200
    blob = write(bucket, "a", b"data")
    assert abs(time.time() - 7200 - blob.updated.timestamp()) < 60
    assert blob.time_created == blob.updated
    answer = requests.get(
        f"{server.address}/storage/v1/b/bucket", timeout=SECONDS
    )
    date = email.utils.parsedate_to_datetime(answer.headers["Date"])
    assert abs(time.time() - 7200 - date.timestamp()) < 60


def test_an_upload_that_is_cut_short_leaves_nothing(bucket, server):
    address = urllib.parse.urlsplit(server.address)
    connection = http.client.HTTPConnection(address.hostname, address.port)
    connection.putrequest(
        "POST", "/upload/storage/v1/b/bucket/o?uploadType=multipart&name=a"
    )
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"the beginning")
    connection.close()
    write(bucket, "b", b"data")
    assert server.objects() == {"b": b"data"}
    assert count(server) == 1


def test_what_the_server_does_not_know_is_an_error_at_once(bucket, server):
    server.write("a", b"data")
    with pytest.raises(exceptions.MethodNotImplemented):
        bucket.blob("a").patch()
    with pytest.raises(exceptions.MethodNotImplemented):
        names(bucket, versions=True)
    assert count(server) == 2


def test_a_stopped_server_answers_nobody():
    with requests.Session() as session:
        with gcs.serve() as server:
            url = f"{server.address}/storage/v1/b/bucket"
            assert session.get(url, timeout=SECONDS).json()["name"] == "bucket"
        # Not even those whose connection was open.
        with pytest.raises(requests.ConnectionError):
            session.get(url, timeout=SECONDS)
