"""Jobs whose model is given labels, and what the commands make of them."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tools.colour_jobs import job_on, write_dataset
from tests.tools.commands import run_command
from tests.tools.small_jobs import small_job, train_only
from trainer.comparison import pictures
from trainer.config import TrainConfig
from trainer.data import classes, images, order, sources, synthetic
from trainer.data.dataset import Dataset
from trainer.errors import ConfigError, DataError
from trainer.job import train_and_evaluate
from trainer.job_dir import checkpoint
from trainer.job_dir.open import JobDir
from trainer.model.trained import load_model
from trainer.pictures import grids, layout
from trainer.schedule import Schedule
from trainer.training import Parts

LABELS = {"condition": "labels", "model": "mlp", "model_options": "width=16"}
NAMES = list(synthetic.CLASS_NAMES)


@pytest.fixture(scope="module")
def job_dir(once):
    """A finished job."""
    return once(
        "conditional_job",
        lambda folder: train_and_evaluate(
            small_job(job_dir=str(folder), epochs=1, **LABELS)
        ),
    )


def images_of(path):
    """The images of a PNG: (rows, columns, height, width, 1)."""
    with Image.open(path) as image:
        pixels = np.asarray(image)[..., np.newaxis]
        return layout.parse(image.text["Layout"], pixels.shape).images(pixels)


def test_the_record_has_the_names_of_the_classes(job_dir):
    assert JobDir(job_dir).record()["classes"] == NAMES


def test_an_evaluation_says_that_it_is_given_the_label(job_dir, tmp_path):
    flags = f"--job_dir={job_dir}", "--importance_samples=2"
    code, out, err = run_command("vae-evaluate", *flags)
    assert code == 0, err
    assert "  log p(x | label), K = 2 " in out
    assert "lower bound of log p(x | label): " in out
    assert "log p(x)" not in out
    assert "on posterior means, which are made knowing the label\n" in out
    found = json.loads((job_dir / "evaluation.json").read_text())
    assert found["density"] == "log p(x | label)"


def test_pictures_have_a_row_for_each_class(job_dir, tmp_path):
    flags = f"--job_dir={job_dir}", f"--output={tmp_path}", "--rows=4"
    assert run_command("vae-generate", *flags).exit_code == 0
    vae = load_model(job_dir)
    cells = images_of(tmp_path / "generated.png")
    assert cells.shape == (10, 4, 28, 28, 1)
    for label in (0, 7):
        row = np.rint(255 * vae.sample(4, labels=label).astype(float))
        np.testing.assert_array_equal(cells[label], row)
    # In a comparison stands the first of each class.
    found = pictures.read(JobDir(job_dir), (28, 28, 1), 10)
    np.testing.assert_array_equal(found.samples[:, :28, :1], cells[0, 0])
    assert found.samples.shape[1] == 10 * 28
    code, _, err = run_command("vae-gallery", f"--job_dir={job_dir}")
    assert code == 0, err
    page = (job_dir / "gallery.html").read_text()
    assert "(mlp, told the classes)" in page
    assert "never told" not in page
    assert page.count("Generated images: ") == 10


def test_samples_in_the_events_are_those_of_the_classes(job_dir, tmp_path):
    job = JobDir(job_dir)
    job.plots = tmp_path  # As while it is running.
    found = pictures.read(job, (28, 28, 1), 10)
    first = grids.grid(load_model(job_dir), 1, seed=0)
    columns = np.concatenate(np.split(first, 10), axis=1)
    np.testing.assert_allclose(
        found.samples[..., :1].astype(int), columns, atol=1
    )


def test_one_class_is_drawn_by_its_name_or_number_without_the_data(
    job_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(sources, "load", None)
    contents = []
    for label in ("Sandal", "5"):
        flags = f"--job_dir={job_dir}", f"--output={tmp_path / label}"
        code, _, err = run_command(
            "vae-generate", *flags, f"--label={label}", "--rows=3"
        )
        assert code == 0, err
        (path,) = (tmp_path / label).iterdir()
        assert path.name == "generated_label_5.png"
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    cells = images_of(path).reshape(9, 28, 28, 1)
    drawn = load_model(job_dir).sample(9, labels=5).astype(float)
    np.testing.assert_array_equal(cells, np.rint(255 * drawn))
    code, _, err = run_command(
        "vae-generate", f"--job_dir={job_dir}", "--label=Sandals"
    )
    assert code == 2
    assert "--label=Sandals is no class of" in err
    assert "0 T-shirt, 1 Trouser, " in err and "9 Ankle boot." in err


def test_a_job_without_labels_has_no_class_to_draw(finished_job):
    flags = f"--job_dir={finished_job}", "--label=Sandal"
    code, _, err = run_command("vae-generate", *flags)
    assert (code, "was trained without --condition=labels" in err) == (2, True)
    assert "classes" not in JobDir(finished_job).record()


def test_it_begins_with_the_weights_of_a_job_without_labels(
    small_config, tmp_path, capsys
):
    without = {**LABELS, "condition": "none"}
    source = small_config(
        job_dir=str(tmp_path / "source"), max_steps=1, **without
    )
    train_only(source)
    config = small_config(init_from=source.job_dir, max_steps=1, **LABELS)
    train_only(config)
    assert (
        "at step 1: 14 of 16 weights; not: encoder/encoder_label/kernel (not "
        "there), decoder/decoder_label/kernel (not there).\n"
    ) in capsys.readouterr().out


def test_labels_travel_with_images_from_the_disk(tmp_path, monkeypatch):
    data = write_dataset(tmp_path)
    settings = {**LABELS, "epochs": 1, "image_epochs": 0}
    in_memory = job_on(data, tmp_path / "memory", **settings)
    train_only(in_memory)
    monkeypatch.setattr(images, "memory_bytes", lambda: 0)
    on_disk = job_on(data, tmp_path / "disk", **settings)
    train_only(on_disk)
    found, expected = (
        checkpoint.select(JobDir(config.job_dir), "last").variables
        for config in (on_disk, in_memory)
    )
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    kernel = expected["encoder/encoder_label/kernel"]
    assert kernel.shape == (3, 32)
    assert len(JobDir(on_disk.job_dir).record()["classes"]) == 3


def numbered(count):
    """Images whose pixels say their number, and their labels."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(pixels, (count, 4, 4, 1)), np.arange(count) * 3


