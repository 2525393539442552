"""Images that are trained on as they lie there: prepared once, in a cache."""

import pathlib
import tempfile

from trainer import places
from trainer.data import shared_folder
from trainer.data.preparing import run, sources
from trainer.data.preparing.settings import Settings

# Of files of images; arrays keep the size that they have.
_SIDE = 64


def prepare(source, console, stop):
    """Prepares a source of images; returns the folder of the dataset.

    The next start finds it there, unless the names or sizes of the images have
    changed.

    Args:
        source: `pathlib.Path` of a folder, an archive or a file of images.
        console: a `Console`.
        stop: a `StopSignal`.

    Raises:
        DataUnavailableError: there is nothing of that name.
        DataError: it is damaged, has images that cannot be used, or none.
        InterruptedJobError: the stop signal came; what is done is kept.
    """
    with tempfile.TemporaryDirectory() as unpacked:
        listed = sources.list_source(source, pathlib.Path(unpacked), stop)
    settings = Settings(
        size=_size_of(listed.reader.pixels),
        channels=0,
        fit="crop",
        background=(255, 255, 255),
        test_share=0.1,
        validation_share=0.0,
        on_bad="refuse",
        pixel_limit=100_000_000,
    )
    height, width = settings.size
    name = places.parse(source.absolute(), "--data_dir").cache_name
    folder = places.cache_folder() / "prepared" / f"{name}-{listed.digest[:16]}"
    with shared_folder.hold(folder.parent, console, stop):
        console.line(
            f"{source} holds {len(listed):,} images ({listed.kind}), of which "
            f"a dataset of {height}x{width} pixels is made once, in {folder}; "
            "vae-data prepare gives the choice."
        )
        run.prepare(source, folder, settings, 0, console, stop)
    return folder


def _size_of(pixels):
    """Returns (height, width) of images in arrays; of files, a default."""
    if pixels is None:
        return _SIDE, _SIDE
    sides = pixels.shape[1:] if pixels.channels_first else pixels.shape[:2]
    return tuple(sides)
