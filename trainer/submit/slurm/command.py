"""`vae-submit slurm`: submit a job to Slurm, and say where to watch it."""

import os
import pathlib
import shlex
import subprocess

from trainer.errors import (
    ConfigError,
    ServiceUnavailableError,
    SubmitError,
)
from trainer.runtime.flags import Usage
from trainer.submit import job as job_lib, request
from trainer.submit.slurm import script as slurm

PROGRAM = "vae-submit slurm"
_USAGE = Usage(
    program=PROGRAM,
    about="Checks a training job, and gives it to sbatch. After -- go the "
    "flags of the training.",
    example="""\
vae-submit slurm --partition=gpu --job_dir=$PWD/runs/vae \\
  --workers=2 --gpus=4 --cpus=32 --timeout_hours=24 -- --batch_size=4096""",
    arguments="[flags] -- [flags of the training]",
)
# What sbatch says, with exit code 1 as always, when nobody answers it.
# From the table of errors in the library of Slurm 22.05.
_UNREACHABLE = (
    "Unable to contact slurm controller",
    "Socket timed out on send/recv operation",
    "Zero Bytes were transmitted or received",
    "in standby mode",
)


def run(words, stop):
    """Runs `vae-submit slurm WORDS`.

    Args:
        words: list of str, the command line after `slurm`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as its exit code says.
    """
    if words[:1] in (["status"], ["cancel"]):
        raise ConfigError(
            f"{PROGRAM} has no {words[0]}; Slurm's own commands are as short: "
            "squeue --jobs=N, scancel N."
        )
    parsed = job_lib.parse(
        words,
        _USAGE,
        slurm.Settings,
        slurm.add_flags,
        image=False,
        accelerator=False,
    )
    if parsed is None:
        return
    job, settings, flags = parsed
    script = slurm.render(job, settings)
    if job.image.startswith("docker://"):
        job_lib.warn(job_lib.image_warning(job.image.removeprefix("docker://")))
    stop.check()
    if flags["dry_run"].value:
        print(script, end="")
        return
    if not job.image:
        _check_program(settings.venv)
    number = request.ask("sbatch", lambda: _submit(script), stop)
    print(f"Submitted: job {number}")
    print(_where_to_watch(number, job.job_dir))


def _check_program(venv):
    program = pathlib.Path(venv) / "bin" / "vae-train"
    if not os.access(program, os.X_OK):
        raise ConfigError(
            f"--venv={venv} has no bin/vae-train; give the folder of a virtual "
            "environment with the trainer, or an --image."
        )


def _submit(script):
    """Gives a batch script to sbatch; returns the number of the job.

    Raises:
        SubmitError: Slurm is not here, or refuses.
        ServiceUnavailableError: its controller cannot be reached for now.
    """
    try:
        done = subprocess.run(
            ["sbatch", "--parsable"],  # noqa: S607 - the user's own.
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise SubmitError(
            "There is no sbatch on PATH; run this on a login node of the "
            "cluster, or print the script with --dry_run."
        ) from error
    said = "; ".join(
        line.removeprefix("sbatch: error: ")
        for line in done.stderr.splitlines()
    )
    if done.returncode:
        if any(text in said for text in _UNREACHABLE):
            raise ServiceUnavailableError(
                f"Slurm's controller cannot be reached ({said}); look whether "
                "the job is there (squeue --me), and try again."
            )
        raise SubmitError(f"Slurm refuses the job: {said.rstrip('.')}.")
    job_lib.warn(said)
    # NUMBER, or NUMBER;CLUSTER where there are several.
    return done.stdout.strip().partition(";")[0]


def _where_to_watch(number, job_dir):
    log = shlex.quote(str(pathlib.Path.cwd() / f"slurm-{number}.log"))
    logdir = shlex.quote(f"{job_dir}/logs")
    # A listing of a bucket costs.
    reload = " --reload_interval=60" if job_dir.startswith("gs://") else ""
    return (
        f"Queue: squeue --jobs={number}\n"
        f"Details: scontrol show job {number}\n"
        f"Log: tail -F {log}\n"
        f"TensorBoard: tensorboard --logdir={logdir}{reload}\n"
        f"Save and queue again: scancel --signal=TERM {number}\n"
        f"Save and cancel: scancel {number}"
    )
