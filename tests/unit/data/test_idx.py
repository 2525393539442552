import gzip
import tracemalloc
import zlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.tools.idx import idx_bytes, published, write_idx_folder
from trainer.data import idx
from trainer.errors import DataError, DataUnavailableError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
HTML = b"<!DOCTYPE html><title>Please log in</title>"


@pytest.fixture
def folder(tmp_path):
    write_idx_folder(tmp_path / "idx")
    return tmp_path / "idx"


@hypothesis.given(
    shape=st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
)
def test_idx_files_read_back_as_written(shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(
        idx.parse_idx(idx_bytes(array), IMAGES), array
    )


@hypothesis.settings(max_examples=300)
@hypothesis.given(content=st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(content):
    try:
        array = idx.parse_idx(idx.decompress(content, LABELS), LABELS)
    except DataError as error:
        assert LABELS in str(error)
    else:
        assert idx_bytes(array) in (content, gzip.decompress(content))


@hypothesis.given(cut=st.integers(0, 200), at=st.integers(0, 15))
def test_a_cut_or_flipped_idx_file_is_refused_or_whole(cut, at):
    content = idx_bytes(np.arange(200).reshape(2, 10, 10))
    with pytest.raises(DataError):
        idx.parse_idx(content[:cut], IMAGES)
    flipped = bytearray(content)
    flipped[at] ^= 0x10
    with pytest.raises(DataError):
        idx.parse_idx(bytes(flipped), IMAGES)


@pytest.mark.parametrize("compress", [True, False])
def test_raw_and_gzipped_folders_verify_alike(tmp_path, compress):
    md5 = write_idx_folder(tmp_path / "idx", compress=compress)
    data = idx.read_folder(tmp_path / "idx", "fashion_mnist", published(md5))
    assert data.train_images.shape == (6, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    assert data.test_labels.shape == (4,)
    assert data.md5 == md5


def test_an_idx_folder_needs_no_labels(folder):
    (folder / f"{LABELS}.gz").unlink()
    assert idx.read_folder(folder, "idx").train_labels is None


def spoil(name, change):
    def apply(folder):
        path = folder / f"{name}.gz"
        path.write_bytes(change(path.read_bytes()))

    return apply


BAD_FOLDERS = {
    "truncated gz": (
        spoil(IMAGES, lambda content: content[:-20]),
        f"{IMAGES}.gz is a damaged gzip file",
    ),
    "html": (
        spoil(IMAGES, lambda _: HTML),
        f"{IMAGES}.gz is a web page, not an IDX file",
    ),
    "not gzip": (
        spoil(LABELS, lambda _: b"hello"),
        f"{LABELS}.gz is not a gzip file",
    ),
    "empty file": (spoil(LABELS, lambda _: b""), "it is empty"),
    "wrong magic": (
        spoil(IMAGES, lambda c: gzip.compress(b"\1" + gzip.decompress(c)[1:])),
        f"{IMAGES}.gz is not an IDX file of 3 dimensions",
    ),
    "truncated values": (
        spoil(IMAGES, lambda c: gzip.compress(gzip.decompress(c)[:-1])),
        f"{IMAGES}.gz holds 383 bytes of values, but its header promises 384",
    ),
    "other counts": (
        spoil(LABELS, lambda _: gzip.compress(idx_bytes(np.zeros(5)))),
        f"{IMAGES} holds 6 images but {LABELS} holds 5 labels",
    ),
    "odd sides": (
        lambda folder: write_idx_folder(folder, side=10),
        "holds images of 10x10 pixels; both sides must be divisible by 4",
    ),
    "no images": (
        lambda folder: write_idx_folder(folder, train=0),
        f"{IMAGES} holds no images",
    ),
    "other test size": (
        spoil(
            "t10k-images-idx3-ubyte",
            lambda _: gzip.compress(idx_bytes(np.zeros((4, 4, 4)))),
        ),
        "training images are (8, 8) pixels but test images are (4, 4)",
    ),
    "missing file": (
        lambda folder: (folder / f"{IMAGES}.gz").unlink(),
        f"holds no {IMAGES} and no {IMAGES}.gz",
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_folder_is_refused_in_one_sentence(folder, case):
    change, message = BAD_FOLDERS[case]
    change(folder)
    with pytest.raises(DataError) as error:
        idx.read_folder(folder, "idx")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_checksum_is_refused(folder):
    md5 = write_idx_folder(folder)
    with pytest.raises(DataError, match=f"{IMAGES}.gz has the wrong checksum"):
        idx.read_folder(
            folder, "fashion_mnist", published({**md5, IMAGES: "0" * 32})
        )


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataUnavailableError, match="There is no folder"):
        idx.read_folder(tmp_path / "none", "idx")
    with pytest.raises(DataUnavailableError, match=f"holds no {IMAGES}"):
        idx.read_folder(tmp_path, "idx")


def zeros(count, header):
    """A gzip of a header and zeros, packed to a thousandth."""
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(header)
    block = bytes(1 << 20)
    for _ in range(count >> 20):
        packed += packer.compress(block)
    return packed + packer.flush()


def header(*shape):
    return idx_bytes(np.zeros((0,) * len(shape)))[:4] + b"".join(
        length.to_bytes(4, "big") for length in shape
    )


BOMBS = {
    "more than it promises": (
        header(6, 8, 8),
        "holds more than the 384 bytes of values that its header promises",
    ),
    "no header": (b"", "is not an IDX file of 3 dimensions"),
    "an honest header": (
        header(1 << 22, 32, 32),
        "would take 4,294,967,312 bytes of memory",
    ),
    "a header beyond all memory": (
        header(1 << 31, 1 << 31, 1 << 31),
        "bytes of memory, and 1,073,741,824 are plausible",
    ),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, case):
    start, message = BOMBS[case]
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(zeros(16 << 20, start))
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            idx.read_bytes(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message in str(error.value)
    assert peak < 4 << 20


def test_a_file_larger_than_the_memory_is_refused_unread(tmp_path):
    path = tmp_path / IMAGES
    with path.open("wb") as file:
        file.truncate(1 << 42)  # Sparse: it takes no space.
    with pytest.raises(DataError, match=r"would take 4,398,046,511,104 bytes"):
        idx.read_bytes(path)


def test_a_gzip_of_several_parts_is_read_whole(tmp_path):
    content = idx_bytes(np.arange(200).reshape(2, 10, 10))
    parts = gzip.compress(content[:50]) + gzip.compress(content[50:])
    assert idx.decompress(parts, IMAGES) == content
