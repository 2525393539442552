"""One process at a time works in a folder; who fails leaves nothing there."""

import contextlib
import fcntl
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from trainer.errors import JobDirError
from trainer.job_dir import lock

ROOT = pathlib.Path(__file__).parents[3]


class RefusedError(Exception):
    """What goes wrong while the lock is held."""


def hold_and_fail(root, action=lambda: None):
    with pytest.raises(RefusedError), lock.hold(root, str(root)):
        action()
        raise RefusedError


def content_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_start_that_fails_takes_away_the_folders_that_it_made(tmp_path):
    root = tmp_path / "runs" / "today" / "vae"
    hold_and_fail(root, lambda: (root / "claim.lock").stat())
    assert content_of(tmp_path) == []


def test_a_folder_that_was_there_stays_and_is_as_it_was(tmp_path):
    root = tmp_path / "job"
    root.mkdir(mode=0o750)
    before = root.stat()
    hold_and_fail(root)
    assert content_of(tmp_path) == ["job"]
    assert (root.stat().st_ino, root.stat().st_mode) == (
        before.st_ino,
        before.st_mode,
    )
    (root / "notes.txt").write_text("mine")
    hold_and_fail(root)
    assert content_of(root) == ["notes.txt"]


def test_what_was_written_stays_and_so_does_the_lock(tmp_path):
    root = tmp_path / "runs" / "vae"
    hold_and_fail(root, lambda: (root / "config.json").write_text("{}"))
    assert content_of(root) == ["claim.lock", "config.json"]


def test_the_lock_of_an_earlier_start_stays_in_its_job(tmp_path):
    with lock.hold(tmp_path, "job"):
        (tmp_path / "config.json").write_text("{}")
    hold_and_fail(tmp_path)
    assert content_of(tmp_path) == ["claim.lock", "config.json"]


def test_a_start_that_ends_well_leaves_its_lock(tmp_path):
    with lock.hold(tmp_path / "job", "job"):
        text = (tmp_path / "job" / "claim.lock").read_text()
    assert content_of(tmp_path) == ["job", "job/claim.lock"]
    assert text == f"process {os.getpid()} on {os.uname().nodename}\n"


def test_what_others_put_beside_it_stays(tmp_path):
    root = tmp_path / "runs" / "vae"
    hold_and_fail(root, (tmp_path / "runs" / "other").mkdir)
    assert content_of(tmp_path) == ["runs", "runs/other"]


def test_what_appears_while_the_folder_is_taken_away_stays(
    tmp_path, monkeypatch
):
    root = tmp_path / "job"
    rename = os.rename

    def write_and_rename(source, target):
        if source == root:
            (root / "notes.txt").write_text("mine")
        rename(source, target)

    monkeypatch.setattr(lock.os, "rename", write_and_rename)
    hold_and_fail(root)
    assert content_of(tmp_path) == ["job", "job/claim.lock", "job/notes.txt"]


def test_the_lock_of_another_start_is_not_taken_away(tmp_path):
    root = tmp_path / "job"
    with pytest.raises(RefusedError), lock.hold(root, "job"):
        # Somebody thinks that it is a leftover.
        (root / "claim.lock").unlink()
        with lock.hold(root, "job"):
            raise RefusedError
    # The second has not made the folder, and the first has no lock there.
    assert content_of(tmp_path) == []


@pytest.mark.parametrize("name", ["job", "job/vae", "link", "link/vae"])
def test_what_cannot_be_a_folder_is_said(tmp_path, name):
    (tmp_path / "job").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    root = tmp_path / name
    with (
        pytest.raises(
            JobDirError,
            match=r"cannot be a folder: .* (is a file|leads nowhere)",
        ),
        lock.hold(root, str(root)),
    ):
        pass
    assert content_of(tmp_path) == ["job", "link"]


def test_a_folder_that_cannot_be_made_is_named_as_the_user_knows_it(
    tmp_path, monkeypatch
):
    def refuse(folder):
        raise OSError(30, "Read-only file system", str(folder))

    monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
    root = tmp_path / "job"
    with pytest.raises(OSError) as error, lock.hold(root, "job"):
        pass
    assert error.value.filename == str(root)


