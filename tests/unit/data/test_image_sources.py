"""Whatever images come in: the same images come out, or one sentence."""

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import pickle
import shutil
import socket
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.tools.datasets import prepare
from tests.tools.idx import idx_bytes, write_idx_folder
from tests.tools.images import noise, png, write_classes
from trainer.data import records
from trainer.data.preparing import sources, spool
from trainer.data.preparing.decoding import BadImageError
from trainer.data.preparing.listing import Refused
from trainer.errors import DataError, DataUnavailableError


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def listed(work, stop):
    """Returns the `Listing` of a source."""
    return lambda path: sources.list_source(path, work, stop)


def refused(listed, path):
    """Returns the sentence with which a source is refused."""
    with pytest.raises(DataError) as error:
        listed(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def everything(folder):
    """Returns {split: (images, labels)} and the class names of a dataset."""
    with records.open_dataset(folder) as dataset:
        found = {
            name: (split.read(np.arange(split.count)), split.labels)
            for name, split in dataset.splits.items()
        }
        return found, dataset.class_names


def as_set(images):
    return {image.tobytes() for image in images}


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def members_of(folder, prefix=""):
    return {
        f"{prefix}{path.relative_to(folder)}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Folders and archives of pictures.


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "gz", "bz2", "xz"])
@pytest.mark.parametrize("prefix", ["", "photos/all/"])
def test_a_folder_and_its_archives_hold_the_same(kind, prefix, tmp_path):
    folder = write_classes(tmp_path / "source", 3)
    members = members_of(folder, prefix)
    source = tmp_path / f"archive.{kind}"
    if kind == "folder":
        source = folder
    elif kind == "zip":
        write_zip(source, members)
    else:
        write_tar(source, members, "w" if kind == "tar" else f"w:{kind}")
    found, names = everything(prepare(source, tmp_path / "set", test_share=0))
    images, labels = found["train"]
    assert names == ("cat", "dog")
    for label, first in enumerate((0, 1000)):
        expected = as_set(noise(first + number) for number in range(3))
        assert as_set(images[labels == label]) == expected


def test_folders_of_splits_are_the_splits(tmp_path):
    for name in ("Train", "val", "testing"):
        write_classes(tmp_path / "source" / name, 2)
    (tmp_path / "source" / "README.md").write_text("what this is")
    found, names = everything(
        prepare(tmp_path / "source", tmp_path / "set", validation_share=0.5)
    )
    assert names == ("cat", "dog")
    assert {name: len(images) for name, (images, _) in found.items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }


