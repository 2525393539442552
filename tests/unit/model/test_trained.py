"""Commands judge a model by the data that it was trained on, or not at all."""

import gzip
import hashlib
import json
import shutil

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.tools.commands import run_command
from tests.tools.idx import (
    idx_bytes,
    known_as,
    published,
    write_idx_folder,
)
from tests.tools.small_jobs import small_job
from trainer.data import idx, sources
from trainer.errors import ConfigError, DataError
from trainer.job import train_and_evaluate
from trainer.job_dir.open import JobDir
from trainer.named_datasets import NAMED

NAMES = tuple(NAMED["fashion_mnist"].files)
TRAIN, TRAIN_LABELS, TEST, TEST_LABELS = NAMES
COMMANDS = ("vae-evaluate", "vae-generate", "vae-gallery")


def rewrite(name, change):
    """Changes the array in an IDX file."""

    def apply(folder):
        path = folder / name
        array = idx.parse_idx(path.read_bytes(), path)
        path.write_bytes(idx_bytes(change(array.copy())))

    return apply


def write_ten_classes(folder):
    write_idx_folder(folder, train=64, test=10, side=8, compress=False)
    for name in (TRAIN_LABELS, TEST_LABELS):
        rewrite(name, lambda labels: labels % 10)(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished job beside its data; tests work on copies of both."""
    root = tmp_path_factory.mktemp("trained")
    write_ten_classes(root / "idx")
    train_and_evaluate(
        small_job(
            job_dir=str(root / "job"),
            dataset="idx",
            data_dir=str(root / "idx"),
            train_examples=60,
            test_examples=9,
            epochs=1,
            latent_dim=2,
        )
    )
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A folder with a `job` of its own and the `idx` folder of its data."""
    root = shutil.copytree(finished, tmp_path / "root")
    path = root / "job" / "config.json"
    text = path.read_text().replace(str(finished), str(root))
    path.write_text(text)
    return root


def config_of(root, **settings):
    return small_job(
        **{
            "job_dir": str(root / "job"),
            "dataset": "idx",
            "data_dir": str(root / "idx"),
            "train_examples": 60,
            "test_examples": 9,
            "latent_dim": 2,
            **settings,
        }
    )


def content_of(root):
    return {
        path: path.read_bytes()
        for path in (root / "job").rglob("*")
        if path.is_file() and path.name != "claim.lock"
    }


def one_more(array):
    array.flat[-1] += 1
    return array


def with_sides(side):
    def apply(folder):
        write_idx_folder(folder, train=64, test=10, side=side, compress=False)

    return apply


def fewer(folder):
    write_idx_folder(folder, train=30, test=5, side=8, compress=False)


def exchange(folder):
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        train, test = (
            folder / f"{split}-{kind}" for split in ("train", "t10k")
        )
        train.rename(folder / "aside")
        test.rename(train)
        (folder / "aside").rename(test)


# What is done to the folder, and what the message names.
CHANGES = {
    "a pixel": (rewrite(TRAIN, one_more), TRAIN),
    "a pixel of the test set": (rewrite(TEST, one_more), TEST),
    "a label": (rewrite(TRAIN_LABELS, one_more), TRAIN_LABELS),
    "a test label": (rewrite(TEST_LABELS, one_more), TEST_LABELS),
    "another order": (rewrite(TRAIN, lambda array: array[::-1]), TRAIN),
    "no labels": (lambda folder: (folder / TRAIN_LABELS).unlink(), "missing"),
    "larger images": (
        with_sides(12),
        "image_shape [12, 12, 1] (was [8, 8, 1])",
    ),
    "smaller images": (with_sides(4), "image_shape [4, 4, 1] (was [8, 8, 1])"),
    "fewer images": (fewer, "train_examples 30 (was 60)"),
    "the splits exchanged": (exchange, "train_examples 10 (was 60)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_is_not_judged_by_other_data(root, change):
    apply, message = CHANGES[change]
    apply(root / "idx")
    before = content_of(root)
    for command in COMMANDS:
        code, out, err = run_command(command, f"--job_dir={root / 'job'}")
        assert (code, out) == (1, "")
        assert message in err
        assert err.startswith(
            f"ERROR: {root / 'job'} was trained on other data"
        )
        assert "(was " in err
        assert err.count("\n") == 1
    assert content_of(root) == before


@pytest.mark.parametrize("change", CHANGES)
def test_training_does_not_go_on_with_other_data(root, change):
    apply, message = CHANGES[change]
    apply(root / "idx")
    before = content_of(root)
    with pytest.raises(ConfigError) as error:
        train_and_evaluate(config_of(root, epochs=2))
    assert message in str(error.value)
    assert "other data or settings that change the result" in str(error.value)
    assert content_of(root) == before


def test_the_same_data_in_other_files_is_the_same(root):
    for name in NAMES:
        path = root / "idx" / name
        path.with_name(f"{name}.gz").write_bytes(
            gzip.compress(path.read_bytes())
        )
        path.unlink()
    for command, flags in {
        "vae-evaluate": ("--importance_samples=0",),
        "vae-generate": ("--rows=2",),
        "vae-gallery": (),
    }.items():
        job_dir = f"--job_dir={root / 'job'}"
        code, _, err = run_command(command, job_dir, *flags)
        assert (code, err) == (0, "")


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    name=st.sampled_from(NAMES), at=st.integers(0), flip=st.integers(1, 255)
)
def test_no_byte_of_the_data_changes_unnoticed(
    finished, tmp_path_factory, name, at, flip
):
    folder = tmp_path_factory.mktemp("idx")
    shutil.copytree(finished / "idx", folder, dirs_exist_ok=True)
    job = JobDir(finished / "job")
    content = bytearray((folder / name).read_bytes())
    content[at % len(content)] ^= flip
    (folder / name).write_bytes(content)
    with pytest.raises(DataError):
        job.check_data(idx.read_folder(folder, "idx"))


@pytest.mark.parametrize(
    "forgotten", ["train_examples", "test_examples", "image_shape", "md5"]
)
def test_what_an_older_record_does_not_say_is_no_difference(
    root, console, stop, forgotten
):
    path = root / "job" / "config.json"
    record = json.loads(path.read_text())
    del record["data"][forgotten]
    path.write_text(json.dumps(record))
    job = JobDir(root / "job")
    config = config_of(root)
    job.check_data(sources.load(config, console, stop, recorded_name="idx"))
    fewer(root / "idx")
    data = sources.load(config, console, stop, recorded_name="idx")
    with pytest.raises(DataError):
        job.check_data(data)


def test_drawn_images_are_compared_too(tmp_path):
    job_dir = tmp_path / "job"
    train_and_evaluate(small_job(job_dir=str(job_dir), max_steps=1))
    words = ("vae-generate", f"--job_dir={job_dir}", "--rows=2")
    assert run_command(*words).exit_code == 0
    record = json.loads((job_dir / "config.json").read_text())
    # As if another version of NumPy had drawn them.
    record["data"]["md5"][TEST] = hashlib.md5(b"").hexdigest()
    (job_dir / "config.json").write_text(json.dumps(record))
    code, _, err = run_command(*words)
    assert code == 1
    assert f"MD5 of {TEST}" in err


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A small folder that counts as Fashion-MNIST, and no network."""
    write_ten_classes(tmp_path / "real")
    md5 = idx.read_folder(tmp_path / "real", "fashion_mnist").md5
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with known_as("fashion_mnist", files=published(md5)):
        yield tmp_path / "real"


def fallback_job(tmp_path, **settings):
    """The config of a job as `make train` starts it."""
    return small_job(
        **{
            "job_dir": str(tmp_path / "job"),
            "dataset": "fashion_mnist",
            "dataset_fallback": "synthetic",
            "data_url": "http://127.0.0.1:9",
            "train_examples": 64,
            "test_examples": 10,
            "latent_dim": 2,
            "max_steps": 1,
            **settings,
        }
    )


def test_a_wrong_folder_trains_nothing_and_leaves_nothing(real, tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        train_and_evaluate(
            fallback_job(tmp_path, data_dir=str(tmp_path / "typo"))
        )
    assert not (tmp_path / "job").exists()
    train_and_evaluate(fallback_job(tmp_path, data_dir=str(real)))
    record = JobDir(tmp_path / "job").record()
    assert record["data"]["name"] == "fashion_mnist"


def test_a_job_on_drawn_images_does_not_take_a_folder_for_them(real, tmp_path):
    drawn = fallback_job(tmp_path)
    train_and_evaluate(drawn)
    before = content_of(tmp_path)
    for folder in (real, tmp_path / "typo"):
        for max_steps in (1, 2):
            with pytest.raises(ConfigError) as error:
                train_and_evaluate(
                    fallback_job(
                        tmp_path, data_dir=str(folder), max_steps=max_steps
                    )
                )
            assert f"--data_dir={folder} was given" in str(error.value)
            assert "give another --job_dir" in str(error.value)
    assert content_of(tmp_path) == before
    # Without it the job goes on as it began.
    result = train_and_evaluate(fallback_job(tmp_path, max_steps=2))
    assert result.step == 2
    assert JobDir(drawn.job_dir).record()["data"]["name"] == "synthetic"


def test_a_job_on_real_images_never_falls_back(real, tmp_path):
    train_and_evaluate(fallback_job(tmp_path, data_dir=str(real)))
    before = content_of(tmp_path)
    for settings in ({}, {"data_dir": str(tmp_path / "typo")}):
        with pytest.raises(DataError):
            train_and_evaluate(fallback_job(tmp_path, max_steps=2, **settings))
    assert content_of(tmp_path) == before


def test_a_worker_with_a_folder_refuses_a_chief_on_drawn_images(real):
    config = small_job(dataset="fashion_mnist", data_dir=str(real))
    with pytest.raises(ConfigError, match="trains on synthetic images"):
        sources.check_folder(config, "synthetic")
    sources.check_folder(config, "fashion_mnist")
    sources.check_folder(small_job(dataset="fashion_mnist"), "synthetic")
