"""Images that are trained on as they lie there: prepared once, in a cache."""

import pathlib
import tempfile

from trainer import places
from trainer.data import manifest, prepared, records, shared_folder
from trainer.data.preparing import run, sources
from trainer.data.preparing.settings import Settings

# Of files of images; arrays keep the size that they have.
_SIDE = 64


def read(source, console, stop, folder=None):
    """Returns the `Dataset` of a source of images, which is prepared once.

    The next start finds it there, unless the names or sizes of the images have
    changed.

    Args:
        source: `pathlib.Path` of a folder, an archive or a file of images.
        console: a `Console`.
        stop: a `StopSignal`.
        folder: `pathlib.Path` of a dataset that may come from any source of
            the same images; None for one of this source.

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
    is_same = folder is not None
    folder = folder or _folder_of(source, listed)
    with shared_folder.hold(folder.parent, console, stop):
        if not (is_same and (folder / manifest.NAME).exists()):
            height, width = settings.size
            console.line(
                f"{source} holds {len(listed):,} images ({listed.kind}), of "
                f"which a dataset of {height}x{width} pixels is made once, in "
                f"{folder}; vae-data prepare gives the choice."
            )
            run.prepare(source, folder, settings, 0, console, stop)
        # Before another process may remove it.
        stored = records.open_dataset(folder)
    return prepared.of_stored(stored)


def _folder_of(source, listed):
    name = places.parse(source.absolute(), "--data_dir").cache_name
    return places.cache_folder() / "prepared" / f"{name}-{listed.digest[:16]}"


def _size_of(pixels):
    """Returns (height, width) of images in arrays; of files, a default."""
    if pixels is None:
        return _SIDE, _SIDE
    sides = pixels.shape[1:] if pixels.channels_first else pixels.shape[:2]
    return tuple(sides)
