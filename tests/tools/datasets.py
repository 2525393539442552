"""Datasets on disk for tests, made as `vae-data prepare` makes them."""

from tests.tools.images import settings
from trainer.data.preparing import assembly, run
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal


def prepare(source, target, *, processes=1, stop=None, shard=None, **changed):
    """Prepares a dataset; returns its folder.

    Args:
        source: `pathlib.Path`.
        target: `pathlib.Path`.
        processes: int.
        stop: a `StopSignal`; None: one that nobody sends.
        shard: int, bytes of a shard; None: as everybody has it.
        **changed: of `tests.tools.images.settings`.
    """
    before = assembly.SHARD_BYTES
    assembly.SHARD_BYTES = shard or before
    try:
        run.prepare(
            source,
            target,
            settings(**changed),
            processes,
            Console(),
            stop or StopSignal(),
        )
    finally:
        assembly.SHARD_BYTES = before
    return target


def content_of(folder):
    """Returns the bytes of each file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
