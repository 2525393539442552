"""The benchmark of images on disk: what it measures on, and that it runs."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import (
    contenders,
    data,
    drawn,
    pillow_loop,
    preparing,
    setup as setup_lib,
)
from benchmarks.batches import BlankSplit
from benchmarks.contenders import ContenderError
from tests.tools.images import settings
from trainer.data import images, manifest, records, stored_files, verification
from trainer.data.preparing import decoding
from trainer.runtime.stop_signal import StopSignal

SHAPE = (64, 64, 3)
# Two shards, the second one short.
TRAIN_BYTES = 70 << 20


@pytest.mark.parametrize("sparse", [True, False])
def test_a_dataset_that_is_written_to_measure_on_is_whole(
    sparse, tmp_path, console
):
    folder = tmp_path / "set"
    drawn.write_dataset(folder, SHAPE, TRAIN_BYTES, sparse=sparse)
    files = stored_files.find(str(folder), StopSignal())
    promised = manifest.decode((folder / manifest.NAME).read_bytes(), folder)
    assert promised.splits["train"].shards == 2
    assert not verification.verify(files, promised, console, StopSignal())
    with records.open_dataset(folder) as dataset:
        train = dataset.splits["train"]
        found = train.read([train.count - 1, 0])
    assert found.any() != sparse
    if sparse:
        shards = (folder / "train").glob("images-*")
        assert sum(path.stat().st_blocks * 512 for path in shards) < 1 << 20


def test_drawn_pictures_are_decoded_to_the_same_pixels_by_both(tmp_path):
    folder = tmp_path / "pictures"
    drawn.draw_pictures(folder, 20, 32)
    Image.new("L", (40, 50), 7).save(folder / "0" / "large and grey.png")
    paths = pillow_loop.files_of(folder)
    assert len(paths) == 21
    wanted = settings(size=(32, 32), channels=3)
    with decoding.own_limits():
        for path in paths:
            np.testing.assert_array_equal(
                pillow_loop.decode(path, 32),
                decoding.decode(path.read_bytes(), wanted),
            )


def test_the_stand_in_for_a_billion_images_has_no_pixels_until_they_are_read():
    stored = images.StoredImages(BlankSplit(10**9, SHAPE))
    assert stored.shape == (10**9, *SHAPE)
    assert stored.read(np.array([5, 10**9 - 1])).shape == (2, *SHAPE)


def test_measurements_alternate():
    order = []
    found = contenders.alternating(3, ["a", "b"], order.append)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [None] * 3, "b": [None] * 3}


def test_a_folder_without_pictures_is_refused(tmp_path, console):
    setup = setup_lib.Setup(console=console, folder=tmp_path, threads=1)
    with pytest.raises(ContenderError, match="holds no files of pictures"):
        preparing.prepare_over_pillow(setup, tmp_path, 32, tmp_path / "set")


@pytest.mark.slow
def test_it_measures_images_on_disk(tmp_path, console):
    setup = setup_lib.Setup(
        console=console,
        folder=tmp_path,
        threads=1,
        pairs=1,
        steps=2,
        warm_up_steps=1,
    )
    sizes = data.Sizes(
        drawn_pictures=300,
        read_bytes=4 << 20,
        small_bytes=2_000_000,
        large_bytes=200_000_000,
        memory_steps=1,
    )
    figures = data.measure(setup, sizes)
    assert [figure.name for figure in figures] == [
        "prepare over a loop of Pillow",
        "training from the disk over in memory",
        "reading over the step",
        "memory, much data over little",
        "first batch, late over early",
    ]
    assert all(figure.estimate.low > 0 for figure in figures)
    memory = figures[3]
    assert memory.estimate.high < memory.goal.passes
