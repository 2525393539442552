"""Checkpoints: what one is, how it is verified, which one is used.

A checkpoint is a folder `step-0000468` of two files: `state.npz`, every
weight and optimizer variable by name, and `manifest.json`, which has the size
and SHA-256 of the first and of itself. It is written aside, flushed to the
disk, and becomes visible by one rename: `checkpoint_writer.py`.
"""

import dataclasses
import hashlib
import io
import itertools
import json
import os
import re

import numpy as np

from trainer import files, stored
from trainer.errors import JobDirError
from trainer.job_dir import arrays as arrays_lib
from trainer.job_dir.layout import checkpoint_name

_FOLDER = re.compile(r"step-([0-9]{7,})")
STATE, _MANIFEST = "state.npz", "manifest.json"
_FORMAT = 1
_MANIFEST_BYTES = 2**20
# The work of a step that a signal may leave to the next session.
CAN_WAIT = ("evaluation", "images")


class DamagedCheckpointError(Exception):
    """A checkpoint is not what was written; the message says what is wrong."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a job after a step.

    Attributes:
        step: number of updates applied.
        due: names of the work of this step that was not done yet.
        test_loss: total loss of the held-out images, if this step was
            evaluated: the test set's, or the validation set's if there is one.
        variables: NumPy arrays by name; None of a job that has saved none.
        rows: how many rows of metrics belong to it, by split: those that
            `rows_until` gives. None if an earlier version saved it.
        sha256: str, of the state file that it was read from; None where it
            was not read.
    """

    step: int
    due: tuple[str, ...]
    test_loss: float | None
    variables: dict[str, np.ndarray] | None
    rows: dict[str, int] | None = None
    sha256: str | None = None


def snapshot(variables):
    """Returns a copy of variables in host memory, as NumPy arrays by name."""
    return {
        name: np.array(variable.value.numpy())
        for name, variable in variables.items()
    }


def assign(variables, arrays, source):
    """Sets variables from arrays of the same names.

    Raises:
        JobDirError: a variable is missing, or has another shape or dtype.
    """
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is None:
            raise JobDirError(
                f"{source} holds no variable {name}, which this model has; "
                "restore its checkpoint, or give another --job_dir."
            )
        if (
            array.shape != tuple(variable.shape)
            or array.dtype != variable.dtype
        ):
            raise JobDirError(
                f"{source}: {name} is {array.dtype}{list(array.shape)}; this "
                f"model expects {variable.dtype}{list(variable.shape)}. "
                "Restore its checkpoint, or give another --job_dir."
            )
        variable.assign(array)


def list_steps(job):
    """Returns the steps of which a checkpoint is visible, in order.

    Raises:
        OSError: the folder could not be looked at. That is never the same as
            an empty one.
        JobDirError: something else has its name.
    """
    try:
        names = os.listdir(job.checkpoints)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not stored.is_there(job.checkpoints):
            return []
        raise JobDirError(
            f"{job.location}/checkpoints is no folder; restore it, or give "
            "another --job_dir."
        ) from error
    matches = filter(None, map(_FOLDER.fullmatch, names))
    # One with more zeros is not of this job: two would have the same step.
    return sorted(
        int(match[1])
        for match in matches
        if match[0] == checkpoint_name(int(match[1]))
    )


