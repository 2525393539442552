"""The file for SkyPilot, which is no dependency of the tests.

What a task may have is here, as far as the file uses it:
https://docs.skypilot.co/en/latest/reference/yaml-spec.html
"""

import re
import shlex

import jsonschema
import yaml

from tests.tools.project import ROOT
from trainer.errors import InterruptedJobError
from trainer.runtime.training_flags import parse_flags

FILE = ROOT / "deploy" / "skypilot" / "vae.yaml"
_TEXT = {"type": "string"}
_TASK = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": _TEXT,
        "workdir": _TEXT,
        "setup": _TEXT,
        "run": _TEXT,
        "resources": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "accelerators": {
                    "type": "string",
                    "pattern": r"^[\w-]+:[1-9]\d*$",
                },
                "use_spot": {"type": "boolean"},
                "job_recovery": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "max_restarts_on_errors": {
                            "type": "integer",
                            "minimum": 0,
                        },
                        "recover_on_exit_codes": {
                            "type": "array",
                            "items": {
                                "type": "integer",
                                "minimum": 0,
                                "maximum": 255,
                            },
                        },
                    },
                },
            },
        },
    },
}


def task():
    return yaml.safe_load(FILE.read_text())


def test_an_interrupted_job_is_run_again_and_a_failed_one_is_not():
    jsonschema.validate(task(), _TASK)
    assert task()["resources"]["job_recovery"] == {
        "recover_on_exit_codes": [InterruptedJobError.exit_code]
    }


def test_the_command_has_flags_that_the_training_takes():
    command = task()["run"].replace("BUCKET", "my-bucket")
    # SkyPilot looks at the exit code of the trainer, not of a shell after it.
    words = shlex.split(command.replace("\\\n", ""))
    shell, program, *flags = words
    assert (shell, program) == ("exec", "$HOME/vae-trainer/bin/vae-train")
    config = parse_flags(flags)
    assert config.job_dir == "gs://my-bucket/runs/vae"
    _, gpus = task()["resources"]["accelerators"].split(":")
    config.check_replicas(int(gpus))


def test_what_the_machine_installs_is_in_the_clone():
    setup = task()["setup"]
    files = re.findall(r"--requirement (\S+)", setup)
    assert len(files) == 2
    for name in files:
        assert (ROOT / name).exists(), name
    folders = set(re.findall(r"\$HOME/([\w-]+)", setup + task()["run"]))
    assert folders == {"vae-trainer"}
