"""A prepared dataset on its way into a bucket, `dataset.json` last."""

import concurrent.futures
import re
import shutil

from trainer import places
from trainer.data import manifest
from trainer.data.names import shown
from trainer.data.preparing import run
from trainer.data.stored_files import BucketFiles
from trainer.errors import ConfigError

_PARALLEL_UPLOADS = 4
_OURS = re.compile(
    rf"({'|'.join(manifest.SPLITS)})/"
    r"(images-\d{5}-of-\d{5}|labels|crc32c)\.npy"
)


def prepare(source, store, settings, processes, console, stop):
    """As `run.prepare`, into a bucket.

    The dataset is made in a folder of this machine's cache, uploaded, and
    removed there.

    Args:
        source: `pathlib.Path`.
        store: an `ObjectStore`.
        settings: a `Settings`.
        processes: int, as for `run.prepare`.
        console: a `Console`.
        stop: a `StopSignal`.

    Returns:
        A `Prepared`.

    Raises:
        ConfigError: something else lies there.
        ObjectChangedError: somebody else writes there.
    """
    bucket = BucketFiles(store)
    for name in bucket.objects:
        if name != manifest.NAME and not _OURS.fullmatch(name):
            raise ConfigError(
                f"--to={store.url} holds {shown(name)}, which is no part of a "
                "dataset; give an empty folder."
            )
    published = None
    if manifest.NAME in bucket.objects:
        place = f"{store.url}/{manifest.NAME}"
        published = bucket.manifest_bytes(), place
    cache_name = places.parse(store.url).cache_name
    target = places.cache_folder() / "prepare" / cache_name
    prepared = run.prepare(
        source, target, settings, processes, console, stop, published
    )
    if published is None:
        _upload(target, bucket, prepared.content, console)
    # It may also be left of an upload that was killed at its end.
    shutil.rmtree(target, ignore_errors=True)
    return prepared


def _upload(folder, bucket, content, console):
    """Uploads the files of a dataset; those that are there are compared."""
    from trainer.job_dir.bucket.object_store import crc32c

    promised = manifest.decode(content, folder / manifest.NAME)
    store = bucket.store

    def send(name):
        data = (folder / name).read_bytes()
        info = bucket.objects.get(name)
        if info is None:
            store.write(name, data)
        elif (info.size, info.crc32c) != (len(data), crc32c(data)):
            raise ConfigError(
                f"--to={store.url} holds {name} of another dataset; give an "
                "empty folder."
            )
        return len(data)

    with (
        console.byte_bar(f"Uploading to {store.url}", promised.total_bytes) as (
            advance
        ),
        concurrent.futures.ThreadPoolExecutor(_PARALLEL_UPLOADS) as pool,
    ):
        sent = [pool.submit(send, name) for name in promised.files]
        try:
            for done in concurrent.futures.as_completed(sent):
                advance(done.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    store.write(manifest.NAME, content)
