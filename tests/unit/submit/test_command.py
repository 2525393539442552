import json
import shlex
import subprocess
import sys

import pytest

import trainer
from tests.tools.submit_command import SUBMIT, vae_submit
from trainer.submit.command import ENGINES
from trainer.submit.verbs import VERBS

WITHOUT_CLIENT = """
import sys
sys.modules["google.cloud.aiplatform_v1"] = None
from trainer.submit.command import main
sys.argv[0] = "vae-submit"
code = main()
assert "tensorflow" not in sys.modules
sys.exit(code)
"""


def run(*command):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True
    )


def test_a_dry_run_needs_neither_client_nor_tensorflow():
    outcome = run("-c", WITHOUT_CLIENT, *SUBMIT, "--dry_run")
    assert outcome.returncode == 0
    assert json.loads(outcome.stdout) == json.loads(
        vae_submit(*SUBMIT, "--dry_run").out
    )
    assert outcome.stderr == (
        "WARNING: Not checked against the API's types: Vertex AI's client is "
        'not installed; install it with `pip install "vae-trainer[vertex]"`.\n'
    )


@pytest.mark.parametrize(
    "words",
    [SUBMIT, ("vertex", "status", "projects/p/locations/r/customJobs/1")],
)
def test_without_the_client_nothing_else_works_and_says_so(words):
    outcome = run("-c", WITHOUT_CLIENT, *words)
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert outcome.stderr == (
        "ERROR: Vertex AI's client is not installed; install it with "
        '`pip install "vae-trainer[vertex]"`.\n'
    )


def test_without_the_client_an_impossible_machine_is_still_refused():
    words = (*SUBMIT, "--dry_run", "--machine_type=a2-highgpu-1g")
    outcome = run("-c", WITHOUT_CLIENT, *words)
    assert outcome.returncode == 2
    assert "a2-highgpu-1g does not go with no GPU" in outcome.stderr


def test_a_dry_run_prints_the_spec_and_no_more():
    outcome = run("-m", "trainer.submit", *SUBMIT, "--dry_run")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert json.loads(outcome.stdout)["displayName"] == "vae"


def test_help_comes_without_any_flag():
    for words in ([], ["--help"]):
        outcome = vae_submit(*words)
        assert outcome.exit_code == 0
        assert outcome.out.startswith("usage: vae-submit ENGINE [flags] -- ")
    for words in (["--help"], ["status", "--help"], ["--", "--help"]):
        outcome = vae_submit("vertex", *words)
        assert outcome.exit_code == 0
        assert outcome.out.startswith("usage: vae-submit ")


def example_of(text):
    """Returns the words of the first command in a help's example."""
    block = text.split("\nExample:\n")[1].split("\n\n")[0]
    command = block.replace("\\\n", " ").splitlines()[0]
    return shlex.split(command.replace("$PWD", "/shared"))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_help_of_an_engine_has_an_example_that_it_takes(engine):
    text = vae_submit(engine, "--help").out
    usage = f"usage: vae-submit {engine} [flags] -- [flags of the training]\n"
    assert text.startswith(usage)
    program, *words = example_of(text)
    assert program == "vae-submit"
    words.insert(words.index("--"), "--dry_run")
    outcome = vae_submit(*words)
    assert (outcome.exit_code, outcome.err) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        (),
        *((engine,) for engine in ENGINES),
        *((engine, verb) for engine in ENGINES for verb in VERBS),
        ("vertex", "--"),
    ],
)
def test_help_fits_80_columns_and_the_version_is_said(words):
    text = vae_submit(*words, "--help").out
    # The default of --venv is a folder of this machine.
    lines = [line for line in text.splitlines() if "--venv" not in line]
    assert max(map(len, lines)) <= 80
    outcome = vae_submit(*words, "--version")
    assert outcome.out == f"vae-trainer {trainer.__version__}\n"
    assert (outcome.exit_code, outcome.err) == (0, "")


def test_flags_before_the_engine_are_refused():
    outcome = vae_submit("--flagfile=/dev/null", *SUBMIT)
    assert "--flagfile=/dev/null is not one of vertex" in outcome.err
    assert outcome.exit_code == 2


def test_another_engine_is_refused():
    outcome = vae_submit("sagemaker")
    assert "sagemaker is not one of vertex" in outcome.err
    assert outcome.exit_code == 2