@pytest.mark.parametrize("name", ["..", "job/..", "n" * 255])
def test_any_name_of_a_folder_will_do(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    hold_and_fail(pathlib.Path(name))
    assert content_of(tmp_path) == ["here"]


@pytest.fixture
def start():
    """Starts Python code, with real locks, in a process of its own."""
    with contextlib.ExitStack() as processes:

        def start(code, *arguments):
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, *map(str, arguments)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            processes.callback(process.kill)
            return process

        yield start


HOLD = """
import pathlib, sys
from trainer.job_dir import lock

with lock.hold(pathlib.Path(sys.argv[1]), sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
    raise SystemExit
"""


def test_a_second_process_is_refused_and_told_by_whom(tmp_path, start):
    root = tmp_path / "job"
    first = start(HOLD, root)
    assert first.stdout.readline() == "held\n"
    with (
        pytest.raises(
            JobDirError, match=f"/job is in use by process {first.pid} on"
        ),
        lock.hold(root, str(root)),
    ):
        pass
    assert (root / "claim.lock").exists()
    first.communicate("\n", timeout=60)
    assert content_of(tmp_path) == []


def test_the_kernel_releases_the_lock_of_a_process_that_was_killed(
    tmp_path, start
):
    root = tmp_path / "job"
    first = start(HOLD, root)
    assert first.stdout.readline() == "held\n"
    first.kill()
    first.communicate(timeout=60)
    with lock.hold(root, str(root)):
        assert f"process {os.getpid()} " in (root / "claim.lock").read_text()


# Holds the folder 50 times and fails each time, in competition with another
# process: it has met that one, or that one has met it and is done. A folder
# beside it is there for as long as one of them holds it.
RACE = """
import pathlib, sys, time
from trainer.errors import JobDirError
from trainer.job_dir import lock

root, alone, done = map(pathlib.Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
rounds = refusals = 0
while rounds < 50 or not (refusals or done.exists()):
    try:
        with lock.hold(root, "job"):
            alone.mkdir()
            assert (root / "claim.lock").exists()
            if rounds % 3:
                time.sleep(0.001)
            alone.rmdir()
            rounds += 1
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    except JobDirError as error:
        assert "in use by" in str(error), error
        refusals += 1
done.touch()
"""


@pytest.mark.parametrize("is_there", [False, True])
def test_two_processes_that_race_hold_it_in_turn_and_leave_nothing(
    tmp_path, start, is_there
):
    root = tmp_path / "jobs" / "job"
    root.parent.mkdir()
    if is_there:
        root.mkdir()
    racers = [
        start(RACE, root, tmp_path / "alone", tmp_path / "done")
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], said
    left = ["jobs", "jobs/job"] if is_there else ["jobs"]
    assert content_of(tmp_path) == ["done", *left]


@pytest.mark.parametrize("kind", ["folder", "link", "FIFO", "file"])
def test_what_only_has_the_name_of_a_lock_is_left_as_it_is(tmp_path, kind):
    path, target = tmp_path / "job" / "claim.lock", tmp_path / "target"
    path.parent.mkdir()
    target.write_text("precious")
    make = {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(target),
        "FIFO": lambda: os.mkfifo(path),
        "file": lambda: path.write_text("precious"),
    }
    make[kind]()
    before = path.lstat()
    with (
        pytest.raises(JobDirError, match=r"claim\.lock is not the lock"),
        lock.hold(path.parent, "job"),
    ):
        pass
    assert path.lstat() == before
    assert target.read_text() == "precious"


def test_a_place_without_folders_is_said():
    root = pathlib.Path("/proc/nope")
    with (
        pytest.raises(JobDirError, match="there can be no folder in /proc"),
        lock.hold(root, str(root)),
    ):
        pass


def test_who_looks_at_a_lock_keeps_no_job_from_it(tmp_path):
    with lock.hold(tmp_path / "job", "job"):
        assert lock.is_held(tmp_path / "job")
        (tmp_path / "job" / "config.json").write_text("{}")
    assert not lock.is_held(tmp_path / "job")
    assert not lock.is_held(tmp_path / "nowhere")
    with open(tmp_path / "job" / "claim.lock") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        timer = threading.Timer(0.005, looked_at.close)
        timer.start()
        with lock.hold(tmp_path / "job", "job"):
            pass
        timer.join()