def test_pictures_are_known_by_their_content_and_others_left_out(
    tmp_path, listed
):
    folder = write_classes(tmp_path / "source", 1)
    (folder / "cat" / "without an ending").write_bytes(png(5))
    (folder / "cat" / "really.jpg").write_bytes(png(6))
    (folder / "cat" / "notes.txt").write_text("a cat")
    (folder / "cat" / "._0.png").write_bytes(b"what a Mac leaves")
    (folder / ".DS_Store").write_bytes(b"the same")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0 what Windows leaves")
    (folder / "desktop.ini").write_text("the same")
    (folder / "cat" / "BMW.txt").write_text("BMW and other makes of cars")
    (folder / "cat" / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (folder / "cat" / "a.svg").write_text("<svg/>")
    write_zip(folder / "cat" / "more.zip", {"0.png": png(7)})
    found = listed(folder)
    assert len(found) == 4
    assert (found.ignored_count, len(found.ignored)) == (9, 9)
    assert "left out: 9 (" in sources.ignored_sentence(found)


def test_names_that_differ_in_case_are_different_names(tmp_path, listed):
    folder = tmp_path / "source"
    for number, name in enumerate(("Cat/a.png", "cat/a.png", "cat/A.PNG")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    found = listed(folder)
    assert (found.class_names, len(found)) == (("Cat", "cat"), 3)


def test_a_zip_of_windows_has_folders(tmp_path, listed):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (
            r"cat\0.png",
            r"dog\0.png",
            "dog\\",
            r"cat\..\..\evil.png",
        ):
            info = zipfile.ZipInfo(name)
            info.create_system = 0
            archive.writestr(info, png(0) if name.endswith("g") else b"")
    found = listed(tmp_path / "a.zip")
    assert sorted(map(found.name_of, range(len(found)))) == [
        "cat/0.png",
        "cat/evil.png",
        "dog/0.png",
    ]
    assert found.class_names == ("cat", "dog")
    assert Refused("its path leads out") in found.locators


def test_only_the_beginning_of_what_is_no_picture_is_unpacked(
    tmp_path, listed, monkeypatch
):
    # Each would become 32 MB.
    members = {f"{number}.bin": bytes(32 << 20) for number in range(2)}
    path = write_zip(tmp_path / "a.zip", {**members, "without": png(0)})
    tracemalloc.start()
    found = listed(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(found), found.ignored_count) == (1, 2)
    assert peak < 8 << 20


def test_a_folder_without_classes_has_no_labels(tmp_path, listed):
    folder = write_classes(tmp_path / "source", 2, names=("only",))
    assert listed(folder).labels is None
    assert listed(folder / "only").class_names == ()


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["test/cat/0.png"], "holds test/ but no train/"),
        (["train/0.png", "cat/0.png"], "beside it cat/0.png, which is in no"),
        (["train/0.png", "training/0.png"], "several folders for one split"),
        (["cat/0.png", "dog/0.png", "0.png"], "beside them 0.png, which is of"),
        (["notes.txt"], "holds no images"),
    ],
)
def test_what_is_not_clear_is_refused(paths, said, tmp_path, listed):
    for path in paths:
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / path).write_bytes(png(0))
    if paths == ["notes.txt"]:
        (tmp_path / "source" / "notes.txt").write_text("nothing")
    assert said in refused(listed, tmp_path / "source")


def odd_files(folder, outside):
    """Makes files that no one should read, each with what is said of it."""
    os.mkfifo(folder / "fifo.png")
    with socket.socket(socket.AF_UNIX) as listener:
        # Its whole path would be too long for a socket.
        here = os.open(folder, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket.png")
        os.close(here)
    (folder / "out.png").symlink_to(outside)
    (folder / "nowhere.png").symlink_to(folder / "gone")
    (folder / "round.png").symlink_to(folder / "round.png")
    (folder / "again.png").symlink_to(folder)
    (folder / "empty.png").write_bytes(b"")
    (folder / "line\nbreak\x1b[2J.png").write_bytes(b"<html>")
    with open(os.fsencode(folder) + b"/not-\xff-utf8.png", "wb"):
        pass
    (folder / "folder.png").mkdir()
    (folder / "folder.png" / "0.jpg").write_text("in a folder like a picture")
    return {
        "fifo.png": "it is no regular file",
        "socket.png": "it is no regular file",
        "out.png": "it is a link that leads out of the folder",
        "nowhere.png": "it is a link that leads nowhere",
        "round.png": "it is a link that leads nowhere",
        "again.png": "it is a link to a folder",
        "empty.png": "it is empty",
        "line\\nbreak\\x1b[2J.png": "it is a web page",
        "not-\\udcff-utf8.png": "it is empty",
        "folder.png/0.jpg": "it is no picture of a known format",
    }


def test_odd_files_are_named_and_can_be_left_out(tmp_path):
    (tmp_path / "outside.png").write_bytes(png(7))
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "good.png").write_bytes(png(1))
    (folder / "link.png").symlink_to(folder / "good.png")
    expected = odd_files(folder, tmp_path / "outside.png")
    with pytest.raises(DataError) as error:
        prepare(folder, tmp_path / "set")
    message = str(error.value)
    assert f"{len(expected)} of {len(expected) + 2} images" in message
    for name, reason in expected.items():
        assert f"\n  {name}: {reason}" in message
    assert not (tmp_path / "set").exists()
    prepare(folder, tmp_path / "set", on_bad="skip", test_share=0)
    left_out = records.open_dataset(tmp_path / "set").manifest.made["left_out"]
    assert left_out["count"] == len(expected)
    assert dict(left_out["first"]).keys() == expected.keys()
    assert len(everything(tmp_path / "set")[0]["train"][0]) == 2


