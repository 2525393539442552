"""Training on what `vae-data prepare` made: in memory, and on disk."""

import json
import re
import shutil
import tracemalloc
import types

import numpy as np
import pytest

from tests.tools.colour_jobs import SHAPE, job_on, states_of, write_dataset
from tests.tools.datasets import prepare
from tests.tools.images import png
from tests.tools.small_jobs import rows_of, train_only
from trainer.data import binarize, images as images_lib, prepared, sources
from trainer.errors import ConfigError, DataError, TrainerError
from trainer.job import _fingerprint, train_and_evaluate
from trainer.job_dir import other_data


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


@pytest.fixture
def on_disk(monkeypatch):
    """Leaves no memory for images."""
    monkeypatch.setattr(images_lib, "memory_bytes", lambda: 0)


def job(tmp_path, folder, name="job", **settings):
    return job_on(folder, tmp_path / name, **settings)


def test_images_on_disk_train_as_those_in_memory_bit_for_bit(
    folder, tmp_path, monkeypatch
):
    in_memory = job(tmp_path, folder, "memory")
    train_only(in_memory)
    monkeypatch.setattr(images_lib, "memory_bytes", lambda: 0)
    assert isinstance(
        prepared.read(folder).train_images, images_lib.StoredImages
    )
    on_disk = job(tmp_path, folder, "disk")
    train_and_evaluate(on_disk)
    assert states_of(in_memory) == states_of(on_disk)
    for split in ("train", "test"):
        assert rows_of(in_memory, split) == rows_of(on_disk, split)


def test_another_dataset_is_not_what_a_job_began_with(folder, tmp_path, capsys):
    train_and_evaluate(job(tmp_path, folder))
    capsys.readouterr()
    path = folder / "dataset.json"
    content = json.loads(path.read_bytes())
    content["class_names"] = ["a", "b", "c"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as error:
        train_and_evaluate(job(tmp_path, folder, epochs=3))
    assert re.fullmatch(
        r".*/job holds a job with other data or settings that change the "
        r"result: SHA-256 of dataset\.json \w{12}\.\.\. \(was \w{12}\.\.\.\)\. "
        r"Give the data that its config\.json records with --data_dir to go "
        r"on, or another --job_dir to start anew\.",
        str(error.value),
    )
    # Nothing is announced that is refused.
    assert capsys.readouterr().out == ""


def test_the_split_that_differs_is_named(folder):
    began = prepared.read(folder)
    path = folder / "dataset.json"
    content = json.loads(path.read_bytes())
    name = "test/images-00000-of-00001.npy"
    content["files"][name]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    now = prepared.read(folder).description()
    found = other_data.phrases(began.description(), now)
    assert [phrase.split()[:3] for phrase in found] == [
        ["SHA-256", "of", "dataset.json"],
        ["SHA-256", "of", "test/"],
    ]
    # A job of a version that recorded no splits.
    old = began.description()
    old["sha256"] = {"dataset.json": began.sha256["dataset.json"]}
    assert other_data.phrases(old, began.description()) == []
    assert len(other_data.phrases(old, now)) == 1


@pytest.mark.parametrize("count", [0, 1, 100])
def test_the_first_images_are_the_first(folder, on_disk, count):
    images = prepared.read(folder).train_images
    first = images_lib.first(images, count)
    assert (len(first), first.shape) == (count, (count, *SHAPE))
    np.testing.assert_array_equal(first[:], images[:count])
    np.testing.assert_array_equal(first[-3:], images[max(count - 3, 0) : count])


def test_a_dataset_without_a_test_set_is_refused(original, tmp_path):
    source = tmp_path / "source.npz"
    np.savez(source, x_train=np.zeros((8, *SHAPE), np.uint8))
    folder = prepare(source, tmp_path / "data", size=SHAPE[:2], test_share=0.0)
    with pytest.raises(DataError, match="has no test set"):
        prepared.read(folder)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where images are prepared that lie about as files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vae-trainer" / "prepared"


def test_binary_images_of_a_disk_are_those_of_memory_bit_for_bit(
    folder, tmp_path, monkeypatch, cache, console, stop
):
    binary = {"reconstruction_loss": "bce", "binarize": "dynamic"}
    config = job(tmp_path, folder, test_examples=33, **binary)
    in_memory = sources.load(config, console, stop)
    monkeypatch.setattr(images_lib, "memory_bytes", lambda: 0)
    # Seven images at once, so that the last batches are smaller.
    monkeypatch.setattr(binarize, "_BATCH_BYTES", 7 * 288)
    on_disk = sources.load(config, console, stop)
    for split in ("train", "validation", "test"):
        expected = getattr(in_memory, f"{split}_images")
        found = getattr(on_disk, f"{split}_images")
        assert isinstance(found, images_lib.StoredImages)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found[:], expected)
        some = np.array([5, 0, len(found) - 1, 5])
        np.testing.assert_array_equal(found.read(some), expected[some])
        np.testing.assert_array_equal(
            images_lib.after(found, 3)[:2], expected[3:5]
        )
    assert not list(cache.parent.iterdir())


