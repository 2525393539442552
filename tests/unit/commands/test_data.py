"""`vae-data` as a user types it: prepare, show, verify; kills and buckets."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.tools.commands import run_command
from tests.tools.datasets import content_of, prepare
from tests.tools.idx import write_idx_folder
from tests.tools.images import write_classes
from tests.tools.project import ROOT
from trainer.commands import data
from trainer.data import manifest, records, shared_folder
from trainer.errors import ConfigError
from trainer.pictures.layout import parse

SHARD = "train/images-00000-of-00001.npy"
BUCKET = "gs://bucket/sets/photos"


@pytest.fixture
def source(tmp_path):
    return write_classes(tmp_path / "source", 6)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of 24 images; tests work on copies or only read it."""
    folder = tmp_path_factory.mktemp("data")
    return prepare(write_classes(folder / "source", 12), folder / "set")


def vae_data(*words, **variables):
    return run_command("vae-data", *words, **variables)


def prepare_words(source, target, *more):
    return "prepare", f"--from={source}", f"--to={target}", "--size=8", *more


def test_prepare_says_what_it_made(source, tmp_path):
    outcome = vae_data(
        *prepare_words(source, tmp_path / "set", "--processes=1")
    )
    assert (outcome.exit_code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"Looking at {source}"
    assert lines[1].startswith("Images: 8x8, colour, ")
    digest = records.open_dataset(tmp_path / "set").digest
    assert lines[-2:] == [f"Digest: {digest}", f"Dataset: {tmp_path / 'set'}"]
    again = vae_data(*prepare_words(source, tmp_path / "set", "--processes=1"))
    assert again.exit_code == 0 and "nothing was done" in again.out
    assert digest in again.out


def test_bad_images_end_with_1_or_are_left_out(source, tmp_path):
    (source / "cat" / "bad\n.png").write_text("<html>")
    refused = vae_data(*prepare_words(source, tmp_path / "set"))
    assert refused.exit_code == 1
    assert refused.err.startswith("ERROR: 1 of 13 images cannot be used")
    assert r"cat/bad\n.png: it is a web page" in refused.err
    assert not (tmp_path / "set").exists()
    skipped = vae_data(
        *prepare_words(source, tmp_path / "set", "--on_bad=skip")
    )
    assert skipped.exit_code == 0
    assert "left out: 1; dataset.json names them." in skipped.err


def test_files_that_are_no_images_are_said_to_be_left_out(source, tmp_path):
    (source / "cat" / "notes.txt").write_text("a cat")
    outcome = vae_data(*prepare_words(source, tmp_path / "set"))
    assert "no images are left out: 1 (cat/notes.txt)" in outcome.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["paint"], "'paint' is not one of prepare, show, verify"),
        (["prepare"], "--from is empty"),
        (["prepare", "--from=a"], "--to is empty"),
        (["prepare", "--from=gs://bucket/a", "--to=b"], "--from=gs://bucket/a"),
        (["prepare", "--from=a", "--to=s3://b"], "scheme s3:"),
        (["prepare", "--from=a", "--to=b", "--size=0"], "'0' is no size"),
        (["prepare", "--from=a", "--to=b", "--size=9999"], "is no size"),
        (["prepare", "--from=a", "--to=b", "--size=8x"], "is no size"),
        (["prepare", "--from=a", "--to=b", "--background=red"], "no colour"),
        (["prepare", "--from=a", "--to=b", "--test_share=1"], "no training"),
        (["prepare", "--from=a", "--to=b", "--test_share=nan"], "test_share"),
        (["prepare", "--from=a", "--to=b", "--test_share=.5",
          "--validation_share=.5"], "leave no training images"),
        (["prepare", "--from=a", "--to=b", "--channels=2"], "channels"),
        (["prepare", "--from=a", "--to=b", "--pixel_limit=0"], "least is 1"),
        (["prepare", "--from=a", "--to=b", "--epochs=3"], "epochs"),
        (["show"], "--data_dir is empty"),
        (["show", "--data_dir=a", "--output=b.jpg"], "does not end in .png"),
        (["verify", "--data_dir=a", "--output=b.png"], "output"),
    ],
)  # fmt: skip
def test_wrong_flags_end_with_2(words, said):
    outcome = vae_data(*words)
    assert outcome.exit_code == 2
    assert said in outcome.err


def test_help_has_the_flags_of_each_part_in_80_columns(capsys):
    for words in ([], ["--help"], ["show", "--help"]):
        assert data._parse(words) is None
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert "  --data_dir=DATASET" in lines
        assert ("  --from=SOURCE" in lines) == (words != ["show", "--help"])