def test_what_took_the_place_of_a_picture_is_not_waited_for(tmp_path, listed):
    folder = write_classes(tmp_path / "source", 1)
    reader = listed(folder).reader
    for make in (os.mkfifo, os.mkdir):
        path = folder / "cat" / "0.png"
        path.unlink()
        make(path)
        with pytest.raises(BadImageError, match=r"no regular|cannot be read"):
            reader.read("cat/0.png")
        shutil.move(path, tmp_path / make.__name__)
        path.write_bytes(png(0))


def test_a_picture_that_may_not_be_read_is_a_bad_one(
    tmp_path, listed, monkeypatch
):
    # Root may read all, so the system says it here.
    reader = listed(write_classes(tmp_path / "source", 1)).reader

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BadImageError, match=r"cannot be read \(Permission"):
        reader.read("cat/0.png")


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_an_archive_that_vanishes_is_a_sentence(write, tmp_path, listed):
    path = write(tmp_path / "archive", {"0.png": png(0)})
    found = listed(path)
    reader = pickle.loads(pickle.dumps(found.reader))
    path.unlink()
    with pytest.raises(DataError, match=r"archive cannot be read \(No"):
        reader.read(found.locators[0])


def test_what_an_archive_leads_out_with_is_left_where_it_is(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("../../evil.png", tarfile.REGTYPE, ""),
            ("/etc/evil.png", tarfile.REGTYPE, ""),
            ("link.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.png", tarfile.LNKTYPE, "../../evil.png"),
            ("device.png", tarfile.CHRTYPE, ""),
            ("good.png", tarfile.REGTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            content = png(0) if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError) as error:
        prepare(path, tmp_path / "set")
    assert "5 of 6 images" in str(error.value)
    assert str(error.value).count("its path leads out") == 2
    members = {"../evil.png": png(0), "a/" * 40 + "deep.png": png(0)}
    with pytest.raises(DataError, match="leads out"):
        prepare(write_zip(tmp_path / "a.zip", members), tmp_path / "set")


def damaged_zips():
    good = io.BytesIO()
    write_zip(good, {f"{n}.png": png(n) for n in range(3)})
    good = good.getvalue()
    end = good.rindex(b"PK\5\6")
    directory = good.index(b"PK\1\2")
    yield "cut", good[:-30], "damaged zip file|nothing that images"
    yield "no directory", good[:directory], "nothing that images are taken"
    # The size that the first member promises, in the table of contents.
    larger = bytearray(good)
    larger[directory + 24 : directory + 28] = struct.pack("<I", 1 << 30)
    yield "a larger member", bytes(larger), "1,073,741,824 bytes"
    smaller = bytearray(good)
    smaller[directory + 24 : directory + 28] = struct.pack("<I", 10)
    yield "a smaller member", bytes(smaller), "another size than the zip"
    flipped = bytearray(good)
    flipped[60] ^= 1
    yield "a flipped bit", bytes(flipped), "damaged|CRC|another size"
    elsewhere = bytearray(good)
    elsewhere[directory + 42 : directory + 46] = struct.pack("<I", 5)
    yield "an offset elsewhere", bytes(elsewhere), "no member where it says"
    before = bytearray(good)
    before[end + 16 : end + 20] = struct.pack("<I", directory + 99)
    yield "an offset before the file", bytes(before), "begins before the file"
    secret = bytearray(good)
    secret[directory + 8] |= 1
    yield "an encrypted member", bytes(secret), "it is encrypted"
    many = bytearray(good)
    many[end + 12 : end + 16] = struct.pack("<I", 1 << 31)
    yield "a large directory", bytes(many), "damaged zip|nothing that images"


@pytest.mark.parametrize(
    ("content", "said"),
    [pytest.param(*rest, id=name) for name, *rest in damaged_zips()],
)
def test_a_damaged_zip_is_refused(content, said, tmp_path):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=said):
        prepare(tmp_path / "a.zip", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def tar_of(count=3):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number in range(count):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(png(number))
            archive.addfile(info, io.BytesIO(png(number)))
    return content.getvalue()


def renumbered(tar, size):
    """Returns a tar file whose second member says another size."""
    header = bytearray(tar[1024:1536])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return tar[:1024] + bytes(header) + tar[1536:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tar_of()[:1500], "damaged tar file"),
        (tar_of()[:1024], "it is cut or damaged at byte 1,024"),
        (tar_of()[:1024] + b"x" * 512 + tar_of()[1536:], "at byte 1,024"),
        (renumbered(tar_of(), b"%011o\0" % (1 << 32)), "cut|unexpected end"),
        (renumbered(tar_of(), b"\xff" * 11 + b"\0"), "go back|damaged"),
        (gzip.compress(tar_of())[:-9], "is damaged"),
        (gzip.compress(tar_of())[:200] + b"x" * 99, "is damaged"),
        (bz2.compress(tar_of())[:-20], "is damaged"),
        (lzma.compress(tar_of())[:-20], "is damaged"),
        # The same bytes in each process that collects the tests.
        (
            gzip.compress(b"no tar file", mtime=0),
            "nothing that images are taken from",
        ),
        (b"", "nothing that images are taken from"),
        (b"<html>", "nothing that images are taken from"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "nothing that images are taken"),
        (b"Rar!\x1a\7\0" + bytes(99), "nothing that images are taken from"),
        (b"\x28\xb5\x2f\xfd" + bytes(99), "nothing that images are taken"),
        (pickle.dumps([1]), "nothing that images are taken from"),
    ],
)  # fmt: skip
def test_a_damaged_tar_is_refused(content, said, tmp_path):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=said):
        prepare(tmp_path / "a.tar", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress]
)
def test_what_unpacks_to_far_more_is_refused(
    compress, tmp_path, listed, monkeypatch
):
    monkeypatch.setattr(spool, "_FREE_BYTES", 1 << 20)
    (tmp_path / "bomb").write_bytes(compress(bytes(3 << 20)))
    assert "more than 200 times" in refused(listed, tmp_path / "bomb")


