import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import (
    plugin_event_accumulator,
)

from trainer.errors import JobDirError
from trainer.job_dir.open import open_to_write
from trainer.pictures.sheet import Drawn
from trainer.runtime.console import Console
from trainer.tracking import tensorboard
from trainer.tracking.rows import read_rows
from trainer.tracking.summaries import Summaries
from trainer.tracking.tensorboard import EventWriter

# charts.PAPER.train, the colour of a bar.
KL_BAR = [0x2A, 0x78, 0xD6]


def row(step, split="train", loss=None):
    loss = float(step) if loss is None else loss
    found = {
        "step": step,
        "epoch": 1,
        "split": split,
        "total_loss": loss,
        "reconstruction_loss": loss,
        "kl_loss": 0.0,
    }
    return found if split == "train" else {**found, "active_units": 1}


def curve(folder, tag="losses/total_loss"):
    """What TensorBoard's own reader makes of a folder of events."""
    reader = plugin_event_accumulator.EventAccumulator(
        str(folder), tensor_size_guidance={"scalars": 0}
    )
    reader.Reload()
    if tag not in reader.Tags()["tensors"]:
        return []
    return [
        (event.step, float(tf.make_ndarray(event.tensor_proto)))
        for event in reader.Tensors(tag)
    ]


@pytest.fixture
def job(small_config, console, stop):
    with open_to_write(small_config(), console, stop) as job:
        yield job


def write(job, step, rows, redo=False, held_out="test"):
    writer = Summaries(job, step, redo, held_out, console=Console())
    for one in rows:
        writer.write_row(one)
    writer.close()


def test_rows_and_curves_have_the_same_numbers(job):
    rows = [row(1), row(2, loss=0.1), row(2, "test"), row(3)]
    write(job, 0, rows)
    assert read_rows(job.metrics_path) == rows
    assert curve(job.train_logs) == [(1, 1), (2, np.float32(0.1)), (3, 3)]
    assert curve(job.logs / "test") == [(2, 2)]


def test_a_resume_drops_what_came_after_the_checkpoint(job):
    write(job, 0, [row(step) for step in (10, 20, 30, 40, 50)])
    write(job, 30, [row(step, loss=-1.0) for step in (40, 50, 60)])
    expected = [(10, 10), (20, 20), (30, 30), (40, -1), (50, -1), (60, -1)]
    rows = read_rows(job.metrics_path)
    assert [(r["step"], r["total_loss"]) for r in rows] == expected
    assert curve(job.train_logs) == expected


def test_a_due_evaluation_is_written_once(job):
    write(job, 0, [row(10), row(10, "test", loss=1.0)])
    write(job, 10, [row(10, "test", loss=2.0), row(20)], redo=True)
    rows = read_rows(job.metrics_path)
    assert [(r["step"], r["split"]) for r in rows] == [
        (10, "train"),
        (10, "test"),
        (20, "train"),
    ]
    assert curve(job.train_logs) == [(10, 10), (20, 20)]
    assert curve(job.logs / "test") == [(10, 2)]


def test_a_validation_row_is_treated_as_a_test_row_is(job):
    rows = [row(10), row(10, "validation", loss=-1.0)]
    write(job, 0, rows, held_out="validation")
    rows = [row(10, "validation", loss=-2.0), row(20)]
    write(job, 10, rows, redo=True, held_out="validation")
    assert [
        (r["step"], r["split"], r["total_loss"])
        for r in read_rows(job.metrics_path)
    ] == [(10, "train", 10), (10, "validation", -2), (20, "train", 20)]
    assert curve(job.logs / "validation") == [(10, -2)]
    assert not (job.logs / "test").exists()


def test_events_stay_in_order_when_the_clock_goes_back(job, monkeypatch):
    monkeypatch.setattr(tensorboard.time, "time", lambda: 2e9)
    write(job, 0, [row(1), row(2)])
    monkeypatch.setattr(tensorboard.time, "time", lambda: 1e9)
    write(job, 1, [row(2, loss=-2.0), row(3)])
    assert curve(job.train_logs) == [(1, 1), (2, -2), (3, 3)]


def test_a_torn_last_line_is_dropped(job):
    write(job, 0, [row(1), row(2)])
    whole = job.metrics_path.read_bytes()
    for cut in range(1, 20):
        job.metrics_path.write_bytes(whole + whole[:cut])
        assert len(read_rows(job.metrics_path)) == 2
    write(job, 2, [row(3)])
    assert [r["step"] for r in read_rows(job.metrics_path)] == [
        1,
        2,
        3,
    ]


def test_a_damaged_line_is_named(job):
    write(job, 0, [row(1), row(2)])
    lines = job.metrics_path.read_text().splitlines()
    job.metrics_path.write_text("\n".join([lines[0][:-5], lines[1], ""]))
    with pytest.raises(JobDirError, match=r"metrics\.jsonl, line 1, is not"):
        Summaries(job, 2, console=Console())
    job.metrics_path.write_text("[1]\n")
    with pytest.raises(JobDirError, match="line 1"):
        read_rows(job.metrics_path)


