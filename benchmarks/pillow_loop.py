"""What a user would write in place of `vae-data prepare`: Pillow in a pool."""

import functools
import json
import multiprocessing
import pathlib
import sys

import numpy as np
from PIL import Image, ImageOps

_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_CHUNK = 64


def files_of(folder):
    """Returns the sorted paths of the files of pictures below a folder."""
    return sorted(
        path
        for path in pathlib.Path(folder).rglob("*")
        if path.suffix.lower() in _ENDINGS
    )


def decode(path, side):
    """Returns a picture as uint8 of shape (side, side, 3)."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        if image.size != (side, side):
            image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
        return np.asarray(image)


def main():
    """Writes an array of the pictures of the settings.

    They are `folder`, `target`, `side` and `processes`.
    """
    settings = json.loads(sys.argv[1])
    side, paths = settings["side"], files_of(settings["folder"])
    images = np.empty((len(paths), side, side, 3), np.uint8)
    with multiprocessing.Pool(settings["processes"]) as pool:
        decoded = pool.imap(
            functools.partial(decode, side=side), paths, chunksize=_CHUNK
        )
        for number, image in enumerate(decoded):
            images[number] = image
    np.save(settings["target"], images)


if __name__ == "__main__":
    main()
