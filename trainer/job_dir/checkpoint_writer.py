"""Saves checkpoints on a thread of its own, and rotates them."""

import contextlib
import os
import queue
import shutil
import threading
import time

import numpy as np

from trainer import files
from trainer.errors import NonFiniteError
from trainer.job_dir import checkpoint as checkpoint_lib


class CheckpointWriter:
    """Saves checkpoints on a thread of its own, one at a time.

    Args:
        job: a claimed `JobDir`.
        keep: how many of the newest checkpoints to keep, beside the best.
    """

    def __init__(self, job, keep):
        self._job = job
        self._keep = keep
        self._verified = set()
        self._requests = queue.Queue(maxsize=1)
        self._idle = threading.Event()
        self._error = None
        self.blocked_seconds = 0.0
        self._thread = threading.Thread(
            target=self._work, name="checkpoint-writer", daemon=True
        )
        self._thread.start()

    def save(self, checkpoint, before):
        """Hands over a checkpoint; waits only if the one before is not done.

        Args:
            checkpoint: a `Checkpoint` whose arrays nobody else changes.
            before: called on the thread before the checkpoint becomes
                visible; flushes the rows and events that belong to it.

        Raises:
            OSError: an earlier checkpoint could not be written.
            NonFiniteError: an earlier one held NaN or infinity.
        """
        started = time.monotonic()
        self.wait()
        self._idle.clear()
        self._requests.put((checkpoint, before))
        self.blocked_seconds += time.monotonic() - started

    def wait(self):
        """Waits until everything handed over is on the disk.

        Raises:
            OSError, NonFiniteError: as `save`.
        """
        self._idle.wait()
        if self._error is not None:
            raise self._error

    def check(self):
        """Raises the error of an earlier checkpoint, without waiting."""
        if self._error is not None:
            raise self._error

    def close(self):
        """Waits for the thread to end. Errors were raised by `wait`."""
        self._idle.wait()
        self._requests.put(None)
        self._thread.join()

    def _work(self):
        # A job may have been killed between a save and its rotation.
        self._try(self._rotate)
        while (request := self._requests.get()) is not None:
            self._try(self._save, *request)

    def _try(self, function, *args):
        try:
            function(*args)
        except Exception as error:
            self._error = error
        finally:
            self._idle.set()

    def _save(self, checkpoint, before):
        _refuse_non_finite(checkpoint)
        before()
        self._publish(checkpoint)
        self._rotate()

    def _publish(self, checkpoint):
        final = self._job.checkpoint(checkpoint.step)
        if final.exists():
            # A signal had this step saved with work still due. The weights
            # are the same, so only the manifest changes, in one act.
            state = checkpoint_lib.read_manifest(final)["files"][
                checkpoint_lib.STATE
            ]
            checkpoint_lib.write_manifest(final, checkpoint, state)
        else:
            publish(self._job, checkpoint)
        self._verified.add(checkpoint.step)

    def _rotate(self):
        steps = checkpoint_lib.list_steps(self._job)
        whole = [step for step in steps if self._is_whole(step)]
        keep = set(whole[-self._keep :])
        losses = checkpoint_lib.test_losses(self._job, whole)
        if losses:
            keep.add(min(losses, key=losses.get))
        for step in set(whole) - keep:
            folder = self._job.checkpoint(step)
            # Renamed first, so that a kill leaves no half-deleted checkpoint.
            # Somebody may have deleted it by now.
            aside = self._job.unfinished / folder.name
            aside.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, aside)
            shutil.rmtree(self._job.unfinished, ignore_errors=True)
            self._verified.discard(step)

    def _is_whole(self, step):
        if step not in self._verified:
            try:
                checkpoint_lib.read(self._job.checkpoint(step))
            except checkpoint_lib.DamagedCheckpointError:
                return False
            self._verified.add(step)
        return True


def publish(job, checkpoint, before=lambda: None):
    """Writes a checkpoint aside, reads it back, and makes it visible.

    Args:
        job: a claimed `JobDir`, which has none of that step.
        checkpoint: a `Checkpoint`.
        before: called when all is written, just before it becomes visible.

    Raises:
        OSError: it could not be written.
    """
    final = job.checkpoint(checkpoint.step)
    aside = job.unfinished / final.name
    try:
        checkpoint_lib.write(aside, checkpoint)
        checkpoint_lib.read(aside)
        before()
        final.parent.mkdir(exist_ok=True)
        os.rename(aside, final)
        files.sync(final.parent)
    finally:
        shutil.rmtree(job.unfinished, ignore_errors=True)


def _refuse_non_finite(checkpoint):
    for name, array in checkpoint.variables.items():
        if not np.all(np.isfinite(array)):
            raise NonFiniteError(
                f"{name} holds NaN or infinity after step {checkpoint.step}; "
                "that state was not saved, and the checkpoints before it are "
                "kept. Try a lower --learning_rate, in another --job_dir: a "
                "job keeps its own."
            )
