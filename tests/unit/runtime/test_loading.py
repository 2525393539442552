"""What is printed while TensorFlow loads: a line, before it does."""

import os
import subprocess
import sys

import pytest

from tests.tools.project import ROOT
from trainer.runtime.command import LOADING

# In its place: says when it is imported, past what is kept off stderr.
TENSORFLOW = """
import os
os.write(1, b"imported\\n")
raise ImportError("no libcuda.so")
"""
REFUSED = (
    "ERROR: TensorFlow or what it needs cannot be imported (no libcuda.so); "
    "make a new virtual environment and install vae-trainer in it."
)


@pytest.fixture
def said(tmp_path):
    """Returns what a command prints where TensorFlow is another module."""
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)

    def said(module, *words, on_terminal):
        ours, its = os.openpty() if on_terminal else os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", f"trainer.{module}", *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
            stdin=subprocess.DEVNULL,
            stdout=its,
            stderr=its,
        )
        os.close(its)
        content = b""
        try:
            while part := os.read(ours, 65536):
                content += part
        except OSError:  # The other end of a terminal is closed.
            pass
        os.close(ours)
        process.wait()
        return content.decode().splitlines()

    return said


@pytest.mark.parametrize(
    ("module", "on_terminal"),
    [
        ("task", True),
        ("task", False),
        ("commands.evaluate", True),
        ("commands.doctor", True),
    ],
)
def test_a_line_comes_before_tensorflow_is_loaded(said, module, on_terminal):
    assert said(module, on_terminal=on_terminal) == [
        LOADING,
        "imported",
        REFUSED,
    ]


def test_what_a_program_reads_has_no_such_line(said):
    found = said("commands.evaluate", on_terminal=False)
    assert found == ["imported", REFUSED]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("task", ["--print_config"]),
        ("task", ["--epochs=0"]),
        ("commands.compare", ["none"]),
        ("commands.data", ["verify", "--data_dir=none"]),
        ("submit", ["slurm", "--job_dir=/runs/vae", "--dry_run"]),
    ],
)
def test_what_needs_no_tensorflow_says_nothing_of_it(said, module, words):
    found = said(module, *words, on_terminal=True)
    assert found
    assert not {LOADING, "imported"} & set(found)
