"""What is kept of the jobs whose figures the documentation shows."""

import json

import pytest

from benchmarks import literature, records
from tests.tools.project import ROOT

RECORDS = ROOT / "benchmarks" / "records"


def row(number, split, loss):
    return {"step": number, "epoch": number, "split": split, "total_loss": loss}


def test_a_record_says_what_was_computed_and_not_where(tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    settings = {"job_dir": "/home/me/job", "data_dir": "/data", "seed": 3}
    session = {"started": "2026-01-01T00:00:00+00:00", "host": "mine"}
    (job / "config.json").write_text(
        json.dumps({"id": "a1", "config": settings, "sessions": [session]})
    )
    (job / "evaluation.json").write_text(json.dumps({"elbo": -1.0}))
    losses = [100.0 - n if n <= 17 else 90.0 for n in range(1, 26)]
    rows = [row(n, "validation", loss) for n, loss in enumerate(losses, 1)]
    rows.insert(0, row(1, "train", 1.0))
    (job / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    kept = tmp_path / "records" / "mine"
    assert records.main([str(job), str(kept)]) == 0
    text = "".join(path.read_text() for path in kept.iterdir())
    assert not any(word in text for word in ("/home", "/data", "mine", "a1"))
    assert json.loads((kept / "config.json").read_text())["config"] == {
        "seed": 3
    }
    steps = [
        json.loads(line)["step"]
        for line in (kept / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [10, 17, 20, 25]


@pytest.mark.parametrize("row", literature.ROWS)
def test_the_page_has_the_table_of_the_records(row):
    found = [
        json.loads(path.read_text())["log_likelihood"]
        for path in sorted(RECORDS.glob(f"{row}-?/evaluation.json"))
    ]
    page = (ROOT / "benchmarks" / "literature.md").read_text()
    lines = [
        line for line in page.splitlines() if line.startswith(f"| {row} |")
    ]
    assert lines == (literature.table({row: found})[2:] if found else [])
