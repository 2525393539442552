import concurrent.futures
import errno
import os
import pathlib

import pytest

from trainer import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_replaces_the_one_that_was_there(tmp_path):
    path = tmp_path / "models" / "1"
    for name in ("old", "new"):
        with files.new_folder(path) as unfinished:
            (unfinished / "variables").mkdir()
            (unfinished / "variables" / name).write_text(name)
            assert not (path / "variables" / name).exists()
    assert names(path / "variables") == ["new"]
    assert names(tmp_path / "models") == ["1"]


def test_a_folder_that_fails_leaves_the_one_that_was_there(tmp_path):
    path = tmp_path / "1"
    with files.new_folder(path) as unfinished:
        (unfinished / "old").write_text("old")
    with pytest.raises(OSError), files.new_folder(path) as unfinished:
        (unfinished / "new").write_text("new")
        raise OSError("the disk is full")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["1"]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / f"{files.TEMPORARY_PREFIX}a-1" / "variables").mkdir(
        parents=True
    )
    (tmp_path / f"{files.TEMPORARY_PREFIX}b.keras").write_text("half")
    (tmp_path / "1").mkdir()
    files.remove_unfinished(tmp_path)
    assert names(tmp_path) == ["1"]


def test_what_a_living_writer_writes_is_left_alone(tmp_path):
    path = tmp_path / "1"
    with files.new_folder(path) as unfinished:
        (unfinished / "new").write_text("new")
        files.remove_unfinished(tmp_path)
        assert (unfinished / "new").exists()
    assert names(path) == ["new"]


def test_a_file_that_is_written_outlives_every_cleaning(tmp_path, monkeypatch):
    publish = files.publish

    def clean_first(unfinished, path):
        files.remove_unfinished(tmp_path)
        publish(unfinished, path)

    monkeypatch.setattr(files, "publish", clean_first)
    files.write_atomically(tmp_path / "page.html", b"whole")
    assert (tmp_path / "page.html").read_bytes() == b"whole"
    assert names(tmp_path) == ["page.html"]


def test_a_cleaner_that_comes_before_the_lock_is_noticed(tmp_path, monkeypatch):
    flock, cleaned = files.fcntl.flock, []

    def clean_first(descriptor, operation):
        if operation == files.fcntl.LOCK_SH and len(cleaned) < 2:
            cleaned.append(names(tmp_path))
            files.remove_unfinished(tmp_path)
            assert names(tmp_path) == []
        flock(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", clean_first)
    files.write_atomically(tmp_path / "a", b"a")
    assert len(cleaned) == 2
    cleaned.clear()
    (tmp_path / "a").unlink()
    with files.new_folder(tmp_path / "b"):
        pass
    assert len(cleaned) == 2
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize("plant", ["link", "pipe"])
def test_what_cannot_be_of_a_writer_is_not_followed(tmp_path, plant):
    path = tmp_path / f"{files.TEMPORARY_PREFIX}planted"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    if plant == "link":
        path.symlink_to(precious)
    else:
        os.mkfifo(path)
    files.remove_unfinished(tmp_path)
    assert names(precious) == ["file"]


def test_without_locks_files_are_written_and_none_is_removed(
    tmp_path, monkeypatch
):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    left = tmp_path / f"{files.TEMPORARY_PREFIX}a"
    left.write_text("whose?")
    monkeypatch.setattr(files.fcntl, "flock", refuse)
    files.write_atomically(tmp_path / "b", b"b")
    with files.new_folder(tmp_path / "c"):
        files.remove_unfinished(tmp_path)
    assert names(tmp_path) == [left.name, "b", "c"]


def test_of_two_that_replace_a_folder_at_once_neither_fails(tmp_path):
    path = tmp_path / "1"

    def replace(number):
        for turn in range(20):
            with files.new_folder(path) as unfinished:
                (unfinished / "whose").write_text(f"{number} {turn}")
            files.remove_unfinished(tmp_path)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(replace, number) for number in range(4)]:
            future.result()
    assert names(tmp_path) == ["1"]
    assert (path / "whose").read_text().endswith(" 19")


@pytest.mark.parametrize(
    "make",
    [
        pathlib.Path.mkdir,
        pathlib.Path.touch,
        # Whoever opens it waits for a writer.
        os.mkfifo,
        lambda path: path.symlink_to("/"),
        lambda path: path.symlink_to(path),
    ],
)
def test_a_new_folder_replaces_whatever_had_its_name(tmp_path, make):
    make(tmp_path / "1")
    make(tmp_path / f"{files.TEMPORARY_PREFIX}left")
    with files.new_folder(tmp_path / "1") as unfinished:
        (unfinished / "new").write_text("new")
    files.remove_unfinished(tmp_path)
    assert names(tmp_path) == ["1"]
    assert names(tmp_path / "1") == ["new"]
