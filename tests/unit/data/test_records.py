"""A dataset on disk is read as it was written, or not at all."""

import concurrent.futures
import contextlib
import json
import os
import shutil
from unittest import mock

import google_crc32c
import numpy as np
import pytest

from tests.tools.datasets import prepare
from tests.tools.images import write_classes
from trainer.data import manifest, records
from trainer.errors import DataError, DataUnavailableError

SHARD_RECORDS, RECORD_BYTES = 7, 8 * 8 * 3
SHARD = "train/images-00001-of-00005.npy"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A dataset of 40 images, in shards of 7; tests work on copies."""
    folder = tmp_path_factory.mktemp("records")
    source = write_classes(folder / "source", count=20)
    return prepare(
        source,
        folder / "dataset",
        shard=SHARD_RECORDS * RECORD_BYTES,
        test_share=0.2,
    )


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "dataset")


def images_by_numpy(folder, split="train"):
    shards = sorted((folder / split).glob("images-*.npy"))
    return np.concatenate([np.load(path) for path in shards])


def edit(folder, change):
    """Changes the JSON of a `dataset.json`."""
    path = folder / manifest.NAME
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def test_anyone_reads_it_with_numpy(folder):
    with records.open_dataset(folder) as dataset:
        assert dataset.image_shape == (8, 8, 3)
        assert dataset.class_names == ("cat", "dog")
        assert set(dataset.splits) == {"train", "test"}
        for name, split in dataset.splits.items():
            images = images_by_numpy(folder, name)
            labels = np.load(folder / name / "labels.npy")
            checksums = np.load(folder / name / "crc32c.npy")
            assert np.array_equal(split.read(np.arange(split.count)), images)
            assert np.array_equal(split.labels, labels)
            assert checksums.tolist() == [
                google_crc32c.value(image.tobytes()) for image in images
            ]
            assert len(images) == len(labels) == len(split)
        assert sum(map(len, dataset.splits.values())) == 40


@pytest.mark.parametrize("count", [0, 1, 5, 64, 1000])
def test_records_come_in_the_order_that_was_asked_for(folder, count):
    images = images_by_numpy(folder)
    indices = np.random.default_rng(count).integers(0, len(images), count)
    with records.open_dataset(folder) as dataset:
        found = dataset.splits["train"].read(indices)
    assert found.shape == (count, 8, 8, 3) and found.dtype == np.uint8
    assert np.array_equal(found, images[indices])


def open_below(folder):
    """Returns the files of a folder that this process has open."""
    opened = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            opened.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in opened if path.startswith(str(folder))]


def test_many_threads_read_with_few_open_files(folder, monkeypatch):
    monkeypatch.setattr(records, "_OPEN_SHARDS", 1)
    images = images_by_numpy(folder)
    dataset = records.open_dataset(folder)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(images)) for _ in range(200)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        read = dataset.splits["train"].read
        for indices, found in zip(orders, pool.map(read, orders), strict=True):
            assert np.array_equal(found, images[indices])
    dataset.close()
    assert open_below(folder) == []


@pytest.mark.parametrize("indices", [[-1], [0, 10_000]])
def test_an_index_out_of_range_is_an_error(folder, indices):
    with records.open_dataset(folder) as dataset, pytest.raises(IndexError):
        dataset.splits["train"].read(indices)


def test_the_digest_is_that_of_the_whole_dataset(folder):
    before = records.open_dataset(folder).digest
    assert before == records.open_dataset(folder).digest
    edit(folder, lambda value: value["made"].update(by="another"))
    assert records.open_dataset(folder).digest != before


def test_a_flipped_bit_is_found_in_its_record_and_in_no_other(folder):
    path = folder / SHARD
    content = bytearray(path.read_bytes())
    content[-RECORD_BYTES * 3] ^= 1
    path.write_bytes(content)
    split = records.open_dataset(folder).splits["train"]
    damaged = 2 * SHARD_RECORDS - 3
    others = [i for i in range(split.count) if i != damaged]
    assert len(split.read(others)) == split.count - 1
    with pytest.raises(DataError) as refused:
        split.read([0, damaged])
    assert f"{path} is damaged at record 4 (image 11 of train" in str(
        refused.value
    )


def cut(folder):
    os.truncate(folder / SHARD, 500)
    return "has 500 bytes, but dataset.json promises 1,472; fetch"


def remove(folder):
    (folder / SHARD).unlink()
    return "is missing, but dataset.json promises it"


def unreadable(folder):
    (folder / SHARD).unlink()
    (folder / SHARD).symlink_to(SHARD.rpartition("/")[2])
    return "cannot be read"


def no_manifest(folder):
    (folder / manifest.NAME).unlink()
    return "holds no dataset.json; give the folder that vae-data"


def interrupted(folder):
    (folder / manifest.NAME).unlink()
    (folder / manifest.UNFINISHED).mkdir()
    return "was interrupted; run the same vae-data prepare again"


def no_folder(folder):
    shutil.rmtree(folder)
    return "holds no dataset.json"


@pytest.mark.parametrize(
    "damage", [cut, remove, unreadable, no_manifest, interrupted, no_folder]
)
def test_a_start_sees_what_is_missing(folder, damage):
    said = damage(folder)
    with pytest.raises(DataError, match=said) as refused:
        records.open_dataset(folder)
    assert str(folder) in str(refused.value)
    assert isinstance(refused.value, DataUnavailableError) == (
        damage in (no_manifest, interrupted, no_folder)
    )


def test_another_array_of_the_same_size_is_refused(folder):
    np.save(folder / SHARD, np.zeros((7, 4, 16, 3), np.uint8))
    split = records.open_dataset(folder).splits["train"]
    assert len(split.read([0])) == 1
    with pytest.raises(DataError, match="begins with the header of another"):
        split.read([SHARD_RECORDS])


def test_what_is_cut_after_the_start_is_refused(folder):
    split = records.open_dataset(folder).splits["train"]
    os.truncate(folder / SHARD, 128 + 2 * RECORD_BYTES + 5)
    with pytest.raises(DataError, match="is cut at record 2; fetch"):
        split.read(np.arange(split.count))


@pytest.mark.parametrize("name", ["labels", "crc32c"])
def test_labels_and_checksums_are_checked_too(folder, name):
    path = folder / "train" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    split = records.open_dataset(folder).splits["train"]
    with pytest.raises(DataError, match=rf"{name}.npy is damaged \(its SHA"):
        split.labels if name == "labels" else split.read([0])


def put(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


HOSTILE = {
    "another format": put("format", value=2),
    "a format of another type": put("format", value=True),
    "a part more": put("code", value="import os"),
    "sides below 1": put("image_shape", value=[0, 8, 3]),
    "sides that are huge": put("image_shape", value=[1 << 40, 8, 3]),
    "sides that are text": put("image_shape", value=["8", 8, 3]),
    "two channels": put("image_shape", value=[8, 8, 2]),
    "no sides": put("image_shape", value=None),
    "names that are none": put("class_names", value=[1, 2]),
    "names for a terminal": put("class_names", value=["\x1b[2J", "dog"]),
    "fewer names": put("class_names", value=["cat"]),
    "no training images": lambda value: value["splits"].pop("train"),
    "another split": put("splits", "../x", value={}),
    "a count that is huge": put("splits", "train", "count", value=1 << 60),
    "a count below zero": put("splits", "train", "count", value=-1),
    "a count that is none": put("splits", "train", "count", value=1.0),
    "another count": put("splits", "train", "count", value=33),
    "shards of nothing": put("splits", "train", "records_per_shard", value=0),
    "a wrong sum": put("splits", "train", "by_class", value=[1, 2]),
    "a file elsewhere": put("files", "../../etc/passwd", value={}),
    "a file less": lambda value: value["files"].pop(SHARD),
    "another size": put("files", SHARD, "bytes", value=1),
    "no checksum": put("files", SHARD, "sha256", value="../" * 21 + "x"),
    "files that are none": put("files", value=[]),
    "made of nothing": put("made", value="by hand"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_in_a_sentence(folder, name):
    edit(folder, HOSTILE[name])
    with pytest.raises(DataError, match=r"dataset.json is not what") as refused:
        records.open_dataset(folder)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"NaN",
        b"{}",
        b'"dataset"',
        b"1" * 9999,
    ],
    ids=lambda content: repr(content[:8]),
)
def test_what_is_no_manifest_is_refused(folder, content):
    (folder / manifest.NAME).write_bytes(content)
    with pytest.raises(DataError, match="is not what vae-data writes"):
        records.open_dataset(folder)


def test_a_manifest_without_an_end_is_not_read_to_it(folder, monkeypatch):
    monkeypatch.setattr(manifest, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="it has more than 1,000 bytes"):
        records.open_dataset(folder)


def test_a_damaged_copy_is_removed_where_that_is_possible(folder, monkeypatch):
    path = folder / "train" / "crc32c.npy"
    whole = path.read_bytes()
    split = records.open_dataset(folder, is_copy=True).splits["train"]
    path.write_bytes(whole[:-1] + b"x")
    with monkeypatch.context() as patch:
        # Root may write anywhere, so the system says it here.
        patch.setattr(type(path), "unlink", mock.Mock(side_effect=OSError))
        with pytest.raises(DataError, match=r"is damaged .*; fetch or prepare"):
            split.read([0])
    with pytest.raises(DataError, match=r"is damaged .* copy .* was removed"):
        split.read([0])
    assert not path.exists()
    with pytest.raises(DataError, match=r"is missing.* fetches it anew"):
        split.read([0])


def test_a_million_shards_are_refused_before_they_are_named(folder):
    def change(value):
        value["splits"]["train"] |= {"count": 1 << 31, "records_per_shard": 1}
        value["splits"]["train"]["by_class"] = [1 << 30, 1 << 30]

    edit(folder, change)
    with pytest.raises(DataError, match="more than 99,999 shards"):
        records.open_dataset(folder)
