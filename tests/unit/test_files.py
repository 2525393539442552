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