def test_what_was_unpacked_of_another_file_is_not_used(tmp_path, listed):
    source = tmp_path / "a.tar.gz"
    source.write_bytes(gzip.compress(tar_of(3)))
    assert len(listed(source)) == 3
    source.write_bytes(gzip.compress(tar_of(2)))
    assert len(listed(source)) == 2


def test_what_is_not_there_or_no_file_is_refused(tmp_path, listed):
    with pytest.raises(DataUnavailableError, match="There is no"):
        prepare(tmp_path / "missing", tmp_path / "new" / "set")
    assert not (tmp_path / "new").exists()
    os.mkfifo(tmp_path / "fifo")
    assert "neither a folder nor a regular" in refused(
        listed, tmp_path / "fifo"
    )


# Arrays.


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), "first"])
def test_an_array_keeps_its_order(shape, tmp_path):
    images = noise(0, 20 * 8, 8, 1 if shape in ((), (1,)) else 3)
    images = images.reshape(20, 8, 8, -1)
    expected = images
    if shape == ():
        images = images[..., 0]
    if shape == (4,):
        opaque = np.full((20, 8, 8, 1), 255, np.uint8)
        images = np.concatenate([images, opaque], axis=-1)
    if shape == "first":
        images = np.moveaxis(images, -1, 1)
    np.save(tmp_path / "a.npy", images)
    found, _ = everything(
        prepare(tmp_path / "a.npy", tmp_path / "set", test_share=0)
    )
    assert np.array_equal(found["train"][0], expected)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_has_splits_by_the_names_of_its_arrays(save, tmp_path):
    parts = {
        "x_train": noise(1, 60, 8, 1).reshape(-1, 6, 8),
        "y_train": np.arange(10).reshape(10, 1) % 3,
        "x_test": noise(2, 24, 8, 1).reshape(-1, 6, 8),
        "y_test": np.arange(4, dtype=np.uint8),
    }
    save(tmp_path / "a.npz", **parts)
    found, names = everything(
        prepare(tmp_path / "a.npz", tmp_path / "set", size=(6, 8))
    )
    assert names == ("0", "1", "2", "3")
    for split in ("train", "test"):
        images, labels = found[split]
        assert np.array_equal(images[..., 0], parts[f"x_{split}"])
        assert np.array_equal(labels, parts[f"y_{split}"].ravel())


