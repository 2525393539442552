import json
import sys

import pytest

from trainer.errors import ConfigError
from trainer.job import train_and_evaluate
from trainer.job_dir.open import JobDir
from trainer.runtime import platform
from trainer.runtime.console import Console
from trainer.runtime.training_flags import parse_flags


@pytest.fixture
def base(monkeypatch, tmp_path):
    """A base output directory, as Vertex names the folders in it."""
    for variable, name in {
        "AIP_MODEL_DIR": "model",
        "AIP_CHECKPOINT_DIR": "checkpoints",
        "AIP_TENSORBOARD_LOG_DIR": "logs",
    }.items():
        monkeypatch.setenv(variable, f"{tmp_path}/base/{name}/")
    return tmp_path / "base"


def test_the_base_output_directory_is_the_job_directory(base):
    assert parse_flags([]).job_dir == str(base)


def test_a_job_directory_that_is_given_wins(base):
    assert parse_flags(["--job_dir=elsewhere"]).job_dir == "elsewhere"


def test_elsewhere_than_on_vertex_the_default_holds():
    assert not platform.is_here()
    assert parse_flags([]).job_dir == "runs/vae"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AIP_MODEL_DIR", "gs://b/other/model/", "are not in one folder"),
        ("AIP_CHECKPOINT_DIR", "gs://b/saved/", "does not end in /checkpoints"),
    ],
)
def test_folders_that_do_not_fit_together_are_refused(
    base, monkeypatch, variable, value, message
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=message):
        parse_flags([])
    assert parse_flags(["--job_dir=elsewhere"]).job_dir == "elsewhere"


def test_json_lines_have_a_severity(base, capsys):
    console = Console()
    console.line("a line")
    console.notice("a notice")
    console.warning("a warning")
    console.error("an error\nof two lines")
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in (out + err).splitlines()] == [
        {"severity": "INFO", "message": "a line"},
        {"severity": "NOTICE", "message": "a notice"},
        {"severity": "WARNING", "message": "a warning"},
        {"severity": "ERROR", "message": "an error\nof two lines"},
    ]


def test_text_can_be_asked_for_on_vertex(base, capsys):
    Console("text").warning("a warning")
    assert capsys.readouterr().err == "WARNING: a warning\n"


def test_vertex_runs_again_what_is_to_be_run_again(base):
    assert [platform.exit_code(code) for code in (0, 1, 2, 75)] == [
        0, 1, 2, 134,
    ]  # fmt: skip


def test_elsewhere_an_exit_code_stays():
    assert platform.exit_code(75) == 75


def test_a_trial_reports_each_test_loss_and_leaves_a_model(
    base, monkeypatch, small_config, tmp_path
):
    reported = tmp_path / "hypertune" / "output.metrics"
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "7")
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(reported))
    config = small_config(job_dir=str(base), test_examples=10)
    train_and_evaluate(config)
    rows = [
        json.loads(line)
        for line in JobDir(base).metrics_path.read_text().splitlines()
    ]
    expected = [
        {"trial": "7", "global_step": str(r["step"]), "loss": r["total_loss"]}
        for r in rows
        if r["split"] == "test"
    ]
    assert trial_metrics(reported) == expected
    assert sorted(path.name for path in (base / "model").iterdir()) == [
        "assets",
        "decoder.keras",
        "encoder.keras",
        "fingerprint.pb",
        "saved_model.pb",
        "variables",
    ]

    # Started again by Vertex after its end, it says its result again.
    reported.unlink()
    train_and_evaluate(config)
    assert trial_metrics(reported) == expected[-1:]


def trial_metrics(path):
    return [
        {
            "trial": metric["trial"],
            "global_step": metric["global_step"],
            "loss": float(metric["total_loss"]),
        }
        for metric in map(json.loads, path.read_text().splitlines())
    ]


def test_a_trial_without_cloudml_hypertune_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "7")
    monkeypatch.setitem(sys.modules, "hypertune", None)
    with pytest.raises(ConfigError, match=r"vae-trainer\[tuning\]"):
        platform.trial_reporter()