def test_the_examples_of_the_help_are_taken(capsys):
    data._parse([])
    lines = capsys.readouterr().out.splitlines()
    examples = [line.split()[1:] for line in lines if "  vae-data " in line]
    assert len(examples) == 8
    assert all(data._parse(words) for words in examples)
    with pytest.raises(ConfigError):
        data._parse([*examples[0], "--size=none"])


# Show and verify.


def test_show_prints_what_is_there_and_draws_it(dataset, tmp_path):
    picture = tmp_path / "new" / "contact.png"
    outcome = vae_data("show", f"--data_dir={dataset}", f"--output={picture}")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "source: kind folder, name source" in outcome.out
    assert "cat " in outcome.out and "Digest: " in outcome.out
    with Image.open(picture) as image:
        pixels = np.asarray(image)
        layout = parse(image.text["Layout"], pixels.shape)
    assert (layout.rows, layout.columns, layout.scale) == (2, 10, 8)
    drawn = layout.images(pixels)[0, 0]
    with records.open_dataset(dataset) as opened:
        split = opened.splits["train"]
        (cats,) = np.nonzero(split.labels == 0)
        assert np.array_equal(drawn, split.read(cats[:1])[0])


def test_show_draws_images_without_classes(tmp_path):
    np.save(tmp_path / "a.npy", np.full((13, 8, 8), 9, np.uint8))
    prepare(tmp_path / "a.npy", tmp_path / "set", test_share=0)
    picture = tmp_path / "contact.png"
    words = f"--data_dir={tmp_path / 'set'}", f"--output={picture}"
    assert vae_data("show", *words).exit_code == 0
    with Image.open(picture) as image:
        pixels = np.asarray(image)[..., np.newaxis]
        images = parse(image.text["Layout"], pixels.shape).images(pixels)
    # The last seven of 20 places are empty.
    assert (images.reshape(20, -1) == [[9]] * 13 + [[255]] * 7).all()


def flip(folder):
    path = folder / SHARD
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    count = len(np.load(folder / "train" / "labels.npy"))
    return f"{SHARD}: its SHA-256 is another (records {count - 2})."


def cut(folder):
    path = folder / SHARD
    path.write_bytes(path.read_bytes()[:-200])
    count = len(np.load(folder / "train" / "labels.npy"))
    return (
        f"{SHARD}: its SHA-256 is another, and it is cut at record {count - 2}"
    )


def remove(folder):
    (folder / SHARD).unlink()
    return f"{SHARD}: it cannot be read (No such file or directory)."


def exchange(folder):
    np.save(folder / SHARD, np.zeros(9))
    return f"{SHARD}: its SHA-256 is another, and its header too."


def lengthen(folder):
    with (folder / SHARD).open("ab") as file:
        file.write(b"more")
    return f"{SHARD}: its SHA-256 is another, but each of its records is whole."


def spoil_checksums(folder):
    path = folder / "train" / "crc32c.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return "train/crc32c.npy: its SHA-256 is another."


@pytest.mark.parametrize(
    "damage", [flip, cut, remove, exchange, lengthen, spoil_checksums]
)
def test_verify_names_what_is_damaged(damage, dataset, tmp_path, source):
    folder = prepare(source, tmp_path / "set")
    whole = vae_data("verify", f"--data_dir={folder}")
    assert whole.exit_code == 0 and " are whole (" in whole.out
    said = damage(folder)
    outcome = vae_data("verify", f"--data_dir={folder}")
    assert outcome.exit_code == 1
    assert f"1 of 6 files of {folder} are damaged" in outcome.err
    assert said in outcome.err


@pytest.mark.parametrize("name", [SHARD, "train/labels.npy"])
def test_show_says_what_keeps_it_from_drawing(name, tmp_path, source):
    folder = prepare(source, tmp_path / "set")
    (folder / name).unlink()
    words = f"--data_dir={folder}", f"--output={tmp_path / 'contact.png'}"
    outcome = vae_data("show", *words)
    assert outcome.exit_code == 1
    assert f"ERROR: {folder}/{name}" in outcome.err
    assert not (tmp_path / "contact.png").exists()


def test_classes_without_images_have_no_row(tmp_path):
    arrays = {"images": np.zeros((6, 8, 8), np.uint8), "labels": [70] * 6}
    np.savez(tmp_path / "a.npz", **arrays)
    prepare(tmp_path / "a.npz", tmp_path / "set", test_share=0)
    picture = tmp_path / "contact.png"
    words = f"--data_dir={tmp_path / 'set'}", f"--output={picture}"
    outcome = vae_data("show", *words)
    assert outcome.exit_code == 0 and "and 51 classes more" in outcome.out
    with Image.open(picture) as image:
        layout = parse(image.text["Layout"], (image.height, image.width))
    assert layout.rows == 1


