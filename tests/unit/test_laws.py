"""The command that looks at the laws of one model."""

import itertools
import json
import subprocess

from tests.tools import laws


def test_the_commands_that_read_a_job_are_told_its_model(tmp_path, monkeypatch):
    name = "my_models:build"
    job_dir = tmp_path / "untouched"
    job_dir.mkdir()
    record = {"config": {"model": name}}
    (job_dir / "config.json").write_text(json.dumps(record))
    asked = []

    def run(words, **settings):
        asked.append(words)
        return subprocess.CompletedProcess(words, 2, "", "It is refused.")

    monkeypatch.setattr(laws.subprocess, "run", run)
    told = list(itertools.islice(laws.Laws(tmp_path, ()).commands(), 3))
    assert [holds for _, holds in told] == [False] * 3
    assert "It is refused." in told[0][0]
    assert len(asked) == 3
    assert all(f"--model={name}" in words for words in asked)
