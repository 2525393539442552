"""The commands that draw, in this process, on a small job."""

import html.parser
import json
import shutil

import numpy as np
import pytest

from tests.tools.commands import run_command
from tests.tools.idx import write_idx_folder
from tests.tools.small_jobs import small_job
from trainer.gallery import charts
from trainer.job import train_and_evaluate


@pytest.fixture
def job_dir(finished_job, tmp_path):
    """A copy of a finished job."""
    return shutil.copytree(finished_job, tmp_path / "job")


class Outline(html.parser.HTMLParser):
    """Collects what a page holds, and checks that its tags nest."""

    VOID = ("meta", "img", "source")

    def __init__(self, text):
        super().__init__()
        self.text, self.images, self.addresses = "", [], []
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "img":
            self.images.append(attributes)
        self.addresses += [
            attributes[name]
            for name in ("src", "srcset", "href")
            if name in attributes
        ]
        assert tag != "script"
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_page_of_a_finished_job_holds_everything(job_dir):
    assert run_command("vae-gallery", f"--job_dir={job_dir}") == (
        0,
        f"Gallery of step 20: {job_dir}/gallery.html\n",
        "",
    )
    text = (job_dir / "gallery.html").read_text()
    page = Outline(text)
    assert "8 latent units, after 2 epochs (20 steps)" in page.text
    assert "not finished" not in page.text
    metrics = json.loads((job_dir / "finished.json").read_text())
    assert f"{metrics['test_metrics']['total_loss']:.6g}" in page.text
    for title in ("Losses", "Reconstructions", "Manifold", "Ankle boot"):
        assert title in page.text
    assert "KL divergence of each latent unit" not in page.text
    # 3 charts, 4 pictures, a row for each class and for each unit.
    assert len(page.images) == 3 + 4 + 10 + 8
    assert all(image["alt"] for image in page.images)
    assert all(address.startswith("data:") for address in page.addresses)
    assert "url(" not in text
    assert "@import" not in text
    assert run_command("vae-gallery", f"--job_dir={job_dir}")[0] == 0
    assert (job_dir / "gallery.html").read_text() == text


def test_a_page_of_a_job_in_between_says_so(job_dir):
    (job_dir / "finished.json").unlink()
    code, _, err = run_command(
        "vae-gallery", f"--job_dir={job_dir}", "--checkpoint=10"
    )
    assert (code, err) == (0, "")
    page = Outline((job_dir / "gallery.html").read_text())
    assert "not finished: the checkpoint is of step 10 of 20" in page.text
    assert "Test set, step 10, epoch 1" in page.text


def test_a_page_names_the_split_that_a_job_was_watched_on(tmp_path):
    train_and_evaluate(
        small_job(
            job_dir=str(tmp_path),
            reconstruction_loss="bce",
            binarize="dynamic",
            max_steps=2,
        )
    )
    assert run_command("vae-gallery", f"--job_dir={tmp_path}")[0] == 0
    page = Outline((tmp_path / "gallery.html").read_text())
    assert "Validation set, step 2, epoch 1" in page.text
    assert len(page.images) == 3 + 4 + 10 + 8


def test_a_page_of_a_job_without_rows_has_what_there_is(job_dir):
    (job_dir / "metrics.jsonl").write_text("")
    assert run_command("vae-gallery", f"--job_dir={job_dir}")[0] == 0
    page = Outline((job_dir / "gallery.html").read_text())
    assert "Losses" not in page.text
    assert len(page.images) == 4 + 10 + 8


