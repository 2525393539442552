import dataclasses
import functools
import gzip
import hashlib
import http.server
import threading

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.tools.idx import idx_bytes, write_idx_folder
from trainer import files
from trainer.config import TrainConfig
from trainer.data import datasets, synthetic
from trainer.errors import ConfigError, DataError, DataUnavailableError
from trainer.runtime.stop_signal import InterruptedJobError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
HTML = b"<!DOCTYPE html><title>Please log in</title>"


@pytest.fixture
def folder(tmp_path):
    write_idx_folder(tmp_path / "idx")
    return tmp_path / "idx"


@hypothesis.given(
    shape=st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
)
def test_idx_files_read_back_as_written(shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(
        datasets.parse_idx(idx_bytes(array), IMAGES), array
    )


@hypothesis.settings(max_examples=300)
@hypothesis.given(content=st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(content):
    try:
        array = datasets.parse_idx(datasets.decompress(content, LABELS), LABELS)
    except DataError as error:
        assert LABELS in str(error)
    else:
        assert idx_bytes(array) in (content, gzip.decompress(content))


@hypothesis.given(cut=st.integers(0, 200), at=st.integers(0, 15))
def test_a_cut_or_flipped_idx_file_is_refused_or_whole(cut, at):
    content = idx_bytes(np.arange(200).reshape(2, 10, 10))
    with pytest.raises(DataError):
        datasets.parse_idx(content[:cut], IMAGES)
    flipped = bytearray(content)
    flipped[at] ^= 0x10
    with pytest.raises(DataError):
        datasets.parse_idx(bytes(flipped), IMAGES)


@pytest.mark.parametrize("compress", [True, False])
def test_raw_and_gzipped_folders_verify_alike(tmp_path, compress):
    md5 = write_idx_folder(tmp_path / "idx", compress=compress)
    data = datasets.read_folder(tmp_path / "idx", "fashion_mnist", md5)
    assert data.train_images.shape == (6, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    assert data.test_labels.shape == (4,)
    assert data.md5 == md5


def test_an_idx_folder_needs_no_labels(folder):
    (folder / f"{LABELS}.gz").unlink()
    assert datasets.read_folder(folder, "idx").train_labels is None


def spoil(name, change):
    def apply(folder):
        path = folder / f"{name}.gz"
        path.write_bytes(change(path.read_bytes()))

    return apply


BAD_FOLDERS = {
    "truncated gz": (
        spoil(IMAGES, lambda content: content[:-20]),
        f"{IMAGES}.gz is a damaged gzip file",
    ),
    "html": (
        spoil(IMAGES, lambda _: HTML),
        f"{IMAGES}.gz is a web page, not an IDX file",
    ),
    "not gzip": (
        spoil(LABELS, lambda _: b"hello"),
        f"{LABELS}.gz is not a gzip file",
    ),
    "empty file": (spoil(LABELS, lambda _: b""), "it is empty"),
    "wrong magic": (
        spoil(IMAGES, lambda c: gzip.compress(b"\1" + gzip.decompress(c)[1:])),
        f"{IMAGES}.gz is not an IDX file of 3 dimensions",
    ),
    "truncated values": (
        spoil(IMAGES, lambda c: gzip.compress(gzip.decompress(c)[:-1])),
        f"{IMAGES}.gz holds 383 bytes of values, but its header promises 384",
    ),
    "other counts": (
        spoil(LABELS, lambda _: gzip.compress(idx_bytes(np.zeros(5)))),
        f"{IMAGES} holds 6 images but {LABELS} holds 5 labels",
    ),
    "odd sides": (
        lambda folder: write_idx_folder(folder, side=10),
        "holds images of 10x10 pixels; both sides must be divisible by 4",
    ),
    "no images": (
        lambda folder: write_idx_folder(folder, train=0),
        f"{IMAGES} holds no images",
    ),
    "other test size": (
        spoil(
            "t10k-images-idx3-ubyte",
            lambda _: gzip.compress(idx_bytes(np.zeros((4, 4, 4)))),
        ),
        "training images are (8, 8) pixels but test images are (4, 4)",
    ),
    "missing file": (
        lambda folder: (folder / f"{IMAGES}.gz").unlink(),
        f"holds no {IMAGES} and no {IMAGES}.gz",
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_folder_is_refused_in_one_sentence(folder, case):
    change, message = BAD_FOLDERS[case]
    change(folder)
    with pytest.raises(DataError) as error:
        datasets.read_folder(folder, "idx")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_checksum_is_refused(folder):
    md5 = write_idx_folder(folder)
    with pytest.raises(DataError, match=f"{IMAGES}.gz has the wrong checksum"):
        datasets.read_folder(folder, "fashion_mnist", {**md5, IMAGES: "0" * 32})


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataUnavailableError, match="There is no folder"):
        datasets.read_folder(tmp_path / "none", "idx")
    with pytest.raises(DataUnavailableError, match=f"holds no {IMAGES}"):
        datasets.read_folder(tmp_path, "idx")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of a small Fashion-MNIST; yields its folder and address."""
    published = tmp_path / "published"
    monkeypatch.setattr(
        datasets, "FASHION_MNIST_MD5", write_idx_folder(published)
    )
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        cut = False

        def log_message(self, *_):
            """Keeps the test's output clean."""

        def copyfile(self, source, outputfile):
            content = source.read()
            outputfile.write(content[:10] if Handler.cut else content)

    handler = functools.partial(Handler, directory=published)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield published, f"http://127.0.0.1:{httpd.server_port}", Handler
        httpd.shutdown()


def cached_files():
    cache = datasets.keras_cache()
    return (
        sorted(path.name for path in cache.glob("*")) if cache.exists() else []
    )


def test_data_is_downloaded_once_and_verified(server, console, stop):
    published, url, _ = server
    config = TrainConfig(data_url=url)
    data = datasets.load(config, console, stop)
    assert data.train_images.shape == (6, 8, 8, 1)
    assert cached_files() == sorted(path.name for path in published.iterdir())
    for path in published.iterdir():
        path.unlink()
    again = datasets.load(config, console, stop)
    np.testing.assert_array_equal(again.train_images, data.train_images)


def cut_off(published, handler):
    handler.cut = True


def serve_html(published, handler):
    for path in published.iterdir():
        path.write_bytes(HTML)


def serve_other_data(published, handler):
    write_idx_folder(published, train=7)


def serve_nothing(published, handler):
    for path in published.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (cut_off, "bytes"),
        (serve_html, "is a web page"),
        (serve_other_data, "has the wrong checksum"),
        (serve_nothing, "404"),
    ],
)
def test_a_bad_download_leaves_nothing_in_the_cache(
    server, console, stop, fault, message
):
    published, url, handler = server
    fault(published, handler)
    with pytest.raises(DataError) as error:
        datasets.load(TrainConfig(data_url=url), console, stop)
    assert message in str(error.value)
    assert IMAGES in str(error.value)
    assert cached_files() == []


def test_no_network_is_said_in_one_sentence(
    tmp_path, monkeypatch, console, stop
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    config = TrainConfig(data_url="http://127.0.0.1:9")
    with pytest.raises(
        DataUnavailableError, match="Connection refused"
    ) as error:
        datasets.load(config, console, stop)
    assert "--data_dir" in str(error.value)
    assert cached_files() == []


def test_a_stop_signal_ends_a_download(server, console, stop):
    _, url, _ = server
    stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError):
        datasets.load(TrainConfig(data_url=url), console, stop)
    assert cached_files() == []


def test_what_a_killed_download_left_is_removed(server, console, stop):
    _, url, _ = server
    cache = datasets.keras_cache()
    cache.mkdir(parents=True)
    (cache / f"{files.TEMPORARY_PREFIX}1-{IMAGES}.gz").write_bytes(b"half")
    datasets.load(TrainConfig(data_url=url), console, stop)
    assert len(cached_files()) == 4


def test_fallback_is_loud_and_only_for_new_jobs(
    tmp_path, monkeypatch, console, stop, capsys
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    config = TrainConfig(
        data_url="http://127.0.0.1:9",
        dataset_fallback="synthetic",
        train_examples=10,
        test_examples=10,
    )
    assert datasets.load(config, console, stop).name == "synthetic"
    assert "SYNTHETIC" in capsys.readouterr().err
    with pytest.raises(DataUnavailableError):
        datasets.load(config, console, stop, recorded_name="fashion_mnist")
    resumed = datasets.load(config, console, stop, recorded_name="synthetic")
    assert resumed.name == "synthetic"


@pytest.mark.parametrize("dataset", ["fashion_mnist", "idx"])
@pytest.mark.parametrize("recorded_name", [None, "fashion_mnist", "idx"])
def test_nothing_stands_in_for_a_folder_that_was_named(
    tmp_path, console, stop, dataset, recorded_name
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    write_idx_folder(tmp_path / "part")
    (tmp_path / "part" / "t10k-images-idx3-ubyte.gz").unlink()
    for name in ("none", "empty", "file", "part"):
        config = TrainConfig(
            dataset=dataset,
            data_dir=str(tmp_path / name),
            dataset_fallback="synthetic",
        )
        with pytest.raises(DataError, match=str(tmp_path / name)):
            datasets.load(config, console, stop, recorded_name=recorded_name)


def test_fallback_does_not_hide_damaged_data(folder, console, stop):
    spoil(IMAGES, lambda _: HTML)(folder)
    config = TrainConfig(data_dir=str(folder), dataset_fallback="synthetic")
    with pytest.raises(DataError, match="web page"):
        datasets.load(config, console, stop)


def test_first_examples_are_used_and_no_more_than_there_are(
    folder, console, stop
):
    config = TrainConfig(
        dataset="idx", data_dir=str(folder), train_examples=3, test_examples=2
    )
    data = datasets.load(config, console, stop)
    assert len(data.train_images) == len(data.train_labels) == 3
    assert len(data.test_images) == 2
    config = TrainConfig(dataset="idx", data_dir=str(folder), train_examples=7)
    with pytest.raises(ConfigError, match="more than the 6 train images"):
        datasets.load(config, console, stop)


BINARY = {"reconstruction_loss": "bce", "binarize": "dynamic"}


def test_binary_evaluation_images_are_those_of_the_published_protocol(
    tmp_path, console, stop
):
    """Step by step as Tomczak & Welling's code draws them."""
    write_idx_folder(tmp_path / "idx", train=62, test=7)
    settings = {"dataset": "idx", "data_dir": str(tmp_path / "idx")}
    settings |= {"train_examples": 60}
    grey = datasets.load(TrainConfig(**settings), console, stop)
    data = datasets.load(TrainConfig(**settings, **BINARY), console, stop)
    np.testing.assert_array_equal(data.train_images, grey.train_images[:50])
    np.testing.assert_array_equal(data.train_labels, grey.train_labels[:50])
    flat = [
        images.reshape(len(images), -1).astype(np.float32) / 255.0
        for images in (grey.train_images[50:], grey.test_images)
    ]
    np.random.seed(777)
    validation, test = (np.random.binomial(1, grey) for grey in flat)
    for found, expected in (
        (data.validation_images, validation),
        (data.test_images, test),
    ):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(
            found.reshape(len(found), -1), 255 * expected
        )
    assert data.held_out == "validation"
    assert data.held_out_images is data.validation_images
    assert grey.held_out == "test"
    assert grey.held_out_images is grey.test_images
    assert data.md5 == grey.md5


def test_too_few_images_to_validate_on_are_refused(folder, console, stop):
    settings = {"dataset": "idx", "data_dir": str(folder), **BINARY}
    data = datasets.load(TrainConfig(**settings), console, stop)
    assert (len(data.train_images), len(data.validation_images)) == (5, 1)
    with pytest.raises(ConfigError, match="there are 5; use at least 6"):
        datasets.load(TrainConfig(**settings, train_examples=5), console, stop)


def test_the_binary_split_of_the_real_data(fashion_mnist_dir, console, stop):
    config = TrainConfig(data_dir=str(fashion_mnist_dir), **BINARY)
    data = datasets.load(config, console, stop)
    counts = [
        len(images)
        for images in (
            data.train_images,
            data.validation_images,
            data.test_images,
        )
    ]
    assert counts == [50_000, 10_000, 10_000]
    # As drawn with NumPy 2.4; the numbers of RandomState never change.
    assert [
        hashlib.md5(images).hexdigest()
        for images in (data.validation_images, data.test_images)
    ] == [
        "57ef34eb9f5f39a7a8b60b50e65fe316",
        "9aff633ae02bbadb88f85a9e32826696",
    ]


def test_synthetic_images_are_a_function_of_their_index():
    few, few_labels = synthetic.draw("train", 1500)
    more, more_labels = synthetic.draw("train", 2200)
    np.testing.assert_array_equal(few, more[:1500])
    np.testing.assert_array_equal(few_labels, more_labels[:1500])
    test, _ = synthetic.draw("test", 1500)
    assert not np.array_equal(few, test)


def test_synthetic_classes_can_be_told_apart():
    train, labels = synthetic.draw("train", 2000)
    test, test_labels = synthetic.draw("test", 500)
    centres = np.stack([train[labels == c].mean(0) for c in range(10)])
    distances = ((test[:, np.newaxis] - centres) ** 2).sum((2, 3))
    # A nearest-centre classifier; chance is 0.1.
    assert (distances.argmin(1) == test_labels).mean() > 0.6
    assert train.std(axis=0).mean() > 10, "the images of a class vary"


def test_the_real_data_is_the_published_data(fashion_mnist_dir, console, stop):
    config = TrainConfig(data_dir=str(fashion_mnist_dir))
    data = datasets.load(config, console, stop)
    assert data.train_images.shape == (60_000, 28, 28, 1)
    assert data.test_images.shape == (10_000, 28, 28, 1)
    # The published mean and deviation of the training pixels.
    assert data.train_images.mean() / 255 == pytest.approx(0.2860406, abs=1e-6)
    assert data.train_images.std() / 255 == pytest.approx(0.3530242, abs=1e-6)


def test_classes_of_a_folder_are_numbers_up_to_the_largest(folder):
    data = datasets.read_folder(folder, "idx")
    labels = np.array([0, 255, 3, 1, 2, 0], np.uint8)
    found = dataclasses.replace(data, train_labels=labels).class_names
    assert (len(found), found[0], found[255]) == (256, "0", "255")
    assert dataclasses.replace(data, test_labels=None).class_names == ()
    real = dataclasses.replace(data, name="fashion_mnist")
    assert real.class_names[9] == "Ankle boot"