IMAGES = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": IMAGES, "b": IMAGES}, "the arrays a, b, of which it is not"),
        ({"images": IMAGES, "x": IMAGES}, "several arrays of images"),
        ({"images": IMAGES, "x_train": IMAGES}, "it is not clear"),
        ({"x_train": IMAGES, "x_test": IMAGES[:, :4]}, "of different shapes"),
        ({"x": IMAGES, "y": np.arange(3)}, "for each of the 4 images"),
        ({"x": IMAGES, "y": np.zeros(4)}, "float64 of the shape"),
        ({"x": IMAGES, "y": np.arange(4) - 1}, "labels from -1 to 2"),
        ({"x": IMAGES, "y": np.arange(4) << 40}, "a class is a number"),
        ({"x": IMAGES.astype(np.float32)}, "holds float32, not uint8"),
        ({"x": IMAGES[0]}, "has the shape"),
        ({"x": IMAGES[:0]}, "has the shape"),
        ({"x": np.array([[object()]])}, "holds Python objects"),
        ({"x": np.asfortranarray(np.zeros((4, 8, 8), np.uint8))}, "Fortran"),
    ],
)
def test_arrays_that_are_not_clear_are_refused(arrays, said, tmp_path, listed):
    np.savez(tmp_path / "a.npz", **arrays)
    assert said in refused(listed, tmp_path / "a.npz")


def test_an_array_that_unpacks_to_far_more_is_refused(tmp_path, listed):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES)
    content = bytearray(path.read_bytes())
    # The size that the array promises, in the table of contents.
    at = content.index(b"PK\1\2") + 24
    content[at : at + 4] = struct.pack("<I", 1 << 30)
    path.write_bytes(content)
    assert "more than 200 times" in refused(listed, path)


def npy(header, content=bytes(64)):
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (9, 8, 8)}"),
         "holds 64 bytes of values, but its header promises"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, -8, -8)}"),
         "damaged header"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1<<70, 8)}"),
         "damaged header"),
        (npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': ()}"),
         "damaged header"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 8, 8)}"),
         "Python objects"),
        (npy("__import__('os').system('true')"), "damaged header"),
        (npy("(" * 100), "damaged header"),
        (b"\x93NUMPY\x09\0", "no .npy file"),
        (b"\x93NUMPY\1\0\xff\xff{", "damaged header"),
    ],
)  # fmt: skip
def test_an_npy_file_that_lies_is_refused(content, said, tmp_path, listed):
    (tmp_path / "a.npy").write_bytes(content)
    assert said in refused(listed, tmp_path / "a.npy")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_a_folder_of_idx_files_keeps_its_order(compress, dot, tmp_path):
    folder = tmp_path / "source"
    write_idx_folder(folder, train=20, test=5, compress=compress)
    if dot:
        for path in folder.iterdir():
            path.rename(folder / path.name.replace("-idx", ".idx"))
    found, names = everything(prepare(folder, tmp_path / "set"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 5)):
        images, labels = found[split]
        assert np.array_equal(
            images[..., 0], rng.integers(0, 256, (count, 8, 8))
        )
        assert np.array_equal(labels, rng.integers(0, 256, count))
    assert names[:2] == ("0", "1")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train-images-idx3-ubyte", b"\0\0\x08\1", "no IDX file of 3"),
        ("train-images-idx3-ubyte", b"", "it starts with nothing"),
        ("train-images-idx3-ubyte", idx_bytes(IMAGES)[:-1], "255 bytes"),
        ("train-images-idx3-ubyte",
         b"\0\0\x08\3" + b"\xff" * 12, "its header promises"),
        ("train-images-idx3-ubyte.gz", b"<html>", "is damaged"),
        ("train-labels-idx1-ubyte", idx_bytes(np.arange(9)), "for each of the"),
        ("letters-train-images-idx3-ubyte", idx_bytes(IMAGES), "keep one of"),
    ],
)  # fmt: skip
def test_damaged_idx_files_are_refused(name, content, said, tmp_path, listed):
    folder = tmp_path / "source"
    write_idx_folder(folder, compress=name.endswith(".gz"))
    (folder / name).write_bytes(content)
    assert said in refused(listed, folder)


