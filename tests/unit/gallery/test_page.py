"""The commands that draw, in this process, on a small job."""

import dataclasses
import io
import json
import re
import shutil

import jinja2
import numpy as np
import pytest

from tests.tools.commands import run_command
from tests.tools.html_outline import HOSTILE, Outline
from tests.tools.idx import write_idx_folder
from tests.tools.small_jobs import small_job
from trainer.commands import generate
from trainer.config import TrainConfig
from trainer.data import synthetic
from trainer.gallery import page as page_lib, units
from trainer.job import train_and_evaluate
from trainer.model.trained import Trained
from trainer.pictures.album import Album
from trainer.pictures.sheet import Sheet


@pytest.fixture
def job_dir(finished_job, tmp_path):
    """A copy of a finished job."""
    return shutil.copytree(finished_job, tmp_path / "job")


def test_a_page_of_a_finished_job_holds_everything(job_dir):
    assert run_command("vae-gallery", f"--job_dir={job_dir}") == (
        0,
        f"Gallery of step 20: {job_dir}/gallery.html\n",
        "",
    )
    text = (job_dir / "gallery.html").read_text()
    page = Outline(text)
    assert (
        "A variational autoencoder (notebook) with 8 latent units, after 2 "
        "epochs (20 steps)"
    ) in page.text
    assert "28 x 28 x 1" in page.text
    assert "Active directions" in page.text
    assert "Model\nname" in re.sub(r"\s*\n\s*", "\n", page.text)
    assert "not finished" not in page.text
    assert "Where the time went" in page.text
    assert "Session 1, steps 0 to 20" in page.text
    assert re.search(r"finished after [\d.]+ s: .*steps that count", page.text)
    metrics = json.loads((job_dir / "finished.json").read_text())
    assert f"{metrics['test_metrics']['total_loss']:.6g}" in page.text
    assert "squared error, summed over the values of an image" in page.text
    assert "squared error + KL" in page.text
    assert "below 0" not in page.text
    for title in (
        "Losses",
        "Latent map",
        "Reconstructions",
        "Manifold",
        "Ankle boot",
    ):
        assert title in page.text
    assert "KL divergence of each latent unit" not in page.text
    # 3 charts and the latent map, 4 pictures, a row for each class and unit.
    assert len(page.images) == 4 + 4 + 10 + 8
    assert all(image["alt"] for image in page.images)
    assert all(address.startswith("data:") for address in page.addresses)
    assert "url(" not in text
    assert "@import" not in text
    assert run_command("vae-gallery", f"--job_dir={job_dir}")[0] == 0
    assert (job_dir / "gallery.html").read_text() == text


def test_charts_mark_where_a_job_was_started_again(job_dir):
    path = job_dir / "goodput.json"
    content = json.loads(path.read_text())
    again = content["sessions"][0] | {"number": 2, "first_step": 10}
    content["sessions"].append(again)
    path.write_text(json.dumps(content))
    assert run_command("vae-gallery", f"--job_dir={job_dir}")[0] == 0
    page = Outline((job_dir / "gallery.html").read_text())
    assert "started again, and went on from step 10." in page.text


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
    assert page.text.count("nats an image") == 3
    assert "below 0" not in page.text
    assert len(page.images) == 4 + 4 + 10 + 8


def test_a_loss_that_may_be_negative_has_its_unit_and_why(tmp_path):
    train_and_evaluate(
        small_job(
            job_dir=str(tmp_path), reconstruction_loss="gaussian", max_steps=2
        )
    )
    for command in ("vae-gallery", "vae-export"):
        assert run_command(command, f"--job_dir={tmp_path}")[0] == 0
    page = Outline((tmp_path / "gallery.html").read_text())
    assert page.text.count("nats an image") == 3
    assert "A loss below 0 is no fault" in page.text
    card = (tmp_path / "export" / "README.md").read_text()
    assert "in nats an image:" in card
    assert "A loss below 0 is no fault" in card


def test_a_weight_of_the_kl_is_in_the_unit_of_the_loss():
    config = TrainConfig(beta=0.5)
    assert units.of_losses(config)[0] == "squared error + 0.5 x KL"


def test_a_page_of_a_job_without_rows_has_what_there_is(job_dir):
    (job_dir / "metrics.jsonl").write_text("")
    assert run_command("vae-gallery", f"--job_dir={job_dir}")[0] == 0
    page = Outline((job_dir / "gallery.html").read_text())
    assert "Losses" not in page.text
    assert len(page.images) == 1 + 4 + 10 + 8