def test_what_files_say_is_text_and_nothing_more(finished_job, tmp_path):
    hostile = "<script>alert(1)</script>&\"'"
    job_dir = shutil.copytree(finished_job, tmp_path / '<img src=x>&"$title')
    record = json.loads((job_dir / "config.json").read_text())
    record["config"]["data_url"] = record["sessions"][0]["host"] = hostile
    (job_dir / "config.json").write_text(json.dumps(record))
    (job_dir / "evaluation.json").write_text(
        json.dumps(
            {
                hostile: hostile,
                "elbo": -1234.5678,
                "probe": {"accuracy": 0.75},
                "kl_of_units": [2.5] + [0.0] * 7,
                "linear_probe": None,
                "no numbers": [hostile],
            }
        )
    )
    code, _, err = run_command("vae-gallery", f"--job_dir={job_dir}")
    assert (code, err) == (0, "")
    page = Outline((job_dir / "gallery.html").read_text())
    assert page.text.count(hostile) == 4
    assert str(job_dir) in page.text
    assert not any(image["src"] == "x" for image in page.images)
    assert "-1,234.57" in page.text
    assert "probe accuracy" in page.text
    assert "KL divergence of each latent unit" in page.text


@pytest.mark.parametrize("content", ["{half", "[1, 2]"])
def test_an_evaluation_that_cannot_be_read_is_left_out(job_dir, content):
    (job_dir / "evaluation.json").write_text(content)
    code, _, err = run_command("vae-gallery", f"--job_dir={job_dir}")
    assert code == 0
    assert err.startswith("WARNING: ")
    assert err.endswith("and is left out.\n")


@pytest.mark.parametrize(
    ("command", "flag", "code", "message"),
    [
        ("vae-gallery", "--checkpoint=33", 1, "it has those of steps 10, 20"),
        ("vae-gallery", "--rows=3", 2, "Unknown command line flag 'rows'"),
        ("vae-generate", "--format=gif", 2, "value should be one of <png|npy>"),
        ("vae-generate", "--rows=0", 2, "the least is 1"),
    ],
)
def test_a_bad_flag_is_one_sentence(finished_job, command, flag, code, message):
    found, _, err = run_command(command, f"--job_dir={finished_job}", flag)
    assert found == code
    assert message in err
    assert err.count("\n") == 1


def test_arrays_hold_the_images_by_row_and_column(job_dir, tmp_path):
    code, _, err = run_command(
        "vae-generate",
        f"--job_dir={job_dir}",
        "--format=npy",
        "--rows=3",
        f"--output={tmp_path / 'arrays'}",
    )
    assert (code, err) == (0, "")
    arrays = {
        path.stem: np.load(path, allow_pickle=False)
        for path in (tmp_path / "arrays").iterdir()
    }
    assert {name: array.shape for name, array in arrays.items()} == {
        "generated": (3, 3, 28, 28),
        "manifold": (3, 3, 28, 28),
        "reconstructions": (2, 10, 28, 28),
        "interpolations": (10, 10, 28, 28),
        "traversals": (8, 10, 28, 28),
        "classes": (10, 10, 28, 28),
    }
    assert all(array.dtype == np.uint8 for array in arrays.values())


def test_what_cannot_be_drawn_is_said(tmp_path):
    write_idx_folder(tmp_path / "idx", train=64, test=10)
    for path in (tmp_path / "idx").glob("*labels*"):
        path.unlink()
    job_dir = tmp_path / "job"
    train_and_evaluate(
        small_job(
            job_dir=str(job_dir),
            dataset="idx",
            data_dir=str(tmp_path / "idx"),
            train_examples=0,
            test_examples=0,
            latent_dim=1,
            max_steps=2,
        )
    )
    code, out, err = run_command(
        "vae-generate", f"--job_dir={job_dir}", "--rows=2"
    )
    assert (code, err) == (0, "")
    assert "No manifold: one latent unit spans no plane." in out
    assert "No classes: idx has no test labels." in out
    assert run_command("vae-gallery", f"--job_dir={job_dir}")[0] == 0
    page = Outline((job_dir / "gallery.html").read_text())
    assert "No manifold: one latent unit spans no plane." in page.text


def test_a_chart_shows_all_from_the_first_evaluation_on():
    rows = [
        {"split": "train", "step": 1, "kl_loss": 1e6},
        {"split": "test", "step": 2, "kl_loss": 5.0},
        {"split": "train", "step": 3, "kl_loss": 9.0},
        {"split": "test", "step": 4, "kl_loss": 1.0},
    ]
    least, most = charts.limits(rows, "kl_loss")
    assert 0 < least < 1
    assert 9 < most < 11
