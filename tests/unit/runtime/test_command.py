"""What the commands share."""

import errno
import io
import json
import os
import subprocess
import sys
import tempfile

import pytest
import tensorflow as tf

from trainer import __version__
from trainer.errors import ConfigError, InterruptedJobError
from trainer.runtime.command import (
    quiet_tensorflow,
    report_errors,
    run_command,
)
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal

INTERRUPTED = (
    "Interrupted by SIGINT: nothing was lost; run the same command again to go "
    "on.\n"
)


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


def test_an_interruption_is_no_error(capsys):
    with report_errors() as outcome:
        raise InterruptedJobError("Interrupted by SIGTERM: all is saved.")
    assert outcome.exit_code == 75
    assert capsys.readouterr() == (
        "",
        "Interrupted by SIGTERM: all is saved.\n",
    )


def test_an_interruption_is_a_notice_in_json(capsys):
    with report_errors() as outcome:
        outcome.console = Console("json", worker="worker 1")
        raise InterruptedJobError("Interrupted.")
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {
        "severity": "NOTICE",
        "message": "[worker 1] Interrupted.",
    }


@pytest.fixture
def done(monkeypatch):
    """What a command did with its signals, and its functions, in order."""
    done = []
    for name in ("install", "retire"):
        monkeypatch.setattr(
            StopSignal, name, lambda stop, name=name: done.append(name)
        )
    monkeypatch.setattr(sys, "argv", ["command", "--one", "two"])
    return done


def test_a_command_runs_from_its_words_to_its_exit_code(done):
    console = Console()

    def parse(words):
        done.append(words)
        return "parsed"

    def make_console(parsed):
        done.append(("console", parsed))
        return console

    def body(parsed, stop, given):
        assert given is console
        assert not stop.requested
        done.append(("body", parsed))

    assert (
        run_command(
            parse,
            body,
            load=lambda: done.append("load"),
            make_console=make_console,
        )
        == 0
    )
    assert done == [
        "install",
        ["--one", "two"],
        ("console", "parsed"),
        "load",
        ("body", "parsed"),
        "retire",
    ]


def said_of(error, capsys, is_json=False):
    """Returns what is said of an error, and the exit code."""
    with report_errors() as outcome:
        if is_json:
            outcome.console = Console("json")
        raise error
    out, err = capsys.readouterr()
    assert out == ""
    return err, outcome.exit_code


ANSWERS = """
ENOSPC EDQUOT EFBIG EACCES EPERM EROFS EIO ENAMETOOLONG EISDIR ENOTDIR EEXIST
ELOOP ENXIO ENODEV EMFILE ENFILE ENOMEM ESTALE EBUSY ETXTBSY
"""


@pytest.mark.parametrize("name", ANSWERS.split())
def test_what_a_disk_answers_is_one_sentence(name, capsys):
    code = getattr(errno, name)
    said, exit_code = said_of(OSError(code, "?", "a/file"), capsys)
    assert exit_code == 1
    assert said.startswith("ERROR: ")
    assert said.endswith(" (a/file).\n")
    assert said.count("\n") == 1
    # TensorFlow has files of its own, and errors of its own for them.
    error = tf.errors.UnknownError(None, None, f"a/b; {os.strerror(code)}")
    of_tensorflow, exit_code = said_of(error, capsys)
    assert (of_tensorflow, exit_code) == (said.replace(" (a/file)", ""), 1)


def test_any_other_answer_is_one_sentence_too(capsys):
    for error, expected in (
        (OSError(errno.EPROTO, "?", "f"), "EPROTO: Protocol error (f)"),
        (OSError(9999, "odd"), "an error: [Errno 9999] odd"),
        (OSError("no number"), "an error: no number"),
    ):
        assert said_of(error, capsys) == (
            f"ERROR: The system answered {expected}; what was saved before is "
            "kept. Remove the cause, and run the same command again.\n",
            1,
        )


def test_of_a_renaming_the_name_that_it_would_have_is_said(capsys):
    error = OSError(errno.EISDIR, "?", ".unfinished-a", None, "a")
    assert said_of(error, capsys)[0].endswith(" (a).\n")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM")],
)
def test_no_memory_is_one_sentence(error, capsys):
    said, exit_code = said_of(error, capsys)
    assert exit_code == 1
    assert said.startswith("ERROR: There is not enough memory;")
    assert said.count("\n") == 1


def test_what_an_output_cannot_hold_is_one_sentence(capsys):
    error = UnicodeEncodeError("ascii", "a\xfc", 1, 2, "?")
    said, exit_code = said_of(error, capsys)
    assert exit_code == 1
    assert said.startswith("ERROR: What is to be printed has '\\xfc', which")
    error = UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "?")
    said, exit_code = said_of(error, capsys)
    assert exit_code == 1
    assert said.startswith("ERROR: A name or a value has '\\udcff', which is")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        io.UnsupportedOperation("seek"),
        tf.errors.InvalidArgumentError(None, None, "shapes"),
    ],
)
def test_a_traceback_is_a_defect_of_ours_and_says_so(error, capsys):
    said, exit_code = said_of(error, capsys)
    assert exit_code == 1
    assert said.startswith("Traceback (most recent call last)")
    assert said.splitlines()[-1].startswith(
        f"ERROR: This is a defect of vae-trainer {__version__}, not of what "
        "you gave it; report it with the lines above"
    )


def test_a_defect_is_one_entry_in_json(capsys):
    said, exit_code = said_of(KeyError("x"), capsys, is_json=True)
    assert exit_code == 1
    entry = json.loads(said)
    assert entry["severity"] == "ERROR"
    assert "Traceback" in entry["message"]
    assert "report it" in entry["message"]


def never(*_):
    raise AssertionError("this is not reached")


def test_a_command_that_was_answered_does_nothing(done):
    assert run_command(lambda words: None, never, load=never) == 0
    assert done == ["install", "retire"]


def test_wrong_flags_are_said_before_anything_is_loaded(done, capsys):
    def parse(words):
        raise ConfigError("--one is wrong.")

    assert run_command(parse, never, load=never) == 2
    assert capsys.readouterr().err == "ERROR: --one is wrong.\n"
    assert done == ["install", "retire"]


def test_a_module_of_ours_that_cannot_be_imported_is_a_defect(done, capsys):
    def load():
        raise ImportError("no gone", name="trainer.gone")

    assert run_command(lambda words: words, never, load=load) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last)")
    assert "This is a defect of vae-trainer" in error


PROGRAM = """
import os, signal, sys, time
from trainer.runtime.command import run_command

def send():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)

def body(parsed, stop, console):
    print("went on")
"""


def end_of(program):
    """Returns the exit code, stdout and stderr of a program."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_signal_while_tensorflow_is_loaded_is_one_sentence():
    program = "sys.exit(run_command(lambda words: words, body, load=send))"
    assert end_of(program) == (75, "", INTERRUPTED)


def test_a_signal_after_the_end_does_not_replace_the_exit_code():
    program = "code = run_command(lambda words: words, body); send(); sys.exit("
    assert end_of(f"{program}code)") == (0, "went on\n", "")