@pytest.fixture
def page_where_all_is(finished_job, tmp_path, monkeypatch):
    """Renders a page on which a value comes from wherever one can come from."""

    def page(value):
        job_dir = shutil.copytree(finished_job, tmp_path / "jobs" / value)
        path = job_dir / "config.json"
        record = json.loads(path.read_text())
        record["config"]["data_url"] = value
        record["versions"]["numpy"] = value
        record["sessions"][0]["host"] = value
        path.write_text(json.dumps(record))
        path = job_dir / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if row["split"] == "test":
                row |= {"split": value, value: value}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (job_dir / "evaluation.json").write_text(
            json.dumps({value: value, "a": {value: {value: value}}})
        )
        data = Trained.data
        with monkeypatch.context() as patch:
            patch.setattr(synthetic, "CLASS_NAMES", (value,) * 10)
            patch.setattr(
                Trained,
                "data",
                lambda *args: dataclasses.replace(data(*args), name=value),
            )
            code, _, err = run_command("vae-gallery", f"--job_dir={job_dir}")
        assert (code, err) == (0, ""), err
        return Outline((job_dir / "gallery.html").read_text())

    return page


def test_whatever_a_page_is_told_is_text_and_nothing_more(page_where_all_is):
    plain, hostile = map(page_where_all_is, ("(harmless)", HOSTILE))
    assert hostile.elements == plain.elements
    for found, value in ((plain, "(harmless)"), (hostile, HOSTILE)):
        texts = found.text + "".join(image["alt"] for image in found.images)
        # The title, the heading, the sentence below it with the data's name;
        # the split in a tile, a caption and three charts; a name and its value
        # in a table of metrics; three names and two values of an evaluation;
        # ten classes and their pictures; the folder, a flag, a version and a
        # host among the settings.
        assert texts.count(value) == 3 + 5 + 2 + 5 + 20 + 4


def test_a_page_shows_what_vae_evaluate_found(job_dir):
    (job_dir / "evaluation.json").write_text(
        json.dumps(
            {
                "elbo": -1234.5678,
                "probe": {"accuracy": 0.75},
                "kl_of_units": [2.5] + [0.0] * 7,
                "linear_probe": None,
                "no numbers": ["x"],
            }
        )
    )
    code, _, err = run_command("vae-gallery", f"--job_dir={job_dir}")
    assert (code, err) == (0, "")
    page = Outline((job_dir / "gallery.html").read_text())
    assert "-1,234.57" in page.text
    assert "probe accuracy" in page.text
    assert "linear_probe" not in page.text
    assert "KL divergence of each latent unit" in page.text
    assert len(page.images) == 4 + 1 + 4 + 10 + 8


@pytest.mark.parametrize(
    "values", [[], [1.0, float("nan")], [float("inf")], [1e308, 1], ["1"], 3]
)
def test_a_page_has_no_chart_of_what_is_no_kl(values):
    assert page_lib._kl_of_units({"kl_of_units": values}) is None


def test_a_page_never_leaves_out_what_it_was_not_told():
    template = page_lib._TEMPLATES.get_template("page.html.j2")
    with pytest.raises(jinja2.UndefinedError):
        template.render(location="job")


@pytest.mark.parametrize("name", ["evaluation.json", "goodput.json"])
@pytest.mark.parametrize("content", ["{half", "[1, 2]"])
def test_figures_that_cannot_be_read_are_left_out(job_dir, name, content):
    (job_dir / name).write_text(content)
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


def test_arrays_in_colour_have_the_channels_last():
    shape = 2 * 12, 3 * 8, 3
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    drawn = Album({"generated": Sheet(pixels, (12, 8, 3), "", "")}, [])
    ((_, content),) = generate._contents(drawn, "npy", TrainConfig())
    found = np.load(io.BytesIO(content), allow_pickle=False)
    assert found.shape == (2, 3, 12, 8, 3)
    np.testing.assert_array_equal(found[1, 2], pixels[12:, 16:])


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
    assert "No latent map: one latent unit spans no plane." in out
    assert run_command("vae-gallery", f"--job_dir={job_dir}")[0] == 0
    page = Outline((job_dir / "gallery.html").read_text())
    assert "No manifold: one latent unit spans no plane." in page.text
