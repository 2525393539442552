import functools
import http.server
import threading

import numpy as np
import pytest

from tests.tools.idx import known_as, published, write_idx_folder
from trainer import files
from trainer.config import TrainConfig
from trainer.data import named, sources
from trainer.errors import ConfigError, DataError, DataUnavailableError
from trainer.runtime.stop_signal import InterruptedJobError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
HTML = b"<!DOCTYPE html><title>Please log in</title>"


@pytest.fixture
def folder(tmp_path):
    write_idx_folder(tmp_path / "idx")
    return tmp_path / "idx"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of a small Fashion-MNIST; yields its folder and address."""
    folder = tmp_path / "published"
    files_of = published(write_idx_folder(folder))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        cut = False

        def log_message(self, *_):
            """Keeps the test's output clean."""

        def copyfile(self, source, outputfile):
            content = source.read()
            outputfile.write(content[:10] if Handler.cut else content)

    handler = functools.partial(Handler, directory=folder)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd,
        known_as("fashion_mnist", files=files_of),
    ):
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}", Handler
        httpd.shutdown()


def cached_files():
    cache = named.keras_cache("fashion_mnist")
    return (
        sorted(path.name for path in cache.glob("*")) if cache.exists() else []
    )


def test_data_is_downloaded_once_and_verified(server, console, stop):
    folder, url, _ = server
    config = TrainConfig(data_url=url)
    data = sources.load(config, console, stop)
    assert data.train_images.shape == (6, 8, 8, 1)
    assert cached_files() == sorted(path.name for path in folder.iterdir())
    for path in folder.iterdir():
        path.unlink()
    again = sources.load(config, console, stop)
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
    folder, url, handler = server
    fault(folder, handler)
    with pytest.raises(DataError) as error:
        sources.load(TrainConfig(data_url=url), console, stop)
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
        sources.load(config, console, stop)
    assert "--data_dir" in str(error.value)
    assert cached_files() == []


def test_a_stop_signal_ends_a_download(server, console, stop):
    _, url, _ = server
    stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError):
        sources.load(TrainConfig(data_url=url), console, stop)
    assert cached_files() == []


def test_what_a_killed_download_left_is_removed(server, console, stop):
    _, url, _ = server
    cache = named.keras_cache("fashion_mnist")
    cache.mkdir(parents=True)
    (cache / f"{files.TEMPORARY_PREFIX}1-{IMAGES}.gz").write_bytes(b"half")
    sources.load(TrainConfig(data_url=url), console, stop)
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
    assert sources.load(config, console, stop).name == "synthetic"
    assert "SYNTHETIC" in capsys.readouterr().err
    with pytest.raises(DataUnavailableError):
        sources.load(config, console, stop, recorded_name="fashion_mnist")
    resumed = sources.load(config, console, stop, recorded_name="synthetic")
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
            sources.load(config, console, stop, recorded_name=recorded_name)


def test_fallback_does_not_hide_damaged_data(folder, console, stop):
    (folder / f"{IMAGES}.gz").write_bytes(HTML)
    config = TrainConfig(data_dir=str(folder), dataset_fallback="synthetic")
    with pytest.raises(DataError, match="web page"):
        sources.load(config, console, stop)


def test_first_examples_are_used_and_no_more_than_there_are(
    folder, console, stop
):
    config = TrainConfig(
        dataset="idx", data_dir=str(folder), train_examples=3, test_examples=2
    )
    data = sources.load(config, console, stop)
    assert len(data.train_images) == len(data.train_labels) == 3
    assert len(data.test_images) == 2
    config = TrainConfig(dataset="idx", data_dir=str(folder), train_examples=7)
    with pytest.raises(ConfigError, match="more than the 6 train images"):
        sources.load(config, console, stop)


def test_the_real_data_is_the_published_data(fashion_mnist_dir, console, stop):
    config = TrainConfig(data_dir=str(fashion_mnist_dir))
    data = sources.load(config, console, stop)
    assert data.train_images.shape == (60_000, 28, 28, 1)
    assert data.test_images.shape == (10_000, 28, 28, 1)
    # The published mean and deviation of the training pixels.
    assert data.train_images.mean() / 255 == pytest.approx(0.2860406, abs=1e-6)
    assert data.train_images.std() / 255 == pytest.approx(0.3530242, abs=1e-6)
