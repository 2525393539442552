"""A search with real trainings, killed once, equals one that was not."""

import json
import signal
import subprocess
import sys

import pytest

from tests.tools.deadline import wait_until
from tests.tools.project import ROOT
from tests.tools.small_jobs import SMALL


def start(folder):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer.commands.tune"),
            *(f"--study_dir={folder}", "--trials=2"),
            "--search=learning_rate=1e-4..1e-2:log",
            *("--", *SMALL, "--epochs=2"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_of(folder):
    """The rows of each trial, without what measures time."""
    found = {}
    for path in sorted(folder.glob("trials/*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row.pop("images_per_second", None)
        found[path.parent.name] = rows
    return found


@pytest.mark.slow
def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path):
    killed, untouched = tmp_path / "killed", tmp_path / "untouched"
    first = start(killed)
    rows = killed / "trials" / "0002" / "metrics.jsonl"
    wait_until(lambda: rows.exists() or first.poll() is not None)
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=300)
    assert first.returncode == 75
    assert "Trial 1 of 2" in out
    assert err.startswith("Interrupted by SIGTERM")
    for folder in (killed, untouched):
        search = start(folder)
        out, err = search.communicate(timeout=600)
        assert (search.returncode, err) == (0, "")
        assert out.count("; finished\n") == (1 if folder is killed else 2)
    assert rows_of(killed) == rows_of(untouched)
    assert list(rows_of(killed)) == ["0001", "0002"]
