import io

import numpy as np
import pytest
from PIL import Image

from trainer.pictures import animation


def frames_of(content):
    """The frames of a GIF, as RGB arrays."""
    with Image.open(io.BytesIO(content)) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
        return frames


def test_an_arc_keeps_its_angle_and_passes_between_the_lengths():
    start, end = np.array([[3.0, 0.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(animation.on_arc(start, end, 0), start)
    np.testing.assert_allclose(animation.on_arc(start, end, 1), end, atol=1e-6)
    third = animation.on_arc(start, end, 1 / 3)[0]
    weights = np.sin(np.pi / 3), np.sin(np.pi / 6)
    np.testing.assert_allclose(third, [3 * weights[0], weights[1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "end"),
    [([2.0, 0], [4.0, 0]), ([1.0, 1], [-1.0, -1]), ([0.0, 0], [1.0, 2])],
)
def test_vectors_on_one_line_are_joined_by_it(start, end):
    found = animation.on_arc(np.array([start]), np.array([end]), 0.25)
    expected = 0.75 * np.array(start) + 0.25 * np.array(end)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_seeds_go_on_from_the_last_one_there_is():
    assert animation.seeds(7, 3) == [7, 8, 9]
    assert animation.seeds(2**63 - 1, 2) == [2**63 - 1, 0]


def test_a_gif_has_the_very_greys_and_begins_anew():
    shape = 20, 30, 1
    frames = [
        np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        for seed in range(3)
    ]
    content = animation.encode(frames, "samples")
    assert content == animation.encode(iter(frames), "samples")
    for found, frame in zip(frames_of(content), frames, strict=True):
        np.testing.assert_array_equal(found, frame.repeat(3, axis=2))
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["loop"] == 0
        first = image.info["duration"]
        image.seek(2)
        assert image.info["duration"] > first


def test_a_gif_in_colour_has_colours_close_to_those_of_the_images():
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    frame = np.stack(np.broadcast_arrays(ramp, ramp[:, None], 90), axis=-1)
    (found,) = frames_of(animation.encode([frame.astype(np.uint8)], "walk"))
    assert np.abs(found.astype(int) - frame).mean() < 12
