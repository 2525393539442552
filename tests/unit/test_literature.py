"""What is published is trained, evaluated and put beside what came out."""

import json
import pathlib

import pytest

from benchmarks import literature
from trainer.runtime.training_flags import parse_flags


@pytest.fixture
def commands(monkeypatch):
    """The commands that were run; they only leave an evaluation."""
    ran = []

    def run(module, *arguments):
        ran.append((module, *arguments))
        folder = pathlib.Path(arguments[0].removeprefix("--job_dir="))
        if module == "trainer.commands.evaluate":
            folder.mkdir(parents=True)
            mean = -228.5 if folder.name.endswith("0") else -228.7
            found = {"mean": mean, "samples": 5000, "error_of_images": 0.61}
            (folder / "evaluation.json").write_text(
                json.dumps({"checkpoint": "best", "log_likelihood": found})
            )
        return 0

    monkeypatch.setattr(literature, "_run", run)
    return ran


def test_a_row_is_trained_evaluated_once_and_shown(commands, tmp_path, capsys):
    flags = [f"--folder={tmp_path}", "--rows=mlp", "--flags=--data_dir=F"]
    assert literature.main(flags) == 0
    modules = [module for module, *_ in commands]
    assert modules == ["trainer.task", "trainer.commands.evaluate"] * 2
    assert {"--seed=1", "--data_dir=F"} < set(commands[2])
    shown = capsys.readouterr().out.splitlines()[-1]
    assert shown == (
        "| mlp | -228.70 ± 0.15 | -228.60 (-228.50, -228.70) | 2 | 5,000 "
        "| 0.61 | 0.10 | +0.10 | ±0.3 / ±0.5: target |"
    )
    commands.clear()
    literature.main(flags)
    assert [module for module, *_ in commands] == ["trainer.task"] * 2


@pytest.mark.parametrize(("code", "said"), [(75, "same command"), (2, "")])
def test_a_training_that_ends_early_ends_it(
    monkeypatch, tmp_path, capsys, code, said
):
    monkeypatch.setattr(literature, "_run", lambda *command: code)
    assert literature.main([f"--folder={tmp_path}"]) == code
    assert said in capsys.readouterr().out


def test_an_unknown_row_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        literature.main([f"--folder={tmp_path}", "--rows=mlp,vae"])
    assert "there is no vae; give some of mlp, mlp_v" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "mean", "verdict"),
    [
        ("mlp", -228.9, "±0.3 / ±0.5: target"),
        ("mlp", -229.1, "±0.3 / ±0.5: passes"),
        ("mlp", -229.3, "±0.3 / ±0.5: missed"),
        ("mlp", -228.1, "±0.3 / ±0.5: missed"),
        ("hierarchy", -220.0, "≥ -225.40 / ≥ -226.70: target"),
        ("hierarchy", -225.4, "≥ -225.40 / ≥ -226.70: target"),
        ("hierarchy", -226.7, "≥ -225.40 / ≥ -226.70: passes"),
        ("hierarchy", -226.71, "≥ -225.40 / ≥ -226.70: missed"),
    ],
)
def test_a_miss_is_called_a_miss(row, mean, verdict):
    seed = {"mean": mean, "error_of_images": 0.6, "samples": 500}
    assert literature.table({row: [seed]})[-1].endswith(f"| {verdict} |")


def test_a_row_has_samples_of_its_own(commands, tmp_path):
    literature.main([f"--folder={tmp_path}", "--rows=mlp,hierarchy"])
    asked = [
        flag
        for command in commands
        for flag in command
        if flag.startswith("--importance_samples")
    ]
    assert (
        asked
        == ["--importance_samples=5000"] * 2 + ["--importance_samples=500"] * 2
    )


@pytest.mark.parametrize("row", literature.ROWS)
def test_each_row_has_flags_that_a_job_takes(row):
    config = parse_flags([f"--flagfile={literature._CONFIGS / row}.flags"])
    assert config.model in row
    assert (config.prior == "vamp") is ("vamp" in row)
    assert (config.dataset, config.binarize) == ("fashion_mnist", "dynamic")