def test_pictures_reach_tensorboard_whole(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1) * 20
    writer = EventWriter(tmp_path, 1)
    writer.image(5, "samples", Drawn(pixels, {"Title": "Samples"}))
    writer.close()
    reader = plugin_event_accumulator.EventAccumulator(str(tmp_path))
    reader.Reload()
    (event,) = reader.Tensors("samples")
    width, height, png = tf.make_ndarray(event.tensor_proto)
    assert (event.step, width, height) == (5, b"4", b"3")
    np.testing.assert_array_equal(tf.io.decode_png(png), pixels)
    assert list(reader.PluginTagToContent("images")) == ["samples"]


def tensors(folder, tag):
    """(step, array) of each event of a tag, as TensorBoard reads them."""
    reader = plugin_event_accumulator.EventAccumulator(
        str(folder), tensor_size_guidance={"histograms": 0, "images": 0}
    )
    reader.Reload()
    return [
        (event.step, tf.make_ndarray(event.tensor_proto))
        for event in reader.Tensors(tag)
    ]


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_kl_of_the_units_is_a_histogram_and_a_picture(job, split):
    kl = np.array([0.0, 0.0, 0.0, 1.5, 6.0])
    writer = Summaries(job, 0, console=Console())
    writer.write_kl(row(20, split), kl)
    writer.close()
    folder = job.root / "logs" / split
    ((step, buckets),) = tensors(folder, "posterior/kl_of_units")
    assert step == 20
    # Three units have nothing, one a quarter of the most, and one has that.
    left, right, count = buckets[buckets[:, 2] > 0].T
    assert (left <= [0, 1.5, 6]).all()
    assert (right >= [0, 1.5, 6]).all()
    assert count.tolist() == [3, 1, 1]
    ((step, (width, height, png)),) = tensors(folder, "pictures/kl_of_units")
    pixels = tf.io.decode_png(png).numpy()
    assert step == 20
    assert (int(height), int(width), 3) == pixels.shape
    # Two units have a bar; the other three share one of no length.
    has_bar = (pixels == KL_BAR).all(axis=2).any(axis=1)
    assert np.count_nonzero(np.diff(has_bar.astype(int)) == 1) == 2


def test_an_evaluation_has_no_curve_of_what_is_always_the_same(job):
    rows = [row(1) | {"kl_weight": 0.5}, row(1, "test") | {"kl_weight": 1.0}]
    write(job, 0, rows)
    assert curve(job.train_logs, "training/kl_weight") == [(1, 0.5)]
    assert curve(job.logs / "test", "training/kl_weight") == []
    assert read_rows(job.metrics_path) == rows


def test_rows_are_json_objects_one_a_line(job):
    write(job, 0, [row(1), row(2)])
    for line in job.metrics_path.read_text().splitlines():
        assert isinstance(json.loads(line), dict)


def test_the_rows_that_a_job_writes_are_read(job):
    rows = [row(1), row(1, "test", loss=float("inf"))]
    write(job, 0, rows)
    assert read_rows(job.metrics_path) == rows


@pytest.mark.parametrize(
    "change",
    [
        {"total_loss": None},
        {"total_loss": "1"},
        {"kl_loss": True},
        {"step": 0},
        {"step": 1.5},
        {"step": 10**30},
        {"epoch": []},
        {"split": 1},
        {"active_units": None},
        {"warp": {}},
    ],
)
def test_a_row_of_nonsense_is_named(job, change):
    write(job, 0, [row(1)])
    bad = json.dumps(row(2, "test") | change)
    with job.metrics_path.open("a") as file:
        file.write(f"{bad}\n")
    with pytest.raises(JobDirError, match=r"jsonl, line 2, is not a row of"):
        read_rows(job.metrics_path)


@pytest.mark.parametrize(
    "name", ["total_loss", "reconstruction_loss", "active_units", "split"]
)
def test_a_row_without_a_part_is_named(job, name):
    short = row(1, "test")
    del short[name]
    job.metrics_path.write_text(f"{json.dumps(short)}\n")
    with pytest.raises(JobDirError, match=rf"line 1, .* '?{name}"):
        read_rows(job.metrics_path)


def test_a_line_without_an_end_is_not_read_to_it(job):
    with job.metrics_path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(JobDirError, match="line 1, is not a row of metrics"):
        read_rows(job.metrics_path)


def test_what_is_no_file_of_rows_is_said(job, tmp_path):
    job.metrics_path.symlink_to(tmp_path / "nothing")
    with pytest.raises(JobDirError, match="is a link that leads nowhere"):
        Summaries(job, 0, console=Console())
    assert not (tmp_path / "nothing").exists()
