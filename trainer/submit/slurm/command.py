"""`vae-submit slurm`: submit a job to Slurm, and what may follow."""

import os
import pathlib
import shlex

from trainer.errors import ConfigError, SubmitError
from trainer.runtime.flags import Usage
from trainer.submit import job as job_lib, known_job, verbs, waiting
from trainer.submit.slurm import (
    jobs as slurm_jobs,
    programs,
    script as slurm,
)

PROGRAM = slurm_jobs.Jobs.program
_USAGE = Usage(
    program=PROGRAM,
    about="Checks a training job, and gives it to sbatch. After -- go the "
    "flags of the training. `vae-submit slurm status JOB`, `logs JOB`, "
    "`cancel JOB` and `list` are about jobs that were sent.",
    example="""\
vae-submit slurm --partition=gpu --job_dir=$PWD/runs/vae \\
  --workers=2 --gpus=4 --cpus=32 --timeout_hours=24 -- --batch_size=4096""",
    arguments="[flags] -- [flags of the training]",
)


def run(words, stop):
    """Runs `vae-submit slurm WORDS`.

    Args:
        words: list of str, the command line after `slurm`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as its exit code says.
    """
    if words and words[0] in verbs.VERBS:
        verbs.run(slurm_jobs.Jobs, words[0], words[1:], stop)
        return
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
    number = _submit(script, stop)
    print(f"Submitted: job {number}")
    print(_where_to_watch(number, job.job_dir), flush=True)
    if flags["wait"].value:
        sent = known_job.KnownJob(
            name=number,
            title=job.name,
            state="submitted",
            job_dir=job.job_dir,
        )
        waiting.until_end(slurm_jobs.Jobs(), sent, stop)


def _check_program(venv):
    program = pathlib.Path(venv) / "bin" / "vae-train"
    if not os.access(program, os.X_OK):
        raise ConfigError(
            f"--venv={venv} has no bin/vae-train; give the folder of a virtual "
            "environment with the trainer, or an --image."
        )


def _submit(script, stop):
    """Gives a batch script to sbatch; returns the number of the job.

    Raises:
        SubmitError: Slurm is not here, or refuses.
        ServiceUnavailableError: its controller cannot be reached for now.
    """
    try:
        printed, said = programs.call(
            ["sbatch", "--parsable"],
            stop,
            advice=", or print the script with --dry_run",
            script=script,
        )
    except programs.RefusalError as error:
        said = error.said.rstrip(".")
        raise SubmitError(f"Slurm refuses the job: {said}.") from error
    job_lib.warn(said)
    # NUMBER, or NUMBER;CLUSTER where there are several.
    return printed.strip().partition(";")[0]


def _where_to_watch(number, job_dir):
    log = shlex.quote(str(pathlib.Path.cwd() / f"slurm-{number}.log"))
    logdir = shlex.quote(f"{job_dir}/logs")
    # A listing of a bucket costs.
    reload = " --reload_interval=60" if job_dir.startswith("gs://") else ""
    return (
        f"Status: {PROGRAM} status {number}\n"
        f"Queue: squeue --jobs={number}\n"
        f"Details: scontrol show job {number}\n"
        f"Log: tail -F {log}\n"
        f"TensorBoard: tensorboard --logdir={logdir}{reload}\n"
        f"Save and queue again: scancel --signal=TERM {number}\n"
        f"Save and cancel: scancel {number}"
    )
