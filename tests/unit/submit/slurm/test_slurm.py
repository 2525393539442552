import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.tools.submit_command import vae_submit

ROOT = pathlib.Path(__file__).parents[4]
FILE = ROOT / "deploy" / "slurm" / "train.sbatch"
JOB_DIR = "/shared/runs/vae"
SUBMIT = ("slurm", f"--job_dir={JOB_DIR}", "--venv=/shared/venv")
GPUS = ("--gpus=4", "--accelerator=a100")
ODD = 'it\'s $HOME; "a" `b` \\ #c'
# sbatch would take the backslash away.
ODD_NAME = ODD.replace("\\", "")


def dry_run(*words):
    outcome = vae_submit(*SUBMIT, "--dry_run", *words)
    assert (outcome.exit_code, outcome.err) == (0, "")
    return outcome.out


def options(script):
    """Returns what a script asks of sbatch, by name."""
    words = shlex.split(" ".join(re.findall("^#SBATCH (.*)$", script, re.M)))
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a program on PATH that notes its arguments; returns the notes."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def program(name, does="true"):
        notes = tmp_path / f"{name}.notes"
        path = folder / name
        path.write_text(
            f"#!/bin/bash\nprintf '%s\\0' \"$@\" > {notes}\n{does}\n"
        )
        path.chmod(0o755)
        return notes

    return program


