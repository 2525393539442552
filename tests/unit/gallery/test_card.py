"""The card beside an exported model: what it says, and what it leaves alone."""

import json
import re
import shutil
import types

import pytest
import yaml

from tests.tools import pages
from tests.tools.commands import run_command
from tests.tools.html_outline import HOSTILE
from trainer.gallery import card
from trainer.model.trained import open_trained


@pytest.fixture
def job_dir(finished_job, tmp_path):
    """A copy of a finished job, as if it had not exported its model."""
    shutil.copytree(finished_job, tmp_path / "job")
    shutil.rmtree(tmp_path / "job" / "export")
    return tmp_path / "job"


@pytest.fixture
def write_card(job_dir, console, stop):
    """Writes the card of a checkpoint; returns the text that is there."""

    def write_card(checkpoint="last"):
        named = {"job_dir": job_dir, "checkpoint": checkpoint, "model": ""}
        flags = {
            name: types.SimpleNamespace(value=str(value))
            for name, value in named.items()
        }
        folder = job_dir / "export"
        with open_trained(flags, console, stop) as trained:
            card.write(trained, folder, checkpoint, console)
        path = folder / "README.md"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    return write_card


def rows_of(text):
    """Returns the rows of all tables of a card: value by name."""
    cells = [line.split(" | ") for line in text.splitlines() if "|" in line]
    return {
        row[0].removeprefix("| "): row[1].removesuffix(" |")
        for row in cells
        if len(row) == 2
    }


def test_an_exported_model_has_a_card_that_is_true(job_dir, monkeypatch):
    done = run_command("vae-export", f"--job_dir={job_dir}")
    assert (done.exit_code, done.err) == (0, "")
    export = job_dir / "export"
    text = (export / "README.md").read_text(encoding="utf-8")
    _, front, rest = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "tags": ["variational-autoencoder"],
        "pipeline_tag": "unconditional-image-generation",
    }
    losses = json.loads((job_dir / "finished.json").read_text())["test_metrics"]
    rows = rows_of(rest)
    assert rows["total loss"] == f"{losses['total_loss']:.4f}"
    assert rows["active latent units"] == f"{losses['active_units']} of 8"
    record = json.loads((job_dir / "config.json").read_text())
    assert rows["licence of the data"] == "unknown"
    for digest in record["data"]["md5"].values():
        assert digest in rows.values()
    # What is not the default, and nothing else; no path.
    changed = {name for name in rows if name.startswith("`--")}
    assert changed == {
        *("`--dataset`", "`--train_examples`", "`--test_examples`"),
        *("`--epochs`", "`--batch_size`", "`--latent_dim`"),
        "`--summary_steps`",
    }
    assert str(job_dir) not in text
    assert "log p(x) has not been estimated" in text
    assert "nats an image, the squared error but for a constant:" in text
    assert "below 0" not in text
    links = pages.links_in(text)
    assert links == ["card/draws.png", "card/reconstructions.png"]
    for link in links:
        assert 0 < (export / link).stat().st_size < 100_000
    names = {}
    monkeypatch.chdir(export)
    (program,) = pages.python_in(text)
    assert len(program.splitlines()) == 3
    exec(program, names)
    assert names["drawn"]["pixels"].shape == (16, 28, 28, 1)


def test_a_card_has_what_vae_evaluate_found_of_that_step(job_dir, write_card):
    figures = {
        "step": 20,
        "elbo": -480.5,
        "elbo_error": 0.25,
        "density": "log p(x)",
        "likelihood": "a density",
        "log_likelihood": {
            "samples": 50,
            "mean": -470.25,
            "error_of_images": None,
        },
        "linear_probe": {"accuracy": "?"},
        "nearest_neighbors": None,
    }
    path = job_dir / "evaluation.json"
    path.write_text(json.dumps(figures))
    text = write_card()
    rows = rows_of(text)
    assert rows["ELBO"] == "-480.5000 ± 0.2500"
    assert rows["log p(x), K = 50"] == "-470.2500"
    assert "linear probe" not in text
    assert "has not been estimated" not in text
    assert write_card() == text
    path.write_text(json.dumps({**figures, "step": 10}))
    assert "ELBO" not in write_card()


def test_a_card_of_another_checkpoint_shows_nothing_of_the_last(
    job_dir, write_card
):
    assert "reconstructions.png" in write_card()
    text = write_card("10")
    assert "trained for 10 steps" in text
    assert "images at step 10" in text
    assert "reconstructions.png" not in text
    assert not (job_dir / "export/card/reconstructions.png").exists()
    assert "a little too low" not in text
    assert "a little too low" in write_card("best")


def test_a_card_that_somebody_has_edited_is_left(job_dir, write_card, capsys):
    path = job_dir / "export" / "README.md"
    edited = write_card().replace(card._MARK, "I am proud of it.")
    path.write_text(edited)
    assert write_card() == edited
    assert "README.md is not of vae-export, or somebody has edited it" in (
        capsys.readouterr().out
    )
    path.unlink()
    path.mkdir()
    assert write_card() == ""
    assert "README.md is a folder, and is left" in capsys.readouterr().out


def test_a_card_of_damaged_records_says_what_it_can(
    job_dir, write_card, capsys
):
    (job_dir / "metrics.jsonl").write_text("no row\n")
    (job_dir / "finished.json").write_text("[]")
    (job_dir / "evaluation.json").write_text("[]")
    text = write_card()
    assert "## Figures" not in text
    assert "## Data" in text
    err = capsys.readouterr().err
    assert "The card has no losses" in err
    assert "The card has no reconstructions" in err
    assert "evaluation.json is not a JSON object" in err


def test_whatever_a_card_is_told_is_text_and_nothing_more(job_dir, write_card):
    plain = write_card()
    path = job_dir / "config.json"
    record = json.loads(path.read_text())
    hostile = f"{HOSTILE}`![x](http://example.com)\n# |\r\u2028"
    record["versions"]["numpy"] = hostile
    record["data"]["md5"] = {hostile: hostile}
    path.write_text(json.dumps(record))
    text = write_card()
    assert "<script" not in text
    # What has a backslash before it is no markup.
    unescaped = re.sub(r"\\.", "", text)
    assert pages.links_in(unescaped) == pages.links_in(plain)
    assert unescaped.count("`") == plain.count("`")
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles == [
        line for line in plain.splitlines() if line.startswith("#")
    ]
