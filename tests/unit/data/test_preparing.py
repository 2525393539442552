"""A preparation gives the same bytes whoever made them, and whatever came."""

import errno
import json
import multiprocessing
import os
import signal
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.tools.datasets import content_of, prepare
from tests.tools.images import encoded, noise, png, write_classes
from trainer import files
from trainer.data import manifest, records
from trainer.data.preparing import chunks, run
from trainer.errors import ConfigError, DataError, InterruptedJobError
from trainer.runtime.stop_signal import StopSignal


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("preparing") / "source", 150)


@pytest.fixture(scope="module")
def untouched(source, tmp_path_factory):
    """The files of a dataset that one process made without a break."""
    target = tmp_path_factory.mktemp("preparing") / "untouched"
    return content_of(prepare(source, target, shard=10_000))


def split_of_each(folder):
    """Returns the split of each image of a dataset, by its pixels."""
    with records.open_dataset(folder) as dataset:
        return {
            image.tobytes(): name
            for name, split in dataset.splits.items()
            for image in split.read(np.arange(split.count))
        }


def test_the_number_of_processes_changes_nothing(source, untouched, tmp_path):
    target = prepare(source, tmp_path / "set", processes=3, shard=10_000)
    assert content_of(target) == untouched
    assert len(untouched) > 8


def test_a_copy_of_the_source_gives_the_same_bytes(untouched, tmp_path):
    copy = write_classes(tmp_path / "source", 150)
    for path in copy.rglob("*.png"):
        os.utime(path, (0, 0))
    target = prepare(copy, tmp_path / "set", shard=10_000)
    assert content_of(target) == untouched


class StopsAt(StopSignal):
    """A stop signal that comes when it is asked about for the nth time."""

    def __init__(self, number):
        super().__init__()
        self.left = number

    def check(self):
        self.left -= 1
        if self.left == 0:
            self.request("SIGTERM")
        super().check()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99, 1.0])
def test_a_stop_anywhere_loses_nothing(share, source, untouched, tmp_path):
    counting = StopsAt(0)
    prepare(source, tmp_path / "count", stop=counting, shard=10_000)
    asked = -counting.left
    stop = StopsAt(max(1, int(asked * share)))
    target = tmp_path / "set"
    with pytest.raises(InterruptedJobError):
        prepare(source, target, stop=stop, shard=10_000)
    with pytest.raises(DataError, match=r"interrupted|holds no dataset"):
        records.open_dataset(target)
    prepare(source, target, shard=10_000)
    assert content_of(target) == untouched


@pytest.mark.parametrize("number", range(0, 12, 3))
def test_a_failure_at_any_file_loses_nothing(
    number, source, untouched, tmp_path, monkeypatch
):
    left = [number]

    def publish(*args):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(*args)

    whole = files.publish
    target = tmp_path / "set"
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(files, "publish", publish)
        prepare(source, target, shard=10_000)
    assert not (target / manifest.NAME).exists()
    prepare(source, target, shard=10_000)
    assert content_of(target) == untouched


def test_a_chunk_that_was_made_is_not_made_again_unless_it_is_damaged(
    source, untouched, tmp_path, monkeypatch
):
    numbers, stops_at, make = [], [], chunks.make

    def stopping(work, number, *args):
        numbers.append(number)
        if number in stops_at:
            raise InterruptedJobError
        make(work, number, *args)

    monkeypatch.setattr(chunks, "make", stopping)
    target = tmp_path / "set"
    for number, expected in ((3, [0, 1, 2, 3]), (4, [3, 4])):
        stops_at[:] = [number]
        with pytest.raises(InterruptedJobError):
            prepare(source, target, shard=10_000)
        assert numbers == expected
        numbers.clear()
    damaged = target / manifest.UNFINISHED / "chunk-00000001"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    stops_at.clear()
    prepare(source, target, shard=10_000)
    assert numbers == [1, 4]
    assert content_of(target) == untouched


def test_a_process_that_dies_is_noticed(source, tmp_path, monkeypatch):
    process_class = multiprocessing.get_context("spawn").Process
    start = process_class.start

    def start_and_kill(process):
        start(process)
        os.kill(process.pid, signal.SIGKILL)

    monkeypatch.setattr(process_class, "start", start_and_kill)
    with pytest.raises(DataError, match="has ended, most often since the mem"):
        prepare(source, tmp_path / "set", processes=2)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_that_cannot_be_read_for_now_is_no_bad_image(
    processes, source, untouched, tmp_path
):
    target, away = tmp_path / "set", tmp_path / "away"
    moved = source / "dog" / "7.png"

    class MovesOne(StopSignal):
        """Takes a file away when the folder has been listed."""

        def check(self):
            plan = target / manifest.UNFINISHED / "plan.json"
            if plan.exists() and moved.exists():
                moved.rename(away)

    try:
        with pytest.raises(DataError, match=r"dog/7\.png cannot be read"):
            prepare(
                source,
                target,
                processes=processes,
                stop=MovesOne(),
                shard=10_000,
            )
    finally:
        away.rename(moved)
    prepare(source, target, processes=processes, shard=10_000)
    assert content_of(target) == untouched


# What lies in the way.


def test_the_same_preparation_again_does_nothing(source, tmp_path, capsys):
    target = prepare(source, tmp_path / "set")
    before = {path: path.stat() for path in target.rglob("*")}
    prepare(source, target)
    assert {path: path.stat().st_ino for path in target.rglob("*")} == {
        path: info.st_ino for path, info in before.items()
    }


