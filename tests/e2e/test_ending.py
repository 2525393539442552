import signal
import time

import pytest

from tests.tools import deadline
from tests.tools.small_jobs import SMALL, wait_for


def last_written(folder):
    """When the newest file of a folder was written, as `time.time()`."""
    return max(
        path.stat().st_mtime for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.slow
def test_stopped_jobs_on_several_replicas_end_with_their_last_file(
    start, tmp_path
):
    flags = (*SMALL, "--virtual_devices=4", "--epochs=5000")
    jobs = {tmp_path / name: None for name in ("one", "two")}
    started = time.time()
    for job_dir in jobs:
        jobs[job_dir] = start(*flags, job_dir=job_dir)
    for process in jobs.values():
        wait_for(process, "Epoch 1")
    starting = time.time() - started
    # A thread of tf.data looks up 10.2 s and 20.5 s after its start. The end
    # of an iterator used to wait for it more often than not.
    time.sleep(10)
    for job_dir, process in jobs.items():
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=deadline.SECONDS)
        seconds = time.time() - last_written(job_dir)
        assert process.returncode == 75, err
        # A small part of what the start takes, on any machine.
        assert seconds < starting / 4
