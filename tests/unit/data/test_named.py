"""Datasets that have a name: one table, and what is had by it."""

import dataclasses
import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from tests.tools.idx import known_as, published, write_idx_folder
from tests.tools.race import serve_files
from trainer.config import TrainConfig
from trainer.data import idx, named, sources
from trainer.data.preparing import published as published_lib
from trainer.errors import DataError, DataUnavailableError
from trainer.job_dir import other_data
from trainer.named_datasets import NAMED, PublishedFile

TRAIN = "train-images-idx3-ubyte"
ARCHIVE = "cifar-10-python.tar.gz"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Caches of the test's own, which are empty."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def md5_of(content):
    return hashlib.md5(content).hexdigest()


def as_downloaded(folder):
    """Returns the `PublishedFile`s of gzipped files, by their own SHA-256."""
    return {
        path.name.removesuffix(".gz"): PublishedFile(
            path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("name", NAMED)
def test_what_is_published_is_known_by_whole_checksums_and_had_by_https(name):
    entry = NAMED[name]
    assert entry.url.startswith("https://") and not entry.url.endswith("/")
    assert TrainConfig(dataset=name).dataset == name
    for file in (*entry.files.values(), *entry.npz.values()):
        assert file.bytes > 0
        digits = {"sha256": 64, "md5": 32}
        known = {kind for kind in digits if getattr(file, kind)}
        assert known
        for kind in known:
            assert len(bytes.fromhex(getattr(file, kind))) * 2 == digits[kind]
    for md5 in entry.members.values():
        assert len(bytes.fromhex(md5)) == 16
    if entry.is_archive:
        assert len(entry.files) == 1 and entry.files[ARCHIVE].sha256
    else:
        assert len(entry.files) == 4 and len(entry.classes) in (0, 10)


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_idx_files_are_downloaded_once_from_their_own_address(
    name, tmp_path, console, stop
):
    folder = tmp_path / "published"
    md5 = write_idx_folder(folder)
    files = published(md5) if name == "mnist" else as_downloaded(folder)
    config = TrainConfig(dataset=name)
    with (
        serve_files(folder) as (address, requests),
        known_as(name, files=files, url=address),
    ):
        data = sources.load(config, console, stop)
        again = sources.load(config, console, stop)
    assert (data.name, data.md5) == (name, md5)
    assert set(requests.values()) == {1} and len(requests) == 4
    assert data.description() == again.description()
    assert data.classes == NAMED[name].classes
    cache = tmp_path / "keras" / "datasets" / name
    assert {path.name for path in cache.iterdir()} == {
        f"{file}.gz" for file in files
    }


def test_what_is_known_as_it_is_downloaded_is_not_taken_in_another_form(
    tmp_path, console, stop
):
    folder = tmp_path / "files"
    write_idx_folder(folder)
    with known_as("kmnist", files=as_downloaded(folder)):
        config = TrainConfig(dataset="kmnist", data_dir=str(folder))
        assert sources.load(config, console, stop).name == "kmnist"
        path = folder / f"{TRAIN}.gz"
        content = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(content, compresslevel=1))
        with pytest.raises(DataError, match=r"wrong checksum \(SHA-256: found"):
            sources.load(config, console, stop)
        path.unlink()
        (folder / TRAIN).write_bytes(content)
        with pytest.raises(
            DataUnavailableError, match=rf"no {TRAIN}\.gz; give"
        ):
            sources.load(config, console, stop)


def test_the_npz_file_of_keras_is_the_same_data(tmp_path, console, stop):
    md5 = write_idx_folder(tmp_path / "idx")
    data = idx.read_folder(tmp_path / "idx", "mnist")
    keras = tmp_path / "keras" / "datasets"
    keras.mkdir(parents=True)
    path = keras / "mnist.npz"
    np.savez(
        path,
        x_train=data.train_images[..., 0],
        y_train=data.train_labels,
        x_test=data.test_images[..., 0],
        y_test=data.test_labels,
    )
    npz = PublishedFile(1, hashlib.sha256(path.read_bytes()).hexdigest())
    with known_as("mnist", files=published(md5), npz={path.name: npz}):
        for folder in ("", keras):
            config = TrainConfig(
                dataset="mnist", data_dir=str(folder), data_url="http://[::1]:9"
            )
            found = sources.load(config, console, stop)
            assert found.description() == data.description()
            np.testing.assert_array_equal(found.test_images, data.test_images)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"mnist\.npz has the wrong check"):
            sources.load(config, console, stop)


def test_a_folder_is_known_again_by_its_content(tmp_path, console, stop):
    md5 = write_idx_folder(tmp_path / "idx")
    with known_as("mnist", files=published(md5)):
        for dataset, name in (("auto", "mnist"), ("idx", "idx")):
            config = TrainConfig(
                dataset=dataset, data_dir=str(tmp_path / "idx")
            )
            assert sources.load(config, console, stop).name == name
        # As a version has recorded it that did not know the name.
        config = dataclasses.replace(config, dataset="auto")
        data = sources.load(config, console, stop, recorded_name="idx")
        assert data.name == "idx"


