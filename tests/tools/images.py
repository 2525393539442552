"""Pictures for tests: plain ones, odd ones, and folders of them."""

import io

import numpy as np
from PIL import Image

from trainer.data.preparing.settings import Settings


def settings(**changed):
    """Returns `Settings` for small pictures."""
    chosen = {
        "size": (8, 8),
        "channels": 0,
        "fit": "crop",
        "background": (255, 255, 255),
        "test_share": 0.25,
        "validation_share": 0.0,
        "on_bad": "refuse",
        "pixel_limit": 1_000_000,
    }
    return Settings(**{**chosen, **changed})


def encoded(image, kind="PNG", **options):
    """Returns the bytes of a file of a Pillow image."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def noise(seed, height=8, width=8, channels=3):
    """Returns uint8 noise of shape (height, width, channels)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels), np.uint8)


def png(seed, **shape):
    """Returns the bytes of a PNG of noise."""
    pixels = noise(seed, **shape)
    return encoded(
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    )


def write_classes(folder, count=10, names=("cat", "dog"), **shape):
    """Writes a folder of `count` PNGs of each class; returns it."""
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            content = png(1000 * label + number, **shape)
            (folder / name / f"{number}.png").write_bytes(content)
    return folder