# CIFAR.


def cifar_arrays(count):
    images = noise(count, 3 * 32 * count, 32, 1).reshape(count, 3, 32, 32)
    return images, np.arange(count) % 10


def cifar_python(folder, pickled=pickle.dumps):
    folder.mkdir()
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names, 2):
        images, labels = cifar_arrays(number)
        batch = {
            "batch_label": f"batch {number}",
            "labels": labels.tolist(),
            "data": images.reshape(number, -1),
            "filenames": [f"{n}.png" for n in range(number)],
        }
        (folder / name).write_bytes(pickled(batch))
    (folder / "batches.meta").write_bytes(
        pickled({"label_names": [f"class {n}" for n in range(10)]})
    )


def cifar_binary(folder):
    folder.mkdir()
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names, 2):
        images, labels = cifar_arrays(number)
        rows = [labels.astype(np.uint8)[:, None], images.reshape(number, -1)]
        content = np.concatenate(rows, axis=1).tobytes()
        (folder / f"{name}.bin").write_bytes(content)
    (folder / "batches.meta.txt").write_text(
        "".join(f"class{n}\n" for n in range(10)) + "\n"
    )


def cifar_100(folder):
    folder.mkdir()
    for name, number in (("train", 5), ("test", 3)):
        images, labels = cifar_arrays(number)
        batch = {
            "coarse_labels": [1] * number,
            "data": images.reshape(number, -1),
            "fine_labels": labels.tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "meta").write_bytes(
        pickle.dumps(
            {
                "fine_label_names": [f"class {n}" for n in range(10)],
                "coarse_label_names": ["animal", "thing"],
            }
        )
    )


def python_2(batch):
    """Pickles as Python 2 did, which wrote what is published."""

    def text(value):
        return b"U" + bytes([len(value)]) + value.encode()

    def numbers(values):
        return b"](" + b"".join(b"K" + bytes([n]) for n in values) + b"e"

    def array(values):
        rows, columns = values.shape
        content = values.tobytes()
        return (
            b"cnumpy.core.multiarray\n_reconstruct\nq\5cnumpy\nndarray\n"
            b"K\0\x85U\1b\x87R(K\1K%cM%s\x86cnumpy\ndtype\nU\2u1K\0K\1\x87R"
            b"(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T%s%stb"
        ) % (
            rows,
            columns.to_bytes(2, "little"),
            len(content).to_bytes(4, "little"),
            content,
        )

    content = b"\x80\2}q\1("
    for key, value in batch.items():
        content += text(key) + b"q\2"
        if isinstance(value, str):
            content += text(value)
        elif isinstance(value, np.ndarray):
            content += array(value)
        elif isinstance(value[0], str):
            content += b"](" + b"".join(map(text, value)) + b"e"
        else:
            content += numbers(value)
    return content + b"u."


def column_major(batch):
    if "data" in batch:
        batch["data"] = np.asfortranarray(batch["data"])
    return pickle.dumps(batch, protocol=2)


def test_the_pickles_of_python_2_are_such_pickles():
    images, labels = cifar_arrays(4)
    batch = {"labels": labels.tolist(), "data": images.reshape(4, -1)}
    loaded = pickle.loads(python_2(batch), encoding="bytes")
    assert loaded[b"labels"] == batch["labels"]
    assert np.array_equal(loaded[b"data"], batch["data"])