def batch(number):
    """Returns (images, labels), channels first, as CIFAR-10 has them."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (20, 3, 32, 32), np.uint8)
    return images, (np.arange(20) % 10).tolist()


@pytest.fixture
def cifar(tmp_path):
    """A small CIFAR-10: its folder of members, with the archive beside it."""
    members = {
        name: pickle.dumps(
            {
                "labels": batch(number)[1],
                "data": batch(number)[0].reshape(20, -1),
            }
        )
        for number, name in enumerate(list(NAMED["cifar10"].members)[:-1])
    }
    names = [f"class {number}" for number in range(10)]
    members["batches.meta"] = pickle.dumps({"label_names": names})
    root = tmp_path / "published"
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    with tarfile.open(root / ARCHIVE, "w:gz") as archive:
        for name, content in members.items():
            (folder / name).write_bytes(content)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    content = (root / ARCHIVE).read_bytes()
    file = PublishedFile(len(content), hashlib.sha256(content).hexdigest())
    with known_as(
        "cifar10",
        files={ARCHIVE: file},
        members={name: md5_of(each) for name, each in members.items()},
    ):
        yield root


def test_an_archive_is_downloaded_and_prepared_once(
    cifar, tmp_path, console, stop
):
    config = TrainConfig(dataset="cifar10")
    with (
        serve_files(cifar) as (address, requests),
        known_as("cifar10", url=address),
    ):
        data = sources.load(config, console, stop)
    assert dict(requests) == {f"/{ARCHIVE}": 1}
    assert (data.name, data.called) == ("cifar10", "cifar10")
    assert (data.md5, data.sha256) == (NAMED["cifar10"].members, {})
    assert data.train_images.shape == (100, 32, 32, 3)
    assert data.class_names == tuple(f"class {n}" for n in range(10))
    expected = np.concatenate([batch(number)[0] for number in range(5)])
    np.testing.assert_array_equal(
        data.train_images, expected.transpose(0, 2, 3, 1)
    )
    np.testing.assert_array_equal(data.test_labels, batch(5)[1])
    # What was prepared is enough.
    (tmp_path / "keras" / "datasets" / ARCHIVE).unlink()
    again = sources.load(config, console, stop)
    assert again.description() == data.description()


def test_an_archive_and_its_members_are_one_dataset(
    cifar, tmp_path, monkeypatch, console, stop
):
    places = {
        "the folder of both": cifar,
        "the archive": cifar / ARCHIVE,
        "the members": cifar / "cifar-10-batches-py",
    }
    found = []
    for number, place in enumerate(places.values()):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{number}"))
        config = TrainConfig(dataset="cifar10", data_dir=str(place))
        found.append(sources.load(config, console, stop).description())
    assert found[0] == found[1] == found[2]
    config = TrainConfig(dataset="cifar10", data_dir=str(tmp_path / "none"))
    with pytest.raises(DataUnavailableError, match=f"holds no {ARCHIVE} and"):
        sources.load(config, console, stop)


def test_the_members_of_keras_are_taken_from_its_cache(
    cifar, tmp_path, console, stop
):
    keras = tmp_path / "keras" / "datasets" / "cifar-10-batches-py-target"
    keras.mkdir(parents=True)
    (cifar / "cifar-10-batches-py").rename(keras / "cifar-10-batches-py")
    config = TrainConfig(dataset="cifar10", data_url="http://127.0.0.1:9")
    assert len(sources.load(config, console, stop).test_images) == 20


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_a_member_that_is_not_as_published_is_named(
    cifar, fault, console, stop
):
    folder = cifar / "cifar-10-batches-py"
    path = folder / "data_batch_3"
    if fault == "damaged":
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
        message = "data_batch_3 has the wrong checksum"
    else:
        path.unlink()
        message = "holds no cifar-10-python.tar.gz and no cifar-10-batches-py"
    config = TrainConfig(dataset="cifar10", data_dir=str(folder))
    with pytest.raises(DataError, match=message):
        sources.load(config, console, stop)
    assert published_lib.read("cifar10") is None


def test_another_archive_is_refused_and_not_kept(
    cifar, tmp_path, console, stop
):
    path = cifar / ARCHIVE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with serve_files(cifar) as (address, _):
        config = TrainConfig(dataset="cifar10", data_url=address)
        with pytest.raises(DataError, match="has the wrong checksum"):
            sources.load(config, console, stop)
        path.write_bytes(path.read_bytes() + b"\0")
        with pytest.raises(DataError, match="has more than"):
            sources.load(config, console, stop)
    assert not list((tmp_path / "keras" / "datasets").iterdir())


def test_an_archive_in_a_bucket_is_fetched(cifar, bucket, console, stop):
    bucket.write(f"data/{ARCHIVE}", (cifar / ARCHIVE).read_bytes())
    config = TrainConfig(dataset="cifar10", data_dir="gs://bucket/data")
    assert sources.load(config, console, stop).name == "cifar10"
    bucket.delete(f"data/{ARCHIVE}")
    with pytest.raises(DataUnavailableError, match="no file of CIFAR-10"):
        sources.load(config, console, stop)


def test_a_job_by_a_name_goes_on_wherever_its_data_lies(
    cifar, tmp_path, monkeypatch, console, stop
):
    config = TrainConfig(dataset="cifar10", data_dir=str(cifar / ARCHIVE))
    began = sources.load(config, console, stop).description()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    config = TrainConfig(data_dir=str(cifar / "cifar-10-batches-py"))
    resumed = sources.load(config, console, stop, recorded_name="cifar10")
    assert other_data.phrases(began, resumed.description()) == []


def test_keras_keeps_its_datasets_where_it_is_told_to(tmp_path):
    assert named.keras_cache("mnist") == tmp_path / "keras/datasets/mnist"
    assert not named.is_cached("mnist")
