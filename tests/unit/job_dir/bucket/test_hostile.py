"""What a neighbour in the bucket, or a broken server, may put there."""

import gzip
import json

import pytest

from trainer.config import TrainConfig
from trainer.errors import JobDirError
from trainer.job_dir.bucket import ownership
from trainer.job_dir.bucket.answers import ObjectChangedError
from trainer.job_dir.bucket.download import download
from trainer.job_dir.bucket.object_info import OWNER
from trainer.job_dir.open import open_to_write


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": "many"},
        {"generation": None},
        {"size": "large"},
        {"size": "-1"},
        {"size": []},
        {"updated": "yesterday"},
        {"updated": None},
        {"crc32c": "%%%%"},
        {"crc32c": "AAAAAAAA"},
        {"crc32c": 5},
        {"metadata": "text"},
        {"metadata": {OWNER: 5}},
        {"name": None},
    ],
    ids=str,
)
def test_metadata_that_are_nonsense_are_said(store, server, changes):
    server.write("job/name", b"content")
    resource = server.resources()["job/name"] | changes
    listing = {"kind": "storage#objects", "items": [resource]}
    server.fail(200, match=r"^GET .*/o\?", body=json.dumps(listing).encode())
    server.fail(200, match="^GET .*/o/", body=json.dumps(resource).encode())
    with pytest.raises(JobDirError, match="not expected when") as error:
        store.list()
    assert "\n" not in str(error.value)
    if "name" not in changes:
        with pytest.raises(JobDirError, match="not expected when looking"):
            store.info("name")


@pytest.mark.parametrize("content", [b"content", b""])
def test_without_a_checksum_nothing_is_read(
    store, server, tmp_path, console, content
):
    for name in ("metrics.jsonl", "checkpoints/step-0000001/state.npz"):
        server.write(f"job/{name}", content)
        del server.resources()[f"job/{name}"]["crc32c"]
    # What is not this job's is no obstacle.
    objects = store.list()
    if not content:
        download(store, objects, tmp_path, console)
        assert (tmp_path / "metrics.jsonl").read_bytes() == b""
        return
    with pytest.raises(ObjectChangedError, match=r"metrics\.jsonl .*damaged"):
        download(store, objects, tmp_path, console)
    # As one that is damaged: the checkpoint before it is used.
    del objects["metrics.jsonl"]
    download(store, objects, tmp_path, console)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("size", ["3", "700"])
def test_a_size_that_lies_is_noticed(store, server, size):
    server.write("job/name", b"content")
    server.resources()["job/name"]["size"] = size
    with pytest.raises(ObjectChangedError, match="it is damaged"):
        store.read("name", store.info("name"))


def test_no_more_is_read_than_the_size_says(store, server):
    server.write("job/name", bytes(30_000_000))
    server.resources()["job/name"]["size"] = "1000"
    server.slow(1_000_000, match="^GET /download")
    with pytest.raises(ObjectChangedError, match="more than the 1,000 bytes"):
        store.read("name", store.info("name"))


def test_what_is_written_must_be_what_the_bucket_says(store, server):
    answer = {
        "name": "job/name",
        "generation": "5",
        "size": "7",
        "crc32c": "AAAAAA==",
        "updated": "2026-01-01T00:00:00.000Z",
    }
    server.fail(200, match="^POST", body=json.dumps(answer).encode())
    with pytest.raises(ObjectChangedError, match="it is damaged"):
        store.write("name", b"content")


@pytest.mark.parametrize(
    "listing",
    [
        {"kind": "storage#objects", "nextPageToken": "again"},
        {"kind": "storage#objects", "items": [{"name": "elsewhere/a"}]},
        {"kind": "storage#objects", "items": {"name": "job/a"}},
        {"kind": "storage#objects", "items": [{"name": ["job/a"]}]},
        {},
    ],
    ids=str,
)
def test_a_listing_without_sense_or_end_is_said(store, server, listing):
    body = json.dumps(listing).encode()
    server.fail(200, times=None, body=body)
    with pytest.raises(JobDirError, match="not expected when listing"):
        store.list()
    assert len(server.requests) <= 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../evil"], "would land outside"),
        (["logs/../../evil"], "would land outside"),
        (["/evil"], "would land outside"),
        (["logs/a\0b"], "cannot be a file"),
        (["logs/" + "x" * 300], "cannot be a file"),
        (["logs/a", "logs/a/b"], "cannot be a file"),
        (["logs/a/b", "logs/a"], "cannot be a file"),
    ],
    ids=lambda value: str(value)[:20].replace("\0", "0"),
)
def test_a_name_that_no_file_here_can_have_is_said(
    store, server, tmp_path, console, names, message
):
    folder = tmp_path / "staging"
    folder.mkdir()
    for name in names:
        server.write(f"job/{name}", b"x")
    with pytest.raises(JobDirError, match=message) as error:
        download(store, {n: store.info(n) for n in names}, folder, console)
    assert str(error.value).isprintable()
    assert not list(tmp_path.rglob("evil"))
    assert not (tmp_path.parent / "evil").exists()


def test_names_are_shown_so_that_they_cannot_write_upon_the_terminal(store):
    sentence = ownership.others_sentence(store, {"a\x1b[2J\nb": None})
    assert sentence.isprintable()


def test_a_record_that_is_too_large_or_too_deep_is_not_taken_for_one(
    store, server, monkeypatch
):
    server.write("job/config.json", b"[" * 200_000)
    assert len(ownership.find(store, store.list())) == 32
    monkeypatch.setattr(ownership, "_CONFIG_BYTES", 1_000)
    for owner in (None, "id"):
        server.write("job/config.json", b"[" * 2_000, owner)
        with pytest.raises(JobDirError, match="is not the record of a job"):
            ownership.find(store, store.list())


def test_a_job_whose_record_is_too_deep_is_refused(server, console, stop):
    server.write("job/config.json", b"[" * 200_000)
    config = TrainConfig(job_dir="gs://bucket/job")
    with (
        pytest.raises(JobDirError, match=r"config\.json is JSON too deep"),
        open_to_write(config, console, stop) as job,
    ):
        job.record()


def test_what_is_stored_compressed_is_read_as_it_is_stored(store, server):
    content = gzip.compress(bytes(1_000_000))
    store.write("name", content)
    server.resources()["job/name"]["contentEncoding"] = "gzip"
    assert store.read("name", store.info("name")) == content
