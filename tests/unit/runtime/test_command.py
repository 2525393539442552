"""What the commands share."""

import tempfile

from trainer.runtime.command import quiet_tensorflow, report_errors


def test_no_folder_for_temporary_files_is_one_sentence(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with report_errors() as outcome, quiet_tensorflow():
        pass
    assert outcome.exit_code == 1
    error = capsys.readouterr().err
    assert error.startswith("ERROR: There is no folder for temporary files")
    assert error.count("\n") == 1
