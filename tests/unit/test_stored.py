"""What a file is read as, that anyone may have changed."""

import json
import os
import pathlib
import socket

import pytest

from trainer import stored
from trainer.stored import UnreadableError, read_json


@pytest.mark.parametrize(
    "value", [None, 1.5, "ü", [], {"a": [1, {"b": None}]}, float("inf")]
)
def test_what_was_written_is_read(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value))
    assert read_json(path) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON"),
        (b'"\xff"', "is not UTF-8"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b"[" * 33 + b"]" * 33, "is JSON too deep"),
        (b"[" * 100_000, "is JSON too deep"),
        (b'{"a":' * 100_000, "is JSON too deep"),
        (b" " * 101_000_0, "has more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_json_is_said(tmp_path, content, message):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=message):
        read_json(path, 10**6)


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pathlib.Path.mkdir, "is a folder"),
        (os.mkfifo, "is no file"),
        (bind, "is no file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no file"),
        (lambda path: path.symlink_to(path), "is a link in a loop"),
        (lambda path: path.symlink_to("nothing"), "leads nowhere"),
    ],
)
def test_what_is_no_file_is_said_and_waits_for_nobody(tmp_path, make, message):
    path = tmp_path / "x"
    make(path)
    assert stored.is_there(path)
    with pytest.raises(UnreadableError, match=message):
        read_json(path)


def test_nothing_is_not_the_same_as_something_unreadable(tmp_path):
    path = tmp_path / "x"
    assert not stored.is_there(path)
    with pytest.raises(FileNotFoundError):
        read_json(path)


def test_what_cannot_be_looked_at_is_not_nothing(tmp_path, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(PermissionError):
        stored.is_there(tmp_path)


def test_a_file_behind_a_link_is_read(tmp_path):
    (tmp_path / "there").write_text("[1]")
    (tmp_path / "here").symlink_to("there")
    assert read_json(tmp_path / "here") == [1]


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", None, 2**63])
def test_what_is_no_count(value):
    assert not stored.is_count(value)


@pytest.mark.parametrize("value", [True, "1", None, 2**63, 10**400, [1]])
def test_what_is_no_number(value):
    assert not stored.is_number(value)


@pytest.mark.parametrize("value", [True, "1", None, 2, "noon", [1]])
def test_what_is_no_time(value):
    assert not stored.is_time(value)
    assert stored.is_time("2026-11-30T21:00:00+00:00")
