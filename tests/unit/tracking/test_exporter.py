"""What a Prometheus server reads of a training."""

import contextlib
import socket
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from prometheus_client import parser

from tests.tools.small_jobs import train_only
from trainer.data import images
from trainer.errors import ConfigError
from trainer.job_dir.open import JobDir
from trainer.runtime.console import Console
from trainer.tracking import exporter, goodput
from trainer.tracking.clock import KINDS, Clock
from trainer.tracking.exporter import Exporter, served

DATA_SECONDS = 0.05


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def scrape(port, path="/metrics"):
    """The samples that are served, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        text = answer.read().decode()
    return {
        (sample.name, *map(sample.labels.get, sorted(sample.labels))): (
            sample.value
        )
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scraper(Console):
    """Scrapes when the pictures of an epoch are due."""

    def __init__(self, port):
        super().__init__()
        self._port = port
        self.samples = []

    def line(self, text):
        super().line(text)
        if text.startswith("Epoch"):
            self.samples.append(scrape(self._port))


@pytest.fixture
def slow_data(monkeypatch):
    """Makes each batch take its time; no two are read at once."""
    reader = images.reader

    def wait():
        time.sleep(DATA_SECONDS)
        return np.float32(0)

    def slow_reader(of):
        def read(examples):
            waited = tf.numpy_function(wait, [], tf.float32)
            with tf.control_dependencies([waited]):
                return reader(of)(examples)

        return read

    monkeypatch.setattr(images, "reader", slow_reader)


def test_a_training_is_scraped_while_it_runs(small_config, port, slow_data):
    config = small_config(metrics_port=port, image_epochs=0, steps_per_call=5)
    console = Scraper(port)
    train_only(config, console=console)
    first, second = console.samples
    assert (first["vae_step",], first["vae_epoch",]) == (10, 1)
    assert (second["vae_step",], second["vae_epoch",]) == (20, 2)
    rows = JobDir(config.job_dir).metrics_path.read_text()
    for split in ("train", "test"):
        assert second["vae_loss_step", split] == 20
        for name in ("total_loss", "reconstruction_loss", "kl_loss"):
            value = second["vae_loss", name, split]
            assert f'"{name}": {value!r}' in rows
    assert second["vae_images_per_second",] > 0
    # That of the first epoch was saved by the time of the second evaluation.
    assert ("vae_checkpoint_age_seconds",) not in first
    assert second["vae_checkpoint_age_seconds",] > 0
    seconds = {
        kind: second["vae_session_seconds_total", kind] for kind in KINDS
    }
    assert second["vae_goodput_ratio",] == pytest.approx(
        seconds["training"] / sum(seconds.values()), abs=0.05
    )
    with pytest.raises(urllib.error.URLError):
        scrape(port)
    # Two batches were ready in time; some were timed for all.
    (session,) = goodput.read(JobDir(config.job_dir).goodput_path).sessions
    assert session.seconds["data"] > 0.5 * 18 * DATA_SECONDS


def test_only_the_two_paths_are_served(small_config, port):
    config = small_config(metrics_port=port)
    with served(Exporter(Clock()), config):
        assert ("vae_session_seconds_total", "start") in scrape(port, "/")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            scrape(port, "/etc/passwd")


def test_who_asks_and_stays_is_let_go(small_config, port, monkeypatch):
    monkeypatch.setattr(exporter._Handler, "timeout", 0.2)
    monkeypatch.setattr(exporter, "_ANSWERS_AT_ONCE", 2)
    with (
        served(Exporter(Clock()), small_config(metrics_port=port)),
        contextlib.ExitStack() as stack,
    ):
        strangers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(2)
        ]
        for stranger in strangers:
            stranger.settimeout(60)
            assert stranger.recv(1) == b"", "it said nothing, and was let go"
        assert scrape(port)


def test_a_port_that_is_taken_is_refused(small_config):
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = small_config(metrics_port=server.getsockname()[1])
        with (
            pytest.raises(ConfigError, match="give another port") as error,
            served(Exporter(Clock()), config),
        ):
            pass
    assert "Address already in use" in str(error.value)


def test_without_the_extra_the_flag_is_refused(small_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with (
        pytest.raises(ConfigError, match=r'"vae-trainer\[metrics\]"'),
        served(Exporter(Clock()), small_config(metrics_port=9)),
    ):
        pass
    with served(Exporter(Clock()), small_config()):
        pass
