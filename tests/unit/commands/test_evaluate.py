import json
import math
import sys

import numpy as np
import pytest

import trainer
from tests.tools.commands import run_command
from tests.tools.datasets import prepare
from tests.tools.idx import write_idx_folder
from tests.tools.images import noise
from tests.tools.small_jobs import small_job, train_only
from trainer import evaluation
from trainer.commands import evaluate
from trainer.data import images as images_lib, prepared
from trainer.data.order import binary_images
from trainer.evaluation import report
from trainer.model import likelihoods
from trainer.model.trained import Trained


@pytest.fixture(scope="module")
def job_dir(tmp_path_factory):
    """A trained job; tests write nothing but its evaluation.json."""
    job_dir = tmp_path_factory.mktemp("evaluate") / "job"
    train_only(small_job(job_dir=str(job_dir), beta=0.5))
    return job_dir


def command(job_dir, *flags):
    return run_command("vae-evaluate", f"--job_dir={job_dir}", *flags)


def evaluation_of(job_dir):
    return json.loads((job_dir / "evaluation.json").read_text())


def test_the_evaluation_is_recorded(job_dir):
    code, _, err = command(
        job_dir, "--importance_samples=20", "--importance_repeats=2"
    )
    assert (code, err) == (0, "")
    found = evaluation_of(job_dir)
    assert (found["step"], found["checkpoint"]) == (20, "last")
    assert found["data"] == {
        "name": "synthetic",
        "train_examples": 320,
        "test_examples": 50,
    }
    metrics = found["metrics"]
    assert metrics["total_loss"] == pytest.approx(
        metrics["reconstruction_loss"] + 0.5 * metrics["kl_loss"]
    )
    # A density, with the whole KL whatever beta is.
    assert found["elbo"] == pytest.approx(
        -metrics["reconstruction_loss"]
        - metrics["kl_loss"]
        - 0.5 * 784 * math.log(math.pi)
    )
    assert found["likelihood"] == "log-density of pixels from 0 to 1"
    assert len(found["kl_of_units"]) == 8
    assert sum(found["kl_of_units"]) == pytest.approx(metrics["kl_loss"])
    estimate = found["log_likelihood"]
    assert (estimate["samples"], estimate["repeats"]) == (20, 2)
    assert estimate["mean"] > found["elbo"]
    assert 0 < estimate["error_of_repeats"] < estimate["error_of_images"]
    for name in ("linear_probe", "nearest_neighbors"):
        # Of ten classes; the drawn clothes are easy to tell apart.
        assert 0.3 < found[name]["accuracy"] <= 1
    assert found["nearest_neighbors"]["neighbors"] == 10
    assert found["versions"]["vae-trainer"] == trainer.__version__


def test_two_evaluations_are_the_same_file(job_dir):
    contents = []
    for _ in range(2):
        assert command(job_dir, "--importance_samples=3")[0] == 0
        contents.append((job_dir / "evaluation.json").read_bytes())
    assert contents[0] == contents[1]


def test_an_older_checkpoint_takes_the_place(job_dir):
    code, out, _ = command(job_dir, "--checkpoint=10", "--importance_samples=0")
    assert code == 0
    assert f"Step 10 of {job_dir}, 50 test images of synthetic" in out
    found = evaluation_of(job_dir)
    assert (found["step"], found["checkpoint"]) == (10, "10")
    assert found["log_likelihood"] is None
    assert "log p(x), K" not in out


def test_the_table_has_a_line_for_each_figure(job_dir):
    code, out, _ = command(
        job_dir, "--importance_samples=4", "--importance_repeats=2"
    )
    assert code == 0
    fitting, first, *rows, last = out.splitlines()
    assert fitting.startswith("Fitting")
    assert first.startswith(f"Step 20 of {job_dir}, 50 test images")
    assert last.startswith(f"The same in {job_dir}/evaluation.json")
    assert [row[2:].split("  ")[0] for row in rows] == [
        "total_loss",
        "reconstruction_loss",
        "kl_loss",
        "ELBO",
        "log p(x), K = 4",
        "active_units",
        "active_directions",
        "dead in encoder_conv_1",
        "dead in encoder_conv_2",
        "dead in encoder_dense",
        "KL of 8 units",
        "linear probe",
        "10 nearest neighbors",
    ]
    found = evaluation_of(job_dir)
    estimate = found["log_likelihood"]
    assert (
        f"{estimate['mean']:.4f} ± {estimate['error_of_images']:.4f}" in rows[4]
    )
    assert f"R = 2, ± {estimate['error_of_repeats']:.4f}" in rows[4]
    assert f"{found['elbo']:.4f} ± {found['elbo_error']:.4f}" in rows[3]
    # The explanations begin in one column.
    explanations = "reconstruction_loss + 0.5", "lower bound", "accuracy of"
    assert (
        len(
            {
                rows[i].index(t)
                for i, t in zip((0, 3, 11), explanations, strict=True)
            }
        )
        == 1
    )


def test_data_without_labels_has_no_accuracies(tmp_path):
    write_idx_folder(tmp_path / "idx", train=64, test=10)
    for path in (tmp_path / "idx").glob("*labels*"):
        path.unlink()
    job_dir = tmp_path / "job"
    train_only(
        small_job(
            job_dir=str(job_dir),
            dataset="idx",
            data_dir=str(tmp_path / "idx"),
            train_examples=0,
            test_examples=0,
            reconstruction_loss="bce",
            max_steps=2,
        )
    )
    code, out, err = command(job_dir, "--importance_samples=2")
    assert (code, err) == (0, "")
    assert "The data has no labels: no accuracies." in out
    found = evaluation_of(job_dir)
    assert found["linear_probe"] is None
    assert found["nearest_neighbors"] is None
    assert found["likelihood"].startswith("cross-entropy of grey pixels")
    assert found["elbo"] == pytest.approx(
        -found["metrics"]["reconstruction_loss"] - found["metrics"]["kl_loss"]
    )


