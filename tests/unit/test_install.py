"""What `make` installs, and what it shows while it does."""

import importlib.util
import io
import os
import re
import sys
import threading

import pytest

from tests.tools.project import ROOT

_SPEC = importlib.util.spec_from_file_location(
    "install", ROOT / "requirements" / "install.py"
)
install = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(install)


def python(program):
    return [sys.executable, "-c", program]


def test_nothing_is_installed_whose_checksum_is_not_known():
    (_, venv), (_, build), (_, needed), (_, itself) = install.steps(
        ".venv", "requirements/run.txt"
    )
    assert venv == [sys.executable, "-m", "venv", ".venv"]
    for command, file in ((build, "build"), (needed, "run")):
        at = command.index("--require-hashes")
        assert command[at + 1 : at + 3] == [
            "--requirement",
            f"requirements/{file}.txt",
        ]
    # Nothing comes with it, and nothing to build it.
    assert itself[-4:] == [
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        ".",
    ]


def test_a_line_a_step_and_what_failed_is_shown():
    out = io.StringIO()
    commands = [
        ("one", python("print('kept to itself')")),
        ("two", python("print('Progress 1 of 2\\nno space'); exit(3)")),
        ("three", python("")),
    ]
    assert install.run("all: 1 GB", commands, out) == 1
    *lines, last = filter(None, out.getvalue().splitlines())
    assert lines == ["Installing all: 1 GB.", "1/3 one", "2/3 two", "no space"]
    assert last.startswith("Step 2 has failed")


def test_a_terminal_shows_each_second_that_a_step_goes_on(tmp_path):
    ours, its = os.openpty()
    seen = tmp_path / "seen"
    command = python(
        "import pathlib, time\n"
        "print('Progress 310000000 of 572000000')\n"
        f"while not pathlib.Path({str(seen)!r}).exists(): time.sleep(0.05)"
    )
    with open(its, "w") as terminal:
        thread = threading.Thread(
            target=install.run, args=("all", [("one", command)], terminal)
        )
        thread.start()
        text = ""
        while len(set(re.findall(r" (\d+) s  310 of 572 MB", text))) < 2:
            text += os.read(ours, 1000).decode()
        seen.touch()
        while "Installed in" not in text:
            text += os.read(ours, 1000).decode()
        thread.join()
    os.close(ours)
    # Each takes the place of the one before, and nothing is left of them.
    assert text.startswith("Installing all.\r\n1/1 one\r\n\r\x1b[K")
    assert re.search(r"\r\x1b\[KInstalled in \d+ s\.\r\n$", text)


@pytest.mark.parametrize("version", [(3, 9), (3, 14), (2, 7)])
def test_another_python_is_refused_with_one_sentence(version):
    sentence = install.refusal(version)
    assert sentence.startswith(f"This is Python {version[0]}.{version[1]}, but")
    assert "3.10 to 3.13" in sentence
    assert install.refusal((3, 10)) is install.refusal((3, 13)) is None