@pytest.mark.parametrize("changed", [{"size": (4, 4)}, {"test_share": 0.5}])
@pytest.mark.parametrize("finished", [False, True])
def test_another_preparation_is_refused(changed, finished, source, tmp_path):
    target = tmp_path / "set"
    if finished:
        prepare(source, target)
    else:
        with pytest.raises(InterruptedJobError):
            prepare(source, target, stop=StopsAt(100))
    before = content_of(target)
    with pytest.raises(ConfigError, match=r"other flags|another flags"):
        prepare(source, target, **changed)
    before.pop("preparing/lock", None)
    after = content_of(target)
    after.pop("preparing/lock", None)
    assert after == before


def test_a_source_that_changed_on_the_way_is_refused(tmp_path):
    folder = write_classes(tmp_path / "source", 20)
    with pytest.raises(InterruptedJobError):
        prepare(folder, tmp_path / "set", stop=StopsAt(20))
    (folder / "cat" / "0.png").write_bytes(png(99))
    with pytest.raises(ConfigError, match="with another source; remove it"):
        prepare(folder, tmp_path / "set")


def test_a_folder_of_something_else_is_refused(source, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something that is no dataset"):
        prepare(source, tmp_path / "set")
    assert content_of(tmp_path / "set") == {"thesis.tex": b"years of work"}
    with pytest.raises(ConfigError, match="is a file"):
        prepare(source, tmp_path / "set" / "thesis.tex")


def test_a_dataset_within_its_source_is_refused(tmp_path):
    folder = write_classes(tmp_path / "source", 2)
    with pytest.raises(ConfigError, match="lies within"):
        prepare(folder, folder / "set")


def test_two_preparations_do_not_work_in_one_folder(source, tmp_path):
    work = tmp_path / "set" / manifest.UNFINISHED
    work.mkdir(parents=True)
    with run._lock(work), pytest.raises(ConfigError, match="is at work"):
        prepare(source, tmp_path / "set")


# What comes out.


def test_equal_images_are_in_one_split_and_new_ones_move_none(tmp_path):
    folder = write_classes(tmp_path / "source", 40)
    shares = {"test_share": 0.3, "validation_share": 0.3}
    before = split_of_each(prepare(folder, tmp_path / "before", **shares))
    for number in range(40):
        (folder / "dog" / f"copy of {number}.png").write_bytes(png(number))
        (folder / "cat" / f"new {number}.png").write_bytes(png(5000 + number))
    target = prepare(folder, tmp_path / "after", **shares)
    with records.open_dataset(target) as dataset:
        counts = {name: len(split) for name, split in dataset.splits.items()}
        seen = [
            {image.tobytes() for image in split.read(np.arange(split.count))}
            for split in dataset.splits.values()
        ]
    assert sum(counts.values()) == 160
    assert len(set().union(*seen)) == sum(map(len, seen))
    after = split_of_each(target)
    assert {image: after[image] for image in before} == before
    # 120 different ones; four standard deviations are 20.
    for name in ("test", "validation"):
        found = sum(split == name for split in after.values())
        assert abs(found - 0.3 * 120) < 20


def test_one_coloured_image_makes_all_coloured(tmp_path):
    folder = write_classes(tmp_path / "source", 150, channels=1)
    grey = prepare(folder, tmp_path / "grey", test_share=0)
    with records.open_dataset(grey) as dataset:
        assert dataset.image_shape == (8, 8, 1)
        images = dataset.splits["train"].read(np.arange(300))
    (folder / "dog" / "red.png").write_bytes(
        encoded(Image.new("RGB", (8, 8), (255, 0, 0)))
    )
    coloured = prepare(folder, tmp_path / "coloured", test_share=0)
    with records.open_dataset(coloured) as dataset:
        assert dataset.image_shape == (8, 8, 3)
        found = {
            image[..., :1].tobytes()
            for image in dataset.splits["train"].read(np.arange(301))
            if (image == image[..., :1]).all()
        }
    assert found == {image.tobytes() for image in images}


def test_the_first_images_are_of_all_classes(source, tmp_path):
    target = prepare(source, tmp_path / "set", test_share=0)
    with records.open_dataset(target) as dataset:
        first = dataset.splits["train"].labels[:40]
    assert 10 <= first.sum() <= 30


def test_dataset_json_says_how_it_was_made(untouched):
    text = untouched[manifest.NAME].decode()
    made = json.loads(text)["made"]
    assert made["source"]["name"] == "source"
    assert made["flags"]["size"] == "8x8"
    assert set(made["versions"]) == {"vae-trainer", "pillow", "numpy"}
    assert made["left_out"] == {"count": 0, "first": []}
    assert "/" not in text.replace("train/", "").replace("test/", "")


def test_bad_images_are_all_named_and_nothing_is_kept(tmp_path):
    folder = write_classes(tmp_path / "source", 5)
    for number in range(25):
        (folder / "cat" / f"bad {number}.png").write_bytes(png(1)[:40])
    with pytest.raises(DataError) as refused:
        prepare(folder, tmp_path / "set")
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("25 of 35 images cannot be used, and nothing")
    assert len(lines) == 22 and lines[-1] == "  and 5 more"
    assert all("bad" in line and ".png: it is" in line for line in lines[1:21])
    assert not (tmp_path / "set").exists()


def test_without_a_training_image_there_is_no_dataset(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "only.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match="No training image is left"):
        prepare(folder, tmp_path / "set", on_bad="skip")
    assert not (tmp_path / "set").exists()


def test_the_memory_that_a_preparation_takes_is_that_of_a_chunk(tmp_path):
    # 64 images of 1 MB decoded: all at once they would be 64 MB.
    np.save(
        tmp_path / "a.npy", noise(0, 64 * 600, 600).reshape(-1, 600, 600, 3)
    )
    tracemalloc.start()
    prepare(tmp_path / "a.npy", tmp_path / "set", size=(600, 600))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20