@pytest.mark.parametrize(
    ("flag", "least"),
    [
        ("--importance_samples=-1", 0),
        ("--importance_repeats=0", 1),
    ],
)
def test_flags_that_are_too_small_are_refused(tmp_path, flag, least):
    code, out, err = command(tmp_path, flag)
    assert (code, out) == (2, "")
    assert err == f"ERROR: {flag} is too small; the least is {least}.\n"


@pytest.mark.parametrize(
    ("given", "repeats"),
    [
        (("--importance_samples=1000",), 3),
        (("--importance_samples=1001",), 1),
        (("--importance_samples=1001", "--importance_repeats=3"), 3),
    ],
)
def test_many_samples_are_not_drawn_three_times(given, repeats):
    assert evaluate._repeats(evaluate._parse([*given])) == repeats


def test_black_and_white_pixels_have_a_probability():
    images = np.array([0, 255, 255, 0], np.uint8)
    assert report._kind(likelihoods.find("bce"), images) == "log-probability"


@pytest.mark.parametrize(
    ("settings", "likelihood"),
    [
        (
            {"reconstruction_loss": "bce", "binarize": "dynamic"},
            "log-probability",
        ),
        (
            {"reconstruction_loss": "gaussian"},
            "log-density of pixels from 0 to 1",
        ),
        (
            {
                "reconstruction_loss": "gaussian",
                "prior": "vamp",
                "prior_components": 9,
            },
            "log-density of pixels from 0 to 1",
        ),
    ],
)
def test_other_likelihoods_are_evaluated_as_what_they_are(
    tmp_path, settings, likelihood
):
    train_only(small_job(job_dir=str(tmp_path), max_steps=2, **settings))
    code, out, err = command(
        tmp_path, "--importance_samples=1", "--importance_repeats=20"
    )
    assert (code, err) == (0, "")
    found = evaluation_of(tmp_path)
    assert found["likelihood"] == likelihood
    # A mixture gives the units no KL of their own, and the table says so.
    estimated = "prior" in settings
    assert (found["kl_of_units"] is None) is estimated
    assert ("estimate from one sample of z an image" in out) is estimated
    assert ("KL of 8 units" in out) is not estimated
    assert found["data"]["test_examples"] == 50
    losses = found["metrics"]
    bound = losses["reconstruction_loss"] + losses["kl_loss"]
    assert found["elbo"] == pytest.approx(-bound, rel=1e-12)
    # With one sample it is the same figure, of other noise.
    estimate = found["log_likelihood"]
    assert abs(estimate["mean"] - found["elbo"]) < 0.02 * abs(found["elbo"])
    assert found["data"]["train_examples"] == (
        267 if "binarize" in settings else 320
    )


def test_a_test_image_that_is_damaged_on_the_disk_is_a_sentence(
    job_dir, tmp_path, monkeypatch
):
    arrays = {"x_train": np.zeros((9, 28, 28), np.uint8)}
    np.savez(tmp_path / "a.npz", **arrays, x_test=arrays["x_train"])
    folder = prepare(tmp_path / "a.npz", tmp_path / "set", size=(28, 28))
    path = folder / "test" / "images-00000-of-00001.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(images_lib, "memory_bytes", lambda: 0)
    data = prepared.read(folder)
    monkeypatch.setattr(Trained, "data", lambda *_: data)
    code, _, err = command(job_dir, "--importance_samples=0")
    assert code == 1
    assert err.startswith(f"ERROR: {path} is damaged at record 8 (image 8")
    assert err.count("\n") == 1


def test_binary_images_are_drawn_one_by_one_as_all_at_once():
    grey = noise(0, 30 * 8, 8).reshape(30, 8, 8, 3)
    drawn = report._DrawnImages(grey, seed=3)
    found = np.concatenate(
        [drawn[start : start + 7] for start in range(0, 30, 7)]
    )
    expected = binary_images(grey, 3, 0, 0).numpy()
    np.testing.assert_array_equal(found, expected)
    assert len(drawn) == 30


def test_without_scikit_learn_there_are_no_accuracies(job_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    monkeypatch.delitem(sys.modules, "trainer.evaluation.probes", raising=False)
    monkeypatch.delattr(evaluation, "probes", raising=False)
    code, out, err = command(job_dir, "--importance_samples=0")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == (
        "No accuracies: scikit-learn is not installed; install it with "
        '`pip install "vae-trainer[probes]"`.'
    )
    found = evaluation_of(job_dir)
    assert found["linear_probe"] is found["nearest_neighbors"] is None
    assert found["metrics"]["active_units"] >= 0
    assert "probe" not in "".join(out.splitlines()[1:])


def test_a_model_in_bfloat16_has_accuracies_too(tmp_path):
    job_dir = tmp_path / "job"
    train_only(
        small_job(job_dir=str(job_dir), mixed_precision="bfloat16", max_steps=2)
    )
    code, _, err = command(job_dir, "--importance_samples=0")
    assert (code, err) == (0, "")
    assert 0 <= evaluation_of(job_dir)["nearest_neighbors"]["accuracy"] <= 1