@pytest.mark.parametrize("part", ["show", "verify"])
def test_what_is_no_dataset_is_refused(part, tmp_path):
    outcome = vae_data(part, f"--data_dir={tmp_path}")
    assert outcome.exit_code == 1
    assert "holds no dataset.json" in outcome.err


# A bucket.


@pytest.fixture
def in_bucket(bucket, source, tmp_path, monkeypatch):
    """Words that prepare into a bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return prepare_words(source, BUCKET, "--processes=1")


def uploaded(bucket):
    return {
        name.removeprefix("sets/photos/"): content
        for name, content in bucket.objects().items()
    }


def test_a_dataset_in_a_bucket_is_that_of_a_folder(
    bucket, in_bucket, source, tmp_path
):
    outcome = vae_data(*in_bucket)
    assert outcome.exit_code == 0, outcome.err
    writes = [line for line in bucket.requests if line[0] == "POST"]
    vae_data(*prepare_words(source, tmp_path / "set", "--processes=1"))
    assert uploaded(bucket) == content_of(tmp_path / "set")
    assert content_of(tmp_path / "cache") == {}
    assert "name=sets/photos/dataset.json" in writes[-1][1]
    again = vae_data(*in_bucket)
    assert again.exit_code == 0 and "nothing was done" in again.out
    other = vae_data(*in_bucket, "--fit=pad")
    assert other.exit_code == 2 and "of other flags" in other.err
    assert content_of(tmp_path / "cache") == {}
    picture = tmp_path / "contact.png"
    words = f"--data_dir={BUCKET}", f"--output={picture}"
    assert vae_data("show", *words).exit_code == 0
    assert picture.exists()


def test_verify_reads_a_bucket(bucket, in_bucket):
    vae_data(*in_bucket)
    words = "verify", f"--data_dir={BUCKET}"
    whole = vae_data(*words)
    assert whole.exit_code == 0 and "are whole" in whole.out
    bucket.corrupt(f"sets/photos/{SHARD}")
    bucket.delete("sets/photos/train/labels.npy")
    content = bucket.objects()["sets/photos/train/crc32c.npy"]
    bucket.write("sets/photos/train/crc32c.npy", content[:-1] + b"x")
    damaged = vae_data(*words)
    assert damaged.exit_code == 1
    assert "3 of 6 files" in damaged.err
    assert "train/labels.npy: it is missing." in damaged.err
    assert "train/crc32c.npy: its SHA-256 is another." in damaged.err
    bucket.delete("sets/photos/dataset.json")
    assert "holds no dataset.json" in vae_data(*words).err


def test_an_upload_that_was_cut_goes_on(bucket, in_bucket, source, tmp_path):
    bucket.fail(403, times=1, match="test/labels")
    cut = vae_data(*in_bucket)
    assert cut.exit_code == 1
    assert "dataset.json" not in uploaded(bucket)
    outcome = vae_data(*in_bucket)
    assert outcome.exit_code == 0, outcome.err
    vae_data(*prepare_words(source, tmp_path / "set", "--processes=1"))
    assert uploaded(bucket) == content_of(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("thesis\n.tex", r"holds thesis\n.tex, which is no part of a"),
        (SHARD, f"holds {SHARD} of another dataset"),
        ("dataset.json", "dataset.json is not what vae-data writes"),
    ],
)
def test_nothing_in_a_bucket_is_written_over(name, said, bucket, in_bucket):
    bucket.write(f"sets/photos/{name}", b"years of work")
    outcome = vae_data(*in_bucket)
    assert outcome.exit_code in (1, 2)
    assert said in outcome.err
    assert uploaded(bucket)[name] == b"years of work"
    assert name == "dataset.json" or "dataset.json" not in uploaded(bucket)


# Kills.


def start(source, target, *more):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer.commands.data"),
            *prepare_words(source, target, "--size=256", *more),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Signals to its group are not for the tests.
        start_new_session=True,
    )


def wait_for_chunks(process, target, count):
    deadline = time.monotonic() + 100
    work = target / manifest.UNFINISHED
    while len(list(work.glob("chunk-????????"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children_of(process):
    path = f"/proc/{process.pid}/task/{process.pid}/children"
    return [
        pathlib.Path("/proc", pid)
        for pid in pathlib.Path(path).read_text().split()
    ]


def is_running(child):
    """Whether a process has not ended; its parent may not have noticed."""
    try:
        state = (child / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Images of which 21 make a chunk, and what they become."""
    folder = tmp_path_factory.mktemp("many")
    source = write_classes(folder / "source", 80, height=64, width=64)
    target = prepare(
        source,
        folder / "set",
        size=(256, 256),
        test_share=0.1,
        pixel_limit=100_000_000,
    )
    return source, content_of(target)


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_kill_loses_nothing(name, many, tmp_path):
    source, expected = many
    target = tmp_path / "set"
    process = start(source, target, "--processes=2")
    wait_for_chunks(process, target, 2)
    children = children_of(process)
    assert len(children) >= 2
    if name == "SIGKILL":
        process.kill()
    else:
        # As a terminal does, and Slurm: to all processes at once.
        os.killpg(process.pid, getattr(signal, name))
    sent = time.monotonic()
    out, err = process.communicate(timeout=100)
    if name == "SIGKILL":
        assert process.returncode == -signal.SIGKILL
    else:
        assert time.monotonic() - sent < 20
        assert process.returncode == 75
        assert err == (
            f"Interrupted by {name}: nothing was lost; run the same command "
            "again to go on.\n"
        )
    assert "Dataset:" not in out
    while any(map(is_running, children)):
        assert time.monotonic() - sent < 100
        time.sleep(0.01)
    process = start(source, target, "--processes=1")
    out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    assert content_of(target) == expected


