"""`--env`: what each engine makes of it, and what is refused."""

import json

import pytest
import yaml

from tests.tools.kubernetes_manifests import SUBMIT as KUBERNETES, pod_template
from tests.tools.submit_command import SUBMIT as VERTEX, vae_submit
from trainer.errors import ConfigError
from trainer.submit import variables

ENV = ("--env=PYTHONPATH=/models", "--env=ODD=it's $(HOME) a=b $$ 5$")
MINE = ("--dry_run", "--", "--model=my_models:build", "--model_options=width=3")
SLURM = ("slurm", "--job_dir=/shared/vae", "--venv=/shared/venv")


def sent(*words):
    outcome = vae_submit(*words, *ENV, *MINE)
    warned = "WARNING: --kind=tfjob: " if "--kind=tfjob" in words else ""
    assert outcome.exit_code == 0
    assert outcome.err.startswith(warned)
    assert outcome.err.count("\n") == bool(warned)
    assert "--model=my_models:build" in outcome.out
    return outcome.out


@pytest.mark.parametrize(
    "search", [(), ("--tune=latent_dim=2,4", "--trials=2")]
)
def test_vertex_gets_them_on_every_machine(search):
    spec = json.loads(sent(*VERTEX, "--workers=2", *search))
    job = spec["trialJobSpec"] if search else spec["jobSpec"]
    for pool in job["workerPoolSpecs"]:
        assert pool["containerSpec"]["env"] == [
            {"name": "PYTHONPATH", "value": "/models"},
            {"name": "ODD", "value": "it's $$(HOME) a=b $$ 5$"},
        ]


@pytest.mark.parametrize("kind", ["job", "jobset", "tfjob"])
def test_kubernetes_gets_them_beside_its_own(kind):
    out = sent(*KUBERNETES, f"--kind={kind}", "--notensorboard", "--workers=1")
    pod = pod_template(list(yaml.safe_load_all(out))[-1])["spec"]
    (container,) = pod["containers"]
    own = {each["name"]: each["value"] for each in container["env"]}
    assert own.pop("PYTHONPATH") == "/models"
    # Kubernetes makes one of two dollars.
    assert own.pop("ODD") == "it's $$(HOME) a=b $$$$ 5$$"
    assert own == ({"RUN_AGAIN_AS_ABORT": "1"} if kind == "tfjob" else {})


def test_slurm_exports_them():
    lines = sent(*SLURM).splitlines()
    first = lines.index("export PYTHONPATH=/models")
    assert lines[first + 1] == """export ODD='it'"'"'s $(HOME) a=b $$ 5$'"""
    assert first < lines.index("srun --kill-on-bad-exit=0 --wait=0 \\")


def test_apptainer_takes_them_into_the_container():
    out = sent(*SLURM, "--image=/shared/vae.sif", "--env=KERAS_HOME=/shared/k")
    assert "\nexport APPTAINERENV_PYTHONPATH=/models\n" in out
    assert "\nexport APPTAINERENV_KERAS_HOME=/shared/k\n" in out
    assert "--env KERAS_HOME" not in out


@pytest.mark.parametrize(
    "name",
    [
        "TF_CONFIG",
        "WORKER_HOSTS",
        "JOB_COMPLETION_INDEX",
        "RUN_AGAIN_AS_ABORT",
        "AIP_MODEL_DIR",
        "CLOUD_ML_TRIAL_ID",
        "KUBERNETES_SERVICE_HOST",
        "SLURM_PROCID",
        "APPTAINERENV_PYTHONPATH",
        "PATH",
    ],
)
def test_what_others_set_is_refused(name):
    with pytest.raises(ConfigError, match=f"--env={name}=… is set by the eng"):
        variables.parse([f"{name}=1"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "1"),
        ("aws_secret_access_key", "1"),
        ("WANDB_API_KEY", "1"),
        ("DB_PASSWORD", "1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/key.json"),
        ("X", "ghp_" + 36 * "a"),
        ("X", "-----BEGIN PRIVATE KEY-----"),
        ("X", "https://me:hunter2@example.com/x"),
        ("X", '{"type": "service_account", "private_key": "x"}'),
    ],
)
def test_a_secret_is_refused_and_not_repeated(name, value):
    outcome = vae_submit(*SLURM, f"--env={name}={value}", "--dry_run")
    assert outcome.exit_code == 2
    assert f"--env={name}=… looks like a secret" in outcome.err
    assert outcome.out == ""
    assert value == "1" or value not in outcome.err


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["PYTHONPATH"], "--env=… is not NAME=VALUE"),
        (["2=x"], "--env=2 is not NAME=VALUE"),
        (["A-B=x"], "--env=A-B is not NAME=VALUE"),
        (["É=x"], "--env=É is not NAME=VALUE"),
        (["=x"], "is not NAME=VALUE"),
        (["A=1", "A=2"], "--env=A=… is given twice"),
        (["A=1\n2"], "a line break"),
    ],
)
def test_what_is_no_variable_is_refused(texts, sentence):
    with pytest.raises(ConfigError, match=sentence):
        variables.parse(texts)


@pytest.mark.parametrize("name", ["MONKEY", "NCCL_DEBUG", "TF_XLA_FLAGS"])
def test_any_other_name_will_do(name):
    assert variables.parse([f"{name}=a=b", "B="]) == {name: "a=b", "B": ""}


@pytest.mark.parametrize("model", ["my_models", "my models:build", "a.b:c:d"])
def test_what_no_model_is_called_fails_before_it_is_sent(model):
    outcome = vae_submit(*SLURM, "--dry_run", "--", f"--model={model}")
    assert outcome.exit_code == 2
    assert f"After --: --model={model} is neither one of" in outcome.err