def run_script(script, **variables):
    return subprocess.run(
        ["bash"],
        input=script,
        env=os.environ | {"SLURM_JOB_ID": "7"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_file_to_submit_by_hand_is_what_its_command_renders():
    shebang, rest = FILE.read_text().split("\n", 1)
    first = rest.index("#SBATCH")
    command = re.search(r"# +vae-submit (.*)\n", rest[:first], re.DOTALL)[1]
    words = shlex.split(command.replace("\\\n#", " "))
    words.insert(words.index("--"), "--dry_run")
    assert vae_submit(*words).out == f"{shebang}\n{rest[first:]}"


@pytest.mark.parametrize(
    "words",
    [
        (),
        (*GPUS, "--workers=2", "--cpus=8", "--image=/shared/vae.sif"),
        (f"--name={ODD_NAME}", f"--venv=/{ODD}", "--", f"--data_dir=/{ODD}"),
        (
            *(
                f"--job_dir=/{ODD}",
                f"--name={ODD_NAME}",
                "--image=docker://docker.io/me/vae:1",
            ),
            *("--", f"--data_dir=/{ODD}"),
        ),
    ],
)
def test_bash_and_shellcheck_find_nothing_in_a_script(words):
    shellcheck = pathlib.Path(sys.executable).with_name("shellcheck")
    for command in (["bash", "-n"], [shellcheck, "--severity=warning", "-"]):
        done = subprocess.run(
            command,
            input=dry_run(*words),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_setting_has_its_place():
    script = dry_run(
        *("--name=night", "--partition=gpu", "--account=lab", "--qos=low"),
        *("--workers=3", *GPUS, "--cpus=8", "--memory_gib=64"),
        *("--timeout_hours=30.5", "--max_restarts=5"),
        *("--", "--batch_size=132"),
    )
    assert options(script) == {
        "job-name": "night",
        "comment": f"vae-trainer:{JOB_DIR}",
        "partition": "gpu",
        "account": "lab",
        "qos": "low",
        "nodes": "3",
        "ntasks-per-node": "1",
        "gpus-per-node": "a100:4",
        "cpus-per-task": "8",
        "mem": "64G",
        "time": "30:30:00",
        "output": "slurm-%j.log",
        "open-mode": "append",
        "requeue": "",
        "signal": "TERM@180",
    }
    assert "srun --kill-on-bad-exit=0 --wait=0 --cpus-per-task=8 " in script
    assert '"$restarts" -ge 5 ]' in script


def test_what_is_not_given_is_the_clusters_own():
    assert set(options(dry_run())) == {
        *("job-name", "comment", "nodes", "ntasks-per-node", "output"),
        *("open-mode", "requeue", "signal"),
    }
    assert "--cpus-per-task" not in dry_run()


def test_gpus_need_no_name():
    assert options(dry_run("--gpus=4"))["gpus-per-node"] == "4"


def test_odd_characters_reach_the_trainer_as_they_are(program):
    notes = program("srun")
    words = (f"--job_dir=/{ODD}", f"--venv=/{ODD}", f"--name={ODD_NAME}")
    script = dry_run(*words, "--", f"--data_dir=/{ODD}")
    assert options(script)["job-name"] == ODD_NAME
    assert run_script(script).returncode == 0
    assert notes.read_text().split("\0")[2:-1] == [
        f"/{ODD}/bin/vae-train",
        f"--job_dir=/{ODD}",
        f"--data_dir=/{ODD}",
    ]


def test_a_container_sees_the_folders_and_the_gpus(program, tmp_path):
    notes = program("srun")
    job_dir, scratch = tmp_path / "runs" / "vae", f"{tmp_path}/a b"
    script = dry_run(
        *(f"--job_dir={job_dir}", "--gpus=1", "--image=/shared/vae.sif"),
        *("--", "--data_dir=/shared/data"),
    )
    variables = {"HOME": "/home/me", "TMPDIR": scratch}
    assert run_script(script, **variables).returncode == 0
    assert notes.read_text().split("\0")[2:-1] == [
        *("apptainer", "exec", "--nv"),
        *("--env", "KERAS_HOME=/home/me/.keras"),
        *("--bind", scratch, "--bind", str(job_dir)),
        *("--bind", "/shared/data", "/shared/vae.sif", "vae-train"),
        *(f"--job_dir={job_dir}", "--data_dir=/shared/data"),
    ]
    # Apptainer mounts only what exists.
    assert job_dir.is_dir()


def test_a_job_to_begin_with_is_mounted_while_it_is_there(program, tmp_path):
    notes = program("srun")
    source = tmp_path / "first job"
    source.mkdir()
    script = dry_run(
        *(f"--job_dir={tmp_path}/vae", "--image=/shared/vae.sif"),
        *("--", f"--init_from={source}@best"),
    )
    for is_there in (True, False):
        notes.unlink(missing_ok=True)
        assert run_script(script).returncode == 0
        assert (f"--bind\0{source}\0" in notes.read_text()) == is_there
        shutil.rmtree(source, ignore_errors=True)


def test_a_bucket_is_not_mounted():
    script = dry_run("--job_dir=gs://my-bucket/vae", "--image=/shared/vae.sif")
    assert "--bind gs:" not in script
    assert "mkdir" not in script
    assert "--nv" not in script


@pytest.mark.parametrize("code", [0, 1, 2, 137])
def test_a_job_that_ended_is_not_queued_again(program, code):
    program("srun", f"exit {code}")
    notes = program("scontrol")
    assert run_script(dry_run()).returncode == code
    assert not notes.exists()


def test_an_interrupted_job_is_queued_again(program):
    program("srun", "exit 75")
    notes = program("scontrol")
    done = run_script(dry_run(), SLURM_RESTART_COUNT="99")
    assert (done.returncode, done.stderr) == (75, "")
    assert notes.read_text() == "requeue\x007\0"


def test_a_job_that_is_always_interrupted_is_given_up(program):
    program("srun", "exit 75")
    notes = program("scontrol")
    done = run_script(dry_run(), SLURM_RESTART_COUNT="100")
    assert done.returncode == 75
    assert not notes.exists()
    assert done.stderr == (
        "Interrupted after 100 restarts, the most that were allowed.\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--spot"], "give the --partition or --qos whose jobs may be"),
        (["--partition=a b"], "--partition='a b' is not a name"),
        (["--account=a;b"], "--account='a;b' is not a name"),
        (["--qos=low\n#SBATCH -N9"], "is not a name that Slurm knows"),
        (["--name=a\nb"], "--name='a\\nb' has characters"),
        (["--name=a\\b"], "has characters that Slurm does not take"),
        (["--job_dir=runs/vae"], "--job_dir=runs/vae is not the full path"),
        (["--venv=.venv"], "--venv=.venv is not the full path"),
        (["--venv=gs://b/venv"], "--venv=gs://b/venv is not the full path"),
        (["--", "--data_dir=data"], "--data_dir=data is not the full path"),
        (["--timeout_hours=0.05"], "the least is 0.1"),
        (["--image=vae-trainer:1"], "is not what Apptainer runs"),
        (["--image=shared/vae.sif"], "the full path of a .sif file"),
        (["--image=docker://vae-trainer:1"], "names no registry"),
        (
            ["--image=/shared/vae.sif", "--job_dir=/shared/a:b"],
            "/shared/a:b has a colon or a comma",
        ),
        (["--", "--init_from=runs/a"], "--init_from=runs/a is not the full"),
        (["--accelerator=a100"], "does not say how many"),
        (
            ["--gpus=1", "--accelerator=a'\n#SBATCH --mem=1\n"],
            "is not a GPU of Slurm",
        ),
        (["--timeout_hours=1e300"], "is too large; the most is 100000"),
        (["--cpus=-1"], "--cpus=-1"),
        (["--workers=3"], "cannot be split evenly among 3 replicas"),
        (["--", "--epoch=3"], "After --: Unknown command line flag 'epoch'"),
        (["--project=p"], "flags of the training go after --"),
    ],
)
def test_what_slurm_cannot_run_is_refused(words, message):
    outcome = vae_submit(*SUBMIT, "--dry_run", *words)
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.exit_code == 2
    assert outcome.out == ""


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Submits a job from a folder of the test's own."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vae-train").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    return lambda *words: vae_submit(*SUBMIT, f"--venv={tmp_path}", *words)


