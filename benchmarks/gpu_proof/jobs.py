"""Jobs of the proof: processes that end by themselves, or are killed."""

import concurrent.futures
import dataclasses
import json
import subprocess
import sys
import tempfile
import time

from benchmarks.contenders import ROOT
from benchmarks.gpu_proof.proof import OutOfTimeError

# Until the first row, and from then on: steps of a GPU are soon done.
_START_SECONDS, _POLL_SECONDS = 0.05, 0.005
_SHOWN_LINES = 12


class JobFailedError(Exception):
    """A job ended otherwise than it should have."""


@dataclasses.dataclass(frozen=True)
class Life:
    """What became of a process of a job.

    Attributes:
        killed_at: int, rows when it was killed; None for one that ended well.
        first_row_seconds: float, from the command to a row that was not there
            before; None if none came.
    """

    killed_at: int | None
    first_row_seconds: float | None


def live(job_dir, flags, environ, deadline, kill_at=None):
    """Starts a job and waits for its end, or kills it with SIGKILL.

    Args:
        job_dir: `pathlib.Path`.
        flags: of the trainer, strings.
        environ: dict, its environment.
        deadline: float, of `time.monotonic`, after which it is killed.
        kill_at: int, after how many rows it is killed; None to let it end.

    Returns:
        A `Life`.

    Raises:
        OutOfTimeError: the deadline came first.
        JobFailedError: it ended with another exit code than 0.
    """
    rows = job_dir / "metrics.jsonl"
    before = _count(rows)
    started, first = time.monotonic(), None
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "trainer.task"),
                *(f"--job_dir={job_dir}", *flags),
            ],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                count = _count(rows)
                if first is None and count > before:
                    first = time.monotonic() - started
                if kill_at is not None and count >= kill_at:
                    process.kill()
                    process.wait()
                    return Life(count, first)
                if time.monotonic() >= deadline:
                    raise OutOfTimeError
                time.sleep(_START_SECONDS if first is None else _POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace").strip()
            last = "\n".join(text.splitlines()[-_SHOWN_LINES:])
            raise JobFailedError(
                f"The job {job_dir.name} ended with exit code "
                f"{process.returncode}.\n{last}"
            )
    return Life(None, first)


def together(calls):
    """Calls functions side by side; returns what came of each.

    Args:
        calls: dict of functions without arguments by name.

    Returns:
        Dict by name of what it returned, or of the exception that it raised.
    """
    with concurrent.futures.ThreadPoolExecutor(max(len(calls), 1)) as pool:
        futures = {name: pool.submit(call) for name, call in calls.items()}
        return {
            name: future.exception() or future.result()
            for name, future in futures.items()
        }


def losses_of(job_dir):
    """Returns the total loss of each training step of a job, a dict."""
    text = (job_dir / "metrics.jsonl").read_text()
    rows = map(json.loads, text.splitlines())
    return {
        row["step"]: row["total_loss"]
        for row in rows
        if row["split"] == "train"
    }


def record_of(job_dir):
    """Returns what `config.json` of a job says, a dict."""
    return json.loads((job_dir / "config.json").read_text())


def _count(path):
    """Returns how many whole rows a file has; 0 where there is none yet."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