@pytest.mark.parametrize("replicas", [1, 4])
def test_each_label_is_that_of_its_image(replicas):
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(replicas)]
    )
    pixels, labels = numbered(50)
    config = TrainConfig(batch_size=8, epochs=1)
    schedule = Schedule.of(config, 50)
    training = order.train_batches(
        pixels, config, schedule, strategy, 1, labels=labels
    )
    held_out, _ = order.test_batches(pixels, config, strategy, labels=labels)
    for batches, count in ((training, 6), (held_out, 7)):
        seen = 0
        for batch in batches:
            seen += 1
            for images_of, labels_of in zip(
                strategy.experimental_local_results(batch["images"]),
                strategy.experimental_local_results(batch["labels"]),
                strict=True,
            ):
                np.testing.assert_array_equal(
                    labels_of, 3 * images_of[:, 0, 0, 0].numpy().astype(int)
                )
        assert seen == count


def some_data(train, test=(0, 1), names=()):
    return Dataset(
        name="of a test",
        train_images=np.zeros((2, 4, 4, 1), np.uint8),
        test_images=np.zeros((2, 4, 4, 1), np.uint8),
        train_labels=train if train is None else np.array(train),
        test_labels=test if test is None else np.array(test),
        md5={},
        classes=names,
    )


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        (some_data(None), ConfigError, "the train images of .* have no labels"),
        (some_data([0, 1], None), ConfigError, "the test images of .* have no"),
        (some_data([3, 3]), ConfigError, r"are of one class \(3\); leave it"),
        (
            some_data([0, 2], names=("a", "b")),
            DataError,
            "train labels of .* are from 0 to 2, but it has 2 classes",
        ),
        (some_data([0, 1], (-1, 0)), DataError, "test labels of .* from -1"),
    ],
)
def test_data_that_tells_no_classes_apart_is_refused(data, error, sentence):
    with pytest.raises(error, match=sentence):
        classes.check(TrainConfig(**LABELS), data)
    classes.check(TrainConfig(), data)


def test_nothing_is_written_of_a_job_on_one_class(small_config):
    def of_one_class(*args, **kwargs):
        data = sources.load(*args, **kwargs)
        return dataclasses.replace(data, train_labels=0 * data.train_labels)

    config = small_config(**LABELS)
    with pytest.raises(ConfigError, match="are of one class"):
        train_and_evaluate(config, parts=Parts(load_data=of_one_class))
    assert not JobDir(config.job_dir).exists


def test_a_record_without_its_classes_is_refused(job_dir, tmp_path):
    record = {**JobDir(job_dir).record()}
    del record["classes"]
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(record))
    code, _, err = run_command("vae-export", f"--job_dir={folder}")
    assert code != 0
    assert 'it has no "classes"' in err