def write(folder, checkpoint):
    """Writes a checkpoint into a new folder, flushed to the disk."""
    folder.mkdir(parents=True)
    state = io.BytesIO()
    np.savez(state, **checkpoint.variables)
    content = state.getbuffer()
    files.write_atomically(folder / STATE, content)
    write_manifest(
        folder,
        checkpoint,
        {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
    )


def write_manifest(folder, checkpoint, state):
    """Writes a checkpoint's manifest in one act.

    Args:
        folder: that of the checkpoint.
        checkpoint: a `Checkpoint`.
        state: size and SHA-256 of its state file, as in the manifest.
    """
    manifest = {
        "format": _FORMAT,
        "step": checkpoint.step,
        "due": list(checkpoint.due),
        "test_loss": checkpoint.test_loss,
        "rows": checkpoint.rows,
        "files": {STATE: state},
    }
    manifest["sha256"] = _manifest_digest(manifest)
    files.write_atomically(
        folder / _MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode()
    )


def read_manifest(folder):
    """Returns the verified manifest of a checkpoint's folder.

    Raises:
        DamagedCheckpointError: it is missing or not what was written.
    """
    try:
        manifest = stored.read_json(folder / _MANIFEST, _MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedCheckpointError(f"{_MANIFEST} is missing") from error
    except stored.UnreadableError as error:
        raise DamagedCheckpointError(f"{_MANIFEST} {error}") from error
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise DamagedCheckpointError(f"{_MANIFEST} is not whole")
    if manifest["sha256"] != _manifest_digest(manifest):
        raise DamagedCheckpointError(f"{_MANIFEST} has the wrong checksum")
    if not _is_manifest(manifest):
        raise DamagedCheckpointError(f"{_MANIFEST} is not that of a checkpoint")
    if folder.name != checkpoint_name(manifest["step"]):
        raise DamagedCheckpointError(
            f"{_MANIFEST} is that of step {manifest['step']}"
        )
    return manifest


def _is_manifest(manifest):
    """Whether a manifest says what `write_manifest` writes.

    The checksum does not tell: anyone can compute it.
    """
    due, rows = manifest.get("due"), manifest.get("rows", {})
    files_by_name = manifest.get("files")
    state = isinstance(files_by_name, dict) and files_by_name.get(STATE)
    return (
        stored.is_count(manifest.get("format"))
        and manifest["format"] == _FORMAT
        and stored.is_count(manifest.get("step"))
        and isinstance(due, list)
        and all(name in CAN_WAIT for name in due)
        and "test_loss" in manifest
        and (
            manifest["test_loss"] is None
            or stored.is_number(manifest["test_loss"])
        )
        # Manifests of an earlier version do not say it.
        and (rows is None or isinstance(rows, dict))
        and all(map(stored.is_count, (rows or {}).values()))
        and isinstance(state, dict)
        and stored.is_count(state.get("bytes"))
        and isinstance(state.get("sha256"), str)
    )


def read(folder):
    """Returns the verified `Checkpoint` of a folder.

    Raises:
        DamagedCheckpointError: a file is missing or not what was written.
    """
    manifest = read_manifest(folder)
    expected = manifest["files"][STATE]
    try:
        with stored.open_file(folder / STATE) as file:
            size = os.fstat(file.fileno()).st_size
            if size != expected["bytes"]:
                raise DamagedCheckpointError(
                    f"{STATE} has {size} bytes, expected {expected['bytes']}"
                )
            content = file.read()
    except FileNotFoundError as error:
        raise DamagedCheckpointError(f"{STATE} is missing") from error
    except stored.UnreadableError as error:
        raise DamagedCheckpointError(f"{STATE} {error}") from error
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise DamagedCheckpointError(f"{STATE} has the wrong checksum")
    try:
        variables = arrays_lib.parse(content)
    except arrays_lib.NoArraysError as error:
        raise DamagedCheckpointError(f"{STATE} holds {error}") from error
    return Checkpoint(
        step=manifest["step"],
        due=tuple(manifest["due"]),
        test_loss=manifest["test_loss"],
        variables=variables,
        rows=manifest.get("rows"),
        sha256=expected["sha256"],
    )


def find_newest(job):
    """Returns the newest whole `Checkpoint` of a claimed job, or None.

    Nothing is changed: whoever goes on from it calls `set_aside`.

    Returns:
        (checkpoint, damaged): a dict of `DamagedCheckpointError` by step, of
        those that are newer.

    Raises:
        JobDirError: there are checkpoints, and all are damaged. The job does
            not start over.
    """
    damaged = {}
    for step in reversed(list_steps(job)):
        try:
            return read(job.checkpoint(step)), damaged
        except DamagedCheckpointError as error:
            damaged[step] = error
    if damaged:
        reasons = "; ".join(
            f"step {step}: {error}" for step, error in damaged.items()
        )
        raise JobDirError(
            f"Every checkpoint in {job.location}/checkpoints is damaged "
            f"({reasons}); nothing was changed. Restore one from a backup, or "
            "start anew in another --job_dir."
        )
    return None, damaged


def set_aside(job, damaged, used, console):
    """Moves damaged checkpoints away, so that their steps are saved again.

    Args:
        job: a claimed `JobDir`, which gets them in its `damaged` folder.
        damaged: as from `find_newest`; each is named in a warning.
        used: the `Checkpoint` that the job goes on from.
        console: a `Console`.
    """
    for step, error in damaged.items():
        folder = job.checkpoint(step)
        job.damaged.mkdir(exist_ok=True)
        # The same step may have been damaged before.
        names = (f"{folder.name}.{n}" for n in itertools.count(1))
        kept = next(
            path
            for path in map(
                job.damaged.joinpath, itertools.chain([folder.name], names)
            )
            if not stored.is_there(path)
        )
        os.rename(folder, kept)
        console.warning(
            f"The checkpoint of step {step} is damaged ({error}); moved to "
            f"{kept}, going back to step {used.step}."
        )


def select(job, wanted, option="--checkpoint="):
    """Returns one verified `Checkpoint` of a job, changing nothing.

    Args:
        job: a `JobDir`.
        wanted: `"last"`, `"best"` (least test loss), or a step number.
        option: str, what the user writes before that.

    Raises:
        JobDirError: there is no such checkpoint, or it is damaged.
    """
    steps = list_steps(job)
    if not steps:
        raise JobDirError(
            f"{job.location} holds no checkpoint; give the --job_dir of a "
            "training run that has saved one."
        )
    try:
        if wanted == "last":
            step = steps[-1]
        elif wanted == "best":
            losses = test_losses(job, steps)
            if not losses:
                raise JobDirError(
                    f"No checkpoint in {job.location}/checkpoints was "
                    f"evaluated; use {option}last."
                )
            step = min(losses, key=losses.get)
        else:
            step = int(wanted)
    except ValueError as error:
        raise JobDirError(
            f"{option}{wanted} is not last, best or a step number."
        ) from error
    if step not in steps:
        raise JobDirError(
            f"{job.location} holds no checkpoint of step {step}; it has those "
            f"of steps {', '.join(map(str, steps))}."
        )
    folder = job.checkpoint(step)
    try:
        return read(folder)
    except DamagedCheckpointError as error:
        raise JobDirError(
            f"{folder} is damaged ({error}); choose another with {option}STEP "
            f"(there are steps {', '.join(map(str, steps))})."
        ) from error


def test_losses(job, steps):
    """Returns the test loss of each checkpoint that was evaluated, by step.

    A damaged manifest is left out: its own reader will name it, and it
    cannot be the best.
    """
    losses = {}
    for step in steps:
        try:
            manifest = read_manifest(job.checkpoint(step))
        except DamagedCheckpointError:
            continue
        if manifest["test_loss"] is not None:
            losses[step] = manifest["test_loss"]
    return losses


def _manifest_digest(manifest):
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