def test_the_script_goes_to_sbatch_and_the_rest_is_said(
    submit, program, tmp_path
):
    notes = program("sbatch", f"cat > {tmp_path}/script; echo '7;cluster'")
    outcome = submit("--", "--epochs=3")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert notes.read_text() == "--parsable\0"
    assert (tmp_path / "script").read_text() == submit(
        "--dry_run", "--", "--epochs=3"
    ).out
    assert outcome.out == (
        "Submitted: job 7\n"
        "Status: vae-submit slurm status 7\n"
        "Queue: squeue --jobs=7\n"
        "Details: scontrol show job 7\n"
        f"Log: tail -F {tmp_path}/slurm-7.log\n"
        f"TensorBoard: tensorboard --logdir={JOB_DIR}/logs\n"
        "Save and queue again: scancel --signal=TERM 7\n"
        "Save and cancel: scancel 7\n"
    )


def test_a_refusal_is_one_sentence(submit, program):
    program(
        "sbatch",
        "echo 'sbatch: error: invalid partition specified: x' >&2\n"
        "echo 'sbatch: error: Batch job submission failed: Invalid' >&2\n"
        "exit 1",
    )
    outcome = submit()
    assert outcome.exit_code == 1
    assert outcome.err == (
        "ERROR: Slurm refuses the job: invalid partition specified: x; Batch "
        "job submission failed: Invalid.\n"
    )


@pytest.mark.parametrize(
    "said",
    [
        "Unable to contact slurm controller (connect failure)",
        "Socket timed out on send/recv operation",
    ],
)
def test_a_controller_out_of_reach_is_75(submit, program, said):
    program(
        "sbatch",
        f"echo 'sbatch: error: Batch job submission failed: {said}' >&2\n"
        "exit 1",
    )
    outcome = submit()
    assert outcome.exit_code == 75
    assert f"cannot be reached (Batch job submission failed: {said});" in (
        outcome.err
    )


def test_what_sbatch_says_besides_is_a_warning(submit, program):
    program("sbatch", "echo 'sbatch: lua: be brief' >&2; echo 7")
    outcome = submit()
    assert outcome.exit_code == 0
    assert outcome.err == "WARNING: sbatch: lua: be brief\n"


def test_without_sbatch_nothing_is_sent(submit, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    outcome = submit()
    assert outcome.exit_code == 1
    assert outcome.err.startswith("ERROR: There is no sbatch on PATH; ")


def test_an_environment_without_the_trainer_is_refused(submit, tmp_path):
    shutil.rmtree(tmp_path / "bin")
    outcome = submit()
    assert outcome.exit_code == 2
    assert f"--venv={tmp_path} has no bin/vae-train" in outcome.err


def test_an_image_that_may_change_is_a_warning():
    image = "--image=docker://docker.io/me/vae-trainer"
    outcome = vae_submit(*SUBMIT, "--dry_run", image)
    assert outcome.exit_code == 0
    assert outcome.err.startswith("WARNING: --image=docker.io/me/vae-trainer ")