def test_decoding_loads_no_tensorflow(many, tmp_path):
    script = (
        "import sys; from trainer.data.preparing import crew, run;"
        "print({'tensorflow', 'keras', 'matplotlib', 'google.cloud.storage'}"
        " & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "set()\n"


@pytest.fixture
def kept(tmp_path, dataset):
    """A cache of this machine: a dataset, IDX files, and one in part."""
    folder = tmp_path / "cache" / "vae-trainer"
    shutil.copytree(dataset, folder / "prepared" / "photos-1")
    write_idx_folder(tmp_path / "idx")
    shutil.copytree(tmp_path / "idx", folder / "data" / "bucket-2")
    (folder / "prepared" / "more-3" / "preparing").mkdir(parents=True)
    # Other things of the trainer, which are nobody's to remove.
    (folder / "jobs" / "bucket").mkdir(parents=True)
    return folder


def cache_command(kept, *words):
    outcome = vae_data("cache", *words, XDG_CACHE_HOME=str(kept.parent))
    assert (outcome.exit_code, outcome.err) == (0, "")
    return outcome.out.splitlines()


def test_cache_lists_what_is_kept_and_changes_nothing(kept):
    before = content_of(kept)
    lines = cache_command(kept)
    more, photos, fetched, total = lines
    assert re.match(r".*/more-3: 0 bytes, prepared in part \d{4}-", more)
    assert re.match(r".*/photos-1: [\d,]+ bytes, prepared \d{4}-", photos)
    assert photos.endswith(", 24 images of source")
    assert re.match(r".*/bucket-2: [\d,]+ bytes, fetched ", fetched)
    size = sum(map(len, before.values()))
    assert total == f"3 datasets are kept, {size:,} bytes."
    assert content_of(kept) == before


def test_cache_clear_removes_what_is_not_in_use(kept):
    with records.open_dataset(kept / "prepared" / "photos-1") as opened:
        lines = cache_command(kept, "--clear")
        assert lines[0].startswith("Removed ") and "more-3" in lines[0]
        assert lines[1].startswith("Left, since a process uses it: ")
        assert lines[3].startswith("1 dataset is kept, ")
        assert len(opened.splits["train"].read([0])) == 1
    left = {path.name for path in kept.glob("*/*")}
    assert left == {"photos-1", "bucket"}
    assert cache_command(kept, "--clear")[-1] == "0 datasets are kept, 0 bytes."
    assert [path.name for path in kept.glob("*/*")] == ["bucket"]
    assert cache_command(kept) == ["0 datasets are kept, 0 bytes."]


def test_cache_clear_leaves_what_is_being_prepared_or_fetched(
    kept, console, stop
):
    with (
        shared_folder.hold(kept / "prepared", console, stop),
        shared_folder.hold(kept / "data" / "bucket-2", console, stop),
    ):
        lines = cache_command(kept, "--clear")
    assert [line.split()[0] for line in lines[:3]] == ["Left,"] * 3
    assert lines[3].startswith("3 datasets are kept")


def test_what_a_killed_clear_left_is_removed_by_the_next(kept):
    folder = kept / "prepared"
    (folder / "photos-1").rename(folder / ".removed-photos-1")
    cache_command(kept, "--clear")
    assert not list(folder.iterdir())
