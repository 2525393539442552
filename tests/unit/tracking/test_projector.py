import io

import numpy as np
import pytest
import werkzeug.test
from PIL import Image
from tensorboard.backend.event_processing import (
    data_provider,
    plugin_event_multiplexer,
)
from tensorboard.plugins import base_plugin
from tensorboard.plugins.projector import projector_plugin

from trainer.data.dataset import Dataset
from trainer.errors import InterruptedJobError
from trainer.model import inference
from trainer.model.build import build_vae
from trainer.tracking import projector
from trainer.tracking.tensorboard import EventWriter

NAMES = ("T-shirt", "Trouser")


def make_data(count=5, shape=(28, 28, 1), labels=True):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % 2 if labels else None
    return Dataset(
        "fashion_mnist", images, images, labels, labels, {}, classes=NAMES
    )


def make_vae(small_config, shape=(28, 28, 1), **settings):
    return build_vae(small_config(latent_dim=3, **settings), shape)


@pytest.fixture
def run(tmp_path):
    """A run's folder with an event, below what TensorBoard is given."""
    folder = tmp_path / "runs" / "vae" / "logs" / "test"
    EventWriter(folder, 1).close()
    return folder


class Projector:
    """TensorBoard's own plugin, asked as the browser asks it."""

    def __init__(self, logdir):
        multiplexer = plugin_event_multiplexer.EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(logdir))
        multiplexer.Reload()
        provider = data_provider.MultiplexerDataProvider(
            multiplexer, str(logdir)
        )
        self._apps = projector_plugin.ProjectorPlugin(
            base_plugin.TBContext(logdir=str(logdir), data_provider=provider)
        ).get_plugin_apps()

    def get(self, route, **arguments):
        client = werkzeug.test.Client(self._apps[route])
        response = client.get(route, query_string=arguments)
        assert response.status_code == 200, response.text
        return response

    def show(self):
        """Returns (run, means, metadata lines, sprite) of the one tensor."""
        (run,) = self.get("/runs").json
        (tensor,) = self.get("/info", run=run).json["embeddings"]
        arguments = {"run": run, "name": tensor["tensorName"]}
        means = np.frombuffer(self.get("/tensor", **arguments).data, "<f4")
        lines = self.get("/metadata", **arguments).text.splitlines()
        sprite = Image.open(
            io.BytesIO(self.get("/sprite_image", **arguments).data)
        )
        assert tensor["sprite"]["singleImageDim"] == [28, 28]
        return run, means.reshape(tensor["tensorShape"]), lines, sprite


@pytest.mark.parametrize("above", [0, 1, 3])
def test_tensorboard_shows_the_posterior_means_from_any_folder_above(
    small_config, run, console, stop, above
):
    vae, data = make_vae(small_config), make_data()
    projector.save(run, vae, data, console, stop)
    logdir = [run, *run.parents][above]
    name, means, lines, sprite = Projector(logdir).show()
    assert name == str(run.relative_to(logdir))
    np.testing.assert_allclose(
        means, inference.encode(vae, data.test_images), rtol=2e-5
    )
    assert lines == [
        "class\ttest image", "T-shirt\t0", "Trouser\t1", "T-shirt\t2",
        "Trouser\t3", "T-shirt\t4",
    ]  # fmt: skip
    # Three columns and rows of 28 pixels, row by row.
    assert (sprite.mode, sprite.size) == ("L", (84, 84))
    np.testing.assert_array_equal(
        np.asarray(sprite)[28:56, 28:56], data.test_images[4, ..., 0]
    )
    assert not np.asarray(sprite)[56:, 28:].any()


def test_means_that_look_like_text_are_shown_too(
    small_config, run, console, stop, monkeypatch
):
    # TensorBoard would read the line "A", which is not a number, and fail.
    like_text = np.frombuffer(b"A\n@?" + bytes(8), "<f4").reshape(1, 3)
    monkeypatch.setattr(inference, "encode_many", lambda *_: like_text)
    projector.save(run, None, make_data(1), console, stop)
    _, means, _, _ = Projector(run).show()
    np.testing.assert_allclose(means, like_text, rtol=2e-5)


def test_without_labels_the_points_have_their_index(
    small_config, run, console, stop
):
    data = make_data(3, labels=False)
    projector.save(run, make_vae(small_config), data, console, stop)
    assert Projector(run).show()[2] == ["0", "1", "2"]


def test_at_most_10_000_images_are_shown(run, console, stop, monkeypatch):
    data = make_data(10_001)
    numbers = np.arange(10_001, dtype=np.float32)[:, np.newaxis]
    monkeypatch.setattr(
        inference,
        "encode_many",
        lambda _, images, *__: numbers[: len(images)],
    )
    projector.save(run, None, data, console, stop)
    _, means, lines, sprite = Projector(run).show()
    assert means.shape == (10_000, 1)
    assert len(lines) == 1 + 10_000
    assert sprite.size == (2800, 2800)


def test_larger_images_become_thumbnails(small_config, run, console, stop):
    data = make_data(4, (56, 56, 1))
    vae = make_vae(small_config, (56, 56, 1), mixed_precision="bfloat16")
    projector.save(run, vae, data, console, stop)
    _, means, _, sprite = Projector(run).show()
    assert means.shape == (4, 3)
    # A pixel of a thumbnail is the mean of four.
    expected = data.test_images[0, :2, :2].mean()
    assert sprite.size == (56, 56)
    assert abs(sprite.getpixel((0, 0)) - expected) <= 0.5


def test_saved_again_the_files_are_the_same(small_config, run, console, stop):
    vae, data = make_vae(small_config), make_data()

    def saved():
        projector.save(run, vae, data, console, stop)
        return {
            path.relative_to(run): path.read_bytes()
            for path in run.rglob("*")
            if path.is_file()
        }

    first = saved()
    # What a killed job left behind is in nobody's way.
    (run / "projector" / ".unfinished-1-sprite.png").write_bytes(b"half")
    (run / "projector" / "sprite.png").write_bytes(b"of another step")
    assert saved() == first


def test_the_config_comes_last(small_config, run, console, stop, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(projector, "_sprite", fail)
    with pytest.raises(OSError, match="full"):
        projector.save(run, make_vae(small_config), make_data(), console, stop)
    assert not list(run.glob("projector_config*"))


def test_a_signal_stops_it(small_config, run, console, stop):
    stop.request("SIGTERM")
    with pytest.raises(InterruptedJobError):
        projector.save(run, make_vae(small_config), make_data(), console, stop)