@pytest.mark.parametrize(
    "write",
    [
        cifar_python,
        lambda folder: cifar_python(folder, python_2),
        lambda folder: cifar_python(folder, column_major),
        cifar_binary,
        cifar_100,
    ],
    ids=["python", "python 2", "column-major", "binary", "100"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_is_read_as_it_is_published(write, packed, tmp_path):
    source = tmp_path / "cifar"
    write(source)
    if packed:
        members = members_of(source, "cifar/")
        source = write_tar(tmp_path / "cifar.tar.gz", members, "w:gz")
    found, names = everything(prepare(source, tmp_path / "set", size=(32, 32)))
    batches = [[5], [3]] if write is cifar_100 else [[2, 3, 4, 5, 6], [7]]
    for split, counts in zip(("train", "test"), batches, strict=True):
        arrays = [cifar_arrays(count) for count in counts]
        images = np.concatenate([images for images, _ in arrays])
        assert np.array_equal(found[split][0], np.moveaxis(images, 1, -1))
        labels = np.concatenate([labels for _, labels in arrays])
        assert np.array_equal(found[split][1], labels)
    assert [name.replace(" ", "") for name in names] == [
        f"class{n}" for n in range(10)
    ]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()),
        pickle.dumps({"labels": [1, 2, 3], "data": b"x" * 3072}),
        pickle.dumps({"labels": [1], "data": Evil()}),
        b"\x80\2]" + b"K\1" * 10,
        b"\x8e" + b"\xff" * 7 + b"\x7f",
        b"",
    ],
)
def test_a_pickle_is_never_executed(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cifar_python(tmp_path / "cifar")
    (tmp_path / "cifar" / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match="CIFAR"):
        prepare(tmp_path / "cifar", tmp_path / "set")
    assert not (tmp_path / "executed").exists()


# Parquet.


@pytest.fixture
def write_parquet():
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow
    from pyarrow import parquet

    def write(path, first, count, *, labels=True, rows=3, plain=False):
        files = [png(first + n) for n in range(count)]
        images = (
            pyarrow.array(files, pyarrow.binary())
            if plain
            else pyarrow.array([{"bytes": f, "path": None} for f in files])
        )
        columns = {"image": images, "width": list(range(count))}
        if labels:
            columns["label"] = [n % 2 for n in range(count)]
        table = pyarrow.table(columns)
        feature = {"names": ["cat", "dog"], "_type": "ClassLabel"}
        info = {"info": {"features": {"label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
        path.parent.mkdir(exist_ok=True)
        parquet.write_table(table, path, row_group_size=rows)

    return write


@pytest.mark.parametrize("plain", [False, True])
def test_parquet_as_hugging_face_publishes_it(write_parquet, plain, tmp_path):
    folder = tmp_path / "source"
    write_parquet(folder / "train-00000-of-00002.parquet", 0, 7, plain=plain)
    write_parquet(folder / "train-00001-of-00002.parquet", 7, 2, plain=plain)
    write_parquet(folder / "test-00000-of-00001.parquet", 9, 4, plain=plain)
    found, names = everything(prepare(folder, tmp_path / "set"))
    assert names == ("cat", "dog")
    for split, first, count in (("train", 0, 9), ("test", 9, 4)):
        images, _ = found[split]
        assert np.array_equal(images, [noise(first + n) for n in range(count)])
    assert found["train"][1].tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 1]


def test_damaged_parquet_is_refused(write_parquet, tmp_path, listed):
    path = tmp_path / "source" / "all.parquet"
    write_parquet(path, 0, 4)
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
    assert "damaged Parquet file" in refused(listed, path)


def test_parquet_without_labels_has_no_classes(write_parquet, tmp_path, listed):
    path = tmp_path / "source" / "all.parquet"
    write_parquet(path, 0, 4, labels=False)
    # Another column of numbers is taken for labels only if it is the only
    # one: it is.
    assert listed(path).class_names == ("0", "1", "2", "3")


def test_parquet_needs_pyarrow(tmp_path, listed, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert 'pip install "vae-trainer[parquet]"' in refused(
        listed, tmp_path / "a.parquet"
    )


def test_a_picture_of_any_mode_is_listed(tmp_path, listed):
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.tif")
    assert len(listed(tmp_path)) == 1
