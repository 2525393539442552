"""Animations: what training changes, and a walk through latent space."""

import io

import numpy as np
from PIL import Image

from trainer.model import inference
from trainer.pictures import grids, sheet as sheet_lib

KINDS = ("samples", "walk")
_FRAMES_A_STOP = 12
_SAMPLES_MS, _LAST_SAMPLES_MS, _WALK_MS = 700, 2500, 80
# Of a frame: smaller than a picture, since there are many of them.
_LEAST_WIDTH = 320
# Vectors whose angle has a smaller sine are of one line.
_LEAST_SINE = 1e-4
# Beyond it seeds begin anew.
_SEEDS = 2**63


def samples(draws, checkpoints, stop, advance):
    """Yields a frame for each checkpoint, each of the same latent vectors.

    Args:
        draws: the `grids.Draws`.
        checkpoints: iterable of `Trained` of the same job.
        stop: a `StopSignal`, checked before each frame.
        advance: called with 1 after each frame.

    Yields:
        uint8 array of shape (height, width, channels).
    """
    for each in checkpoints:
        stop.check()
        caption = "The same draws from the prior, decoded by each checkpoint."
        if draws.is_plane:
            caption = (
                "The plane of the two latent units from -2 to 2, decoded by "
                "each checkpoint."
            )
        yield _frame(each, draws, draws.z, f"Step {each.step:,}", caption)
        advance(1)


def walk(trained, stops, stop, advance):
    """Yields the frames of a closed walk, from stop to stop and back.

    Between two stops each image goes along the arc between its two latent
    vectors (White 2016, "Sampling generative networks", section 2).

    Args:
        trained: a `trainer.model.trained.Trained`.
        stops: `grids.Draws` in their order, at least two.
        stop: as of `samples`.
        advance: as of `samples`.

    Yields:
        As `samples`, 12 frames a stop.
    """
    stops = list(stops)
    caption = (
        f"Each image walks through {len(stops)} draws from the prior and "
        f"back, at step {trained.step:,}."
    )
    for start, end in zip(stops, [*stops[1:], stops[0]], strict=True):
        for share in np.arange(_FRAMES_A_STOP) / _FRAMES_A_STOP:
            stop.check()
            z = on_arc(start.z, end.z, share)
            yield _frame(trained, start, z, "Walk", caption)
            advance(1)


def frame_count(stops):
    """Returns how many frames a walk through so many stops has."""
    return stops * _FRAMES_A_STOP


def seeds(first, count):
    """Returns the seeds of the stops of a walk."""
    return [(first + number) % _SEEDS for number in range(count)]


def on_arc(start, end, share):
    """Returns vectors on the arcs between others (Shoemake 1985).

    Vectors on one line are joined by that line.

    Args:
        start: array of shape (N, latent_dim).
        end: array of the same shape.
        share: float, from 0 at the start to 1 at the end.

    Returns:
        float32 array of shape (N, latent_dim).
    """
    start, end = np.asarray(start, float), np.asarray(end, float)
    lengths = np.linalg.norm(start, axis=1) * np.linalg.norm(end, axis=1)
    dots = (start * end).sum(axis=1)
    cosines = np.divide(
        dots, lengths, out=np.ones_like(dots), where=lengths > 0
    )
    angles = np.arccos(np.clip(cosines, -1, 1))
    sines = np.sin(angles)
    is_line = sines < _LEAST_SINE
    sines = np.where(is_line, 1, sines)
    of_start = np.where(
        is_line, 1 - share, np.sin((1 - share) * angles) / sines
    )
    of_end = np.where(is_line, share, np.sin(share * angles) / sines)
    mixed = of_start[:, np.newaxis] * start + of_end[:, np.newaxis] * end
    return mixed.astype(np.float32)


def encode(frames, kind):
    """Returns the bytes of a GIF that begins anew when it ends.

    A GIF has 256 colours a frame: grey levels are exact, colours are the
    nearest of those that the frame needs most.

    Args:
        frames: iterable of uint8 arrays of one shape (height, width, channels).
        kind: str, one of `KINDS`.
    """
    images = [_image(frame) for frame in frames]
    times = [_WALK_MS if kind == "walk" else _SAMPLES_MS] * len(images)
    if kind == "samples":
        times[-1] = _LAST_SAMPLES_MS
    content = io.BytesIO()
    first, *others = images
    first.save(
        content,
        "gif",
        save_all=True,
        append_images=others,
        duration=times,
        loop=0,
    )
    return content.getvalue()


def _frame(trained, draws, z, title, caption):
    drawn = inference.decode(trained.vae, z, draws.labels)
    return sheet_lib.draw(
        sheet_lib.Sheet(
            grids.tile(drawn, draws.columns),
            trained.vae.image_shape,
            title,
            caption,
            draws.row_names(trained.class_names),
            is_plane=draws.is_plane,
        ),
        _LEAST_WIDTH,
    ).pixels


def _image(pixels):
    if pixels.shape[-1] == 1:
        return Image.fromarray(pixels[..., 0])
    return Image.fromarray(pixels).quantize(dither=Image.Dither.NONE)
