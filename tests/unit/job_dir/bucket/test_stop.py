"""A stop signal while a bucket keeps somebody waiting."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.tools import deadline
from trainer.config import TrainConfig
from trainer.data import sources
from trainer.errors import InterruptedJobError, StorageUnavailableError
from trainer.job_dir import open as open_lib
from trainer.job_dir.bucket import mirror as mirror_lib
from trainer.job_dir.bucket.object_store import ObjectStore

# Who does not listen is killed after 30 seconds.
KILLED_SECONDS = 30
IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture
def job(server):
    """A job in the bucket, and data, that take minutes to download."""
    server.write("job/config.json", b'{"format": 1}', "id")
    for name in ("state.npz", "manifest.json"):
        path = f"job/checkpoints/step-0000001/{name}"
        server.write(path, bytes(1_000_000), "id")
    server.write(f"data/{IMAGES}", bytes(1_000_000))
    return server


def read(console, stop):
    with open_lib.open_to_read("gs://bucket/job", console, stop):
        pass


def write(console, stop):
    config = TrainConfig(
        job_dir="gs://bucket/job", storage_timeout_seconds=300.0
    )
    with open_lib.open_to_write(config, console, stop):
        pass


def load(console, stop):
    config = TrainConfig(
        job_dir="unused",
        dataset="idx",
        data_dir="gs://bucket/data",
        storage_timeout_seconds=300.0,
    )
    sources.load(config, console, stop)


DOWNLOADS, LISTINGS = "^GET /download/", r"^GET /storage/.*/o\?"
# What the bucket does, and to which requests.
FAULTS = {
    "503 for ever": ("", lambda s: s.fail(503, times=None)),
    "503 for downloads": (
        DOWNLOADS, lambda s: s.fail(503, times=None, match=DOWNLOADS),
    ),
    "trickling downloads": (
        DOWNLOADS, lambda s: s.slow(1_000, match=DOWNLOADS),
    ),
    "trickling listings": (LISTINGS, lambda s: s.slow(5, match=LISTINGS)),
    "no answer": (DOWNLOADS, lambda s: s.hold(DOWNLOADS)),
}  # fmt: skip


def request_when_asked(stop, server, match):
    """Sends the signal when the bucket has got such a request."""

    def is_asked():
        return server.held or any(
            re.search(match, f"{method} {path}")
            for method, path in list(server.requests)
        )

    def work():
        deadline.wait_until(is_asked, "a request")
        stop.request("SIGTERM")

    threading.Thread(target=work).start()


@pytest.mark.parametrize(
    ("work", "fault"),
    [
        *((write, fault) for fault in FAULTS),
        (read, "503 for ever"),
        (read, "trickling downloads"),
        (read, "trickling listings"),
        (load, "503 for downloads"),
        (load, "trickling downloads"),
    ],
)
def test_it_counts_whatever_the_bucket_does(job, console, stop, work, fault):
    match, break_it = FAULTS[fault]
    break_it(job)
    request_when_asked(stop, job, match)
    started = time.monotonic()
    with pytest.raises(InterruptedJobError, match="Interrupted by SIGTERM"):
        work(console, stop)
    assert time.monotonic() - started < KILLED_SECONDS
    # Nothing holds the directory, unless the bucket does not even say so.
    if fault != "503 for ever":
        assert "job/claim.json" not in job.objects()


def test_what_was_stopped_in_the_middle_is_done_by_the_next_start(
    job, console, stop
):
    job.slow(1_000, match=DOWNLOADS)
    request_when_asked(stop, job, DOWNLOADS)
    with pytest.raises(InterruptedJobError):
        write(console, stop)
    job.forget_faults()
    config = TrainConfig(job_dir="gs://bucket/job")
    with open_lib.open_to_write(config, console, type(stop)()) as opened:
        state = opened.checkpoint(1) / "state.npz"
        assert state.read_bytes() == bytes(1_000_000)


PROGRAM = """
from trainer.job_dir.open import open_to_read
from trainer.runtime.command import run_command

def body(parsed, stop, console):
    console.line("downloading")
    with open_to_read("gs://bucket/job", console, stop):
        pass

raise SystemExit(run_command(lambda arguments: True, body))
"""


def test_a_process_that_downloads_ends_with_75(job):
    job.slow(1_000, match=DOWNLOADS)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"STORAGE_EMULATOR_HOST": job.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline.wait_until(
        lambda: any("/download/" in path for _, path in job.requests),
        "download",
    )
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, err = process.communicate(timeout=deadline.SECONDS)
    assert time.monotonic() - started < KILLED_SECONDS
    assert process.returncode == 75
    assert "Traceback" not in err
    assert "Interrupted by SIGTERM" in err


def test_the_last_upload_is_cut_short(server, console, stop, monkeypatch):
    monkeypatch.setattr(mirror_lib, "STOP_SECONDS", 0.3)
    config = TrainConfig(
        job_dir="gs://bucket/job", storage_timeout_seconds=300.0
    )
    started = []
    with (
        pytest.raises(
            StorageUnavailableError, match="0 s after SIGTERM were not enough"
        ) as error,
        open_lib.open_to_write(config, console, stop) as opened,
    ):
        record = json.dumps({"format": 1}).encode()
        opened.config_path.write_bytes(record)
        # Before: the first round may begin at once.
        server.fail(503, times=None, match="config")
        opened.start_publishing()
        threading.Timer(0.2, stop.request, ["SIGTERM"]).start()
        started.append(time.monotonic())
    assert time.monotonic() - started[0] < KILLED_SECONDS
    assert "sends it, if nobody else has written" in str(error.value)


def test_a_store_that_heeds_no_signal_goes_on(server, stop):
    store = ObjectStore("gs://bucket/job", 3)
    stop.request("SIGTERM")
    assert store.write("name", b"x").size == 1
    with pytest.raises(InterruptedJobError):
        store.heeding(stop).list()
