"""One factor at a time: what is trained, for how long, and the table."""

import json
import pathlib

import numpy as np
import pytest

from benchmarks import factors
from trainer.runtime.training_flags import parse_flags


@pytest.mark.parametrize("name", factors.FACTORS)
def test_each_factor_is_a_job(name):
    config = parse_flags([*factors._BASE, *factors.FACTORS[name]])
    unchanged = parse_flags([*factors._BASE])
    assert (config == unchanged) is (name == factors._NONE)


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """The flags of the jobs; an epoch with bfloat16 takes half as long."""
    trained = []

    def train(folder, *flags):
        trained.append(flags)
        pathlib.Path(folder).mkdir(parents=True)
        seconds = dict.fromkeys(factors._OF_EPOCHS, 0.0) | {"tracing": 9.0}
        # As of the same command once more, when the pilot has ended.
        idle = dict.fromkeys(factors._OF_EPOCHS, 0.0)
        halved = parse_flags(flags).mixed_precision == "bfloat16"
        seconds["training"] = 0.5 if halved else 1.5
        seconds["evaluation"] = 0.5
        (folder / "goodput.json").write_text(
            json.dumps({"sessions": [{"seconds": seconds}, {"seconds": idle}]})
        )
        return 0

    monkeypatch.setattr(factors, "_train", train)
    monkeypatch.setattr(
        factors, "_elbo", lambda job, settings: np.array([-2.0, -4.0])
    )
    return trained


def test_each_job_has_the_epochs_that_fit(jobs, tmp_path, capsys):
    command = [f"--folder={tmp_path}", "--minutes=1", "--flags=--data_dir=F"]
    assert factors.main(command) == 0
    epochs = [int(flags[0].removeprefix("--epochs=")) for flags in jobs]
    assert epochs[::2] == [1] * len(factors.FACTORS)
    assert epochs[1] == 30
    bfloat16 = list(factors.FACTORS).index("bfloat16")
    assert epochs[2 * bfloat16 + 1] == 60
    assert all(flags[-1] == "--data_dir=F" for flags in jobs)
    shown = capsys.readouterr().out.splitlines()
    assert "| bfloat16 | 60 | -3.00 |  |" in shown


def test_a_job_that_ends_early_ends_it(monkeypatch, tmp_path):
    monkeypatch.setattr(factors, "_train", lambda *_: 75)
    assert factors.main([f"--folder={tmp_path}"]) == 75


def test_differences_are_of_the_same_images():
    images = np.array([-10.0, -300.0, -40.0])
    rows = [
        (factors._NONE, 9, images),
        ("better", 8, images + np.array([1.0, 2.0, 3.0])),
    ]
    assert factors.table(rows)[2:] == [
        "| nothing | 9 | -116.67 |  |",
        "| better | 8 | -114.67 | +2.00 ± 0.58 |",
    ]
