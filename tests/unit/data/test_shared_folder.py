"""Jobs that fetch data into one folder, and wait for each other."""

import concurrent.futures
import errno
import os
import threading

import pytest

from tests.tools.deadline import wait_until
from trainer.data import shared_folder
from trainer.errors import InterruptedJobError
from trainer.runtime.stop_signal import StopSignal


def test_one_at_a_time_holds_a_folder_and_the_others_say_so(
    tmp_path, console, stop, capsys
):
    folder = tmp_path / "new" / "cache"
    inside, most = [], []

    def fetch():
        with shared_folder.hold(folder, console, stop):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.05)
            inside.pop()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(fetch) for _ in range(3)]:
            future.result()
    assert most == [1, 1, 1]
    waiting = f"Waiting for another process that fetches data into {folder}.\n"
    assert waiting in capsys.readouterr().out
    assert list(folder.iterdir()) == []


def test_who_waits_hears_the_stop_signal(tmp_path, console, stop, capsys):
    waiting = StopSignal()

    def wait():
        with shared_folder.hold(tmp_path, console, waiting):
            raise AssertionError("it was held")

    with (
        shared_folder.hold(tmp_path, console, stop),
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        future = pool.submit(wait)
        wait_until(lambda: "Waiting" in capsys.readouterr().out)
        waiting.request("SIGHUP")
        with pytest.raises(InterruptedJobError):
            future.result(timeout=60)


def test_a_folder_that_cannot_be_locked_is_used_and_said(
    tmp_path, console, stop, monkeypatch, capsys
):
    def refuse(descriptor, operation):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(shared_folder.fcntl, "flock", refuse)
    with shared_folder.hold(tmp_path, console, stop):
        (tmp_path / "file").write_text("fetched")
    assert capsys.readouterr().err == (
        f"WARNING: {tmp_path} cannot be locked (Bad file descriptor); jobs "
        "that start at the same time each fetch the data for themselves.\n"
    )


def test_a_folder_that_cannot_be_made_is_for_the_fetching_to_say(
    tmp_path, console, stop, capsys
):
    (tmp_path / "file").write_text("")
    with shared_folder.hold(tmp_path / "file" / "cache", console, stop):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_was_removed_while_it_was_waited_for_is_made_again(
    tmp_path, monkeypatch, console, stop
):
    folder, removed = tmp_path / "data", []

    def wait_for(_, path, *__):
        if not removed:
            removed.append(path)
            path.rmdir()

    monkeypatch.setattr(shared_folder, "_wait_for", wait_for)
    with shared_folder.hold(folder, console, stop):
        assert folder.is_dir()
    assert removed == [folder]


def test_what_is_kept_is_not_removed_and_what_is_removed_is_not_kept(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset.json").write_bytes(b"{}")
    kept = shared_folder.Kept(folder / "dataset.json")
    assert not shared_folder.remove_unused(folder, "dataset.json")
    assert kept.read(10) == b"{}"
    kept.close()
    assert shared_folder.remove_unused(folder, "dataset.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        shared_folder.Kept(folder / "dataset.json")