def test_drawing_takes_the_memory_of_a_batch(stop, cache, monkeypatch):
    class Grey(images_lib.StoredImages):
        def __init__(self):
            self.shape = (512, 64, 64, 1)

        def __getitem__(self, wanted):
            return np.full((len(range(512)[wanted]), 64, 64, 1), 99, np.uint8)

    monkeypatch.setattr(binarize, "_BATCH_BYTES", 1 << 16)
    tracemalloc.start()
    drawn = binarize.draw(Grey(), np.random.RandomState(0), stop)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(drawn) == 512
    # That of 32 batches would be 64 MiB.
    assert most < 3 << 20


@pytest.fixture
def photos(tmp_path):
    """A folder of pictures of two classes."""
    for number in range(40):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number, height=20, width=30))
    return tmp_path / "photos"


def test_a_folder_of_images_is_prepared_once_and_trained_on(
    photos, tmp_path, cache, console, stop, capsys
):
    for _ in range(2):
        data = load(tmp_path, photos, console, stop)
        assert data.image_shape == (64, 64, 3)
        assert data.class_names == ("a", "b")
        assert len(data.train_images) + len(data.test_images) == 40
    assert "a dataset of 64x64 pixels is made once" in capsys.readouterr().out
    assert len(list(cache.iterdir())) == 1
    # Other images are another dataset.
    (photos / "a" / "more.png").write_bytes(png(99))
    again = load(tmp_path, photos, console, stop)
    assert again.sha256 != data.sha256
    assert len(list(cache.iterdir())) == 2


def test_workers_know_that_they_have_different_datasets(original, tmp_path):
    other = write_dataset(tmp_path / "other", seed=1)
    cluster = types.SimpleNamespace(describe=lambda: "2 CPU replicas")
    ours, theirs, equal = (
        _fingerprint({}, prepared.read(each), False, cluster)
        for each in (original, other, shutil.copytree(original, tmp_path / "c"))
    )
    assert ours == equal
    assert {name for name in ours if ours[name] != theirs[name]} == {"sha256"}


def test_a_job_on_images_as_they_lie_there_goes_on(tmp_path, cache):
    path = tmp_path / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)
    np.savez(path, x_train=images)
    config = job(tmp_path, path, epochs=1)
    train_only(config)
    train_only(job(tmp_path, path, epochs=2))
    assert {row["epoch"] for row in rows_of(config, "test")} == {1, 2}
    np.savez(path, x_train=images[:-1])
    with pytest.raises(ConfigError, match=r"dataset\.json"):
        train_and_evaluate(job(tmp_path, path, epochs=3))


def test_arrays_keep_their_size(tmp_path, cache, console, stop):
    path = tmp_path / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (50, *SHAPE), np.uint8)
    np.savez(path, x_train=images)
    data = load(tmp_path, path, console, stop)
    assert data.image_shape == SHAPE
    assert data.train_labels is None
    # A tenth of them, by their content.
    assert 0 < len(data.test_images) < 15


