"""Downloads objects of a bucket into a folder, each checked."""

import concurrent.futures

from trainer import files
from trainer.errors import JobDirError
from trainer.job_dir.bucket.object_store import ObjectChangedError

_PARALLEL_DOWNLOADS = 8
_CHECKPOINTS = "checkpoints/"


def download(store, objects, folder, console):
    """Downloads objects in parallel, each checked against its CRC32C.

    A checkpoint's file that is damaged is left out: whoever reads that
    checkpoint will find it damaged, and use the one before.

    Args:
        store: an `ObjectStore`.
        objects: dict of `ObjectInfo` by name.
        folder: `pathlib.Path` to put them in.
        console: shows the progress.

    Raises:
        ObjectChangedError: another object is damaged, or changed meanwhile.
    """

    def fetch(name, info):
        try:
            content = store.read(name, info.generation)
        except ObjectChangedError:
            if name.startswith(_CHECKPOINTS):
                return info.size
            raise
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise JobDirError(
                f"{store.url}/{name} would land outside of {folder}; remove "
                "that object."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, content)
        return info.size

    total = sum(info.size for info in objects.values())
    with (
        console.byte_bar(f"Downloading {store.url}", total) as advance,
        concurrent.futures.ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool,
    ):
        for done in concurrent.futures.as_completed(
            [pool.submit(fetch, *item) for item in objects.items()]
        ):
            advance(done.result())