def test_sides_that_the_model_cannot_take_are_a_sentence(tmp_path, cache):
    path = tmp_path / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 9), np.uint8)
    np.savez(path, x_train=images)
    with pytest.raises(DataError, match=r"cannot take .* vae-data prepare"):
        train_and_evaluate(job(tmp_path, path, batch_size=8))


@pytest.mark.parametrize("make", ["nothing", "empty", "text"])
def test_what_holds_no_images_is_said(tmp_path, cache, make, console, stop):
    place = tmp_path / "place"
    if make == "empty":
        place.mkdir()
    if make == "text":
        place.write_text("text")
    message = {
        "nothing": "There is no",
        "empty": "holds no images",
        "text": "is nothing that images are taken from",
    }
    with pytest.raises(DataError, match=message[make]):
        load(tmp_path, place, console, stop)


@pytest.fixture
def in_bucket(folder, bucket, tmp_path, monkeypatch):
    """The place of the dataset in a bucket, whose copy is in a cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for path in folder.rglob("*"):
        if path.is_file():
            name = f"data/{path.relative_to(folder)}"
            bucket.write(name, path.read_bytes())
    return "gs://bucket/data"


def load(tmp_path, place, console, stop):
    return sources.load(job(tmp_path, place), console, stop)


def test_a_dataset_in_a_bucket_is_fetched_once(
    in_bucket, bucket, tmp_path, folder, console, stop
):
    here = prepared.read(folder)
    for _ in range(2):
        data = load(tmp_path, in_bucket, console, stop)
        np.testing.assert_array_equal(data.train_images, here.train_images)
        np.testing.assert_array_equal(data.test_labels, here.test_labels)
        assert data.description() == here.description()
        # All that the second one needs is there.
        bucket.fail(403, times=None, match="images-")


def test_a_damaged_file_of_a_bucket_is_named_and_fetched_when_it_is_whole(
    in_bucket, bucket, tmp_path, folder, console, stop
):
    name = "train/images-00002-of-00004.npy"
    whole = (folder / name).read_bytes()
    bucket.write(f"data/{name}", whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"images-00002.* is damaged"):
        load(tmp_path, in_bucket, console, stop)
    bucket.delete(f"data/{name}")
    with pytest.raises(DataError, match=r"images-00002.* is missing"):
        load(tmp_path, in_bucket, console, stop)
    bucket.write(f"data/{name}", whole)
    data = load(tmp_path, in_bucket, console, stop)
    assert len(data.train_images) == 160


def test_a_bucket_that_changed_is_not_asked_while_the_copy_is_whole(
    in_bucket, bucket, tmp_path, console, stop
):
    before = load(tmp_path, in_bucket, console, stop).train_images
    bucket.write("data/train/images-00000-of-00004.npy", b"other")
    after = load(tmp_path, in_bucket, console, stop).train_images
    np.testing.assert_array_equal(before, after)


def test_what_a_killed_start_fetched_is_checked_by_the_next_one(
    in_bucket, bucket, tmp_path, folder, console, stop
):
    bucket.fail(403, times=None, match="images-00003-of-00004")
    with pytest.raises(TrainerError):
        load(tmp_path, in_bucket, console, stop)
    (copy,) = (tmp_path / "cache").rglob("images-00002-of-00004.npy")
    copy.write_bytes(bytes(copy.stat().st_size))
    bucket.forget_faults()
    data = load(tmp_path, in_bucket, console, stop)
    np.testing.assert_array_equal(
        data.train_images, prepared.read(folder).train_images
    )


def test_a_dataset_that_the_disk_has_no_room_for_is_refused_before_it_starts(
    in_bucket, bucket, tmp_path, monkeypatch, console, stop
):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"has 0\.0 GiB free; free"):
        load(tmp_path, in_bucket, console, stop)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_dataset_larger_than_it_may_be_is_refused_before_it_starts(
    in_bucket, tmp_path, console, stop
):
    config = job(tmp_path, in_bucket, cache_gib=1e-6)
    with pytest.raises(DataError, match="more than --cache_gib=1e-06"):
        sources.load(config, console, stop)
    assert not list((tmp_path / "cache").rglob("*.npy"))
