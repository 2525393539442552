"""A job as Slurm takes it: a batch script."""

import dataclasses
import math
import re
import shlex
import sys

from trainer import places
from trainer.errors import ConfigError
from trainer.submit.slurm import jobs as slurm_jobs

# From the notice that a time limit is near to that limit. The trainer saves
# within a minute, and Slurm may send it a minute early.
_NOTICE_SECONDS = 180
_LEAST_HOURS = 0.1
_CONTAINER = re.compile(r"(docker|oras|library)://\S+|/.*\.sif")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how Slurm runs a job; each is the flag of its name.

    Raises:
        ConfigError: a setting cannot be.
    """

    partition: str
    account: str
    qos: str
    cpus: int
    memory_gib: int
    venv: str
    max_restarts: int

    def __post_init__(self):
        for name in ("partition", "account", "qos"):
            value = getattr(self, name)
            if not re.fullmatch(r"[\w.,+@-]*", value):
                raise ConfigError(
                    f"--{name}={value!r} is not a name that Slurm knows; "
                    "`sinfo` lists partitions, `sacctmgr show assoc user=$USER`"
                    " your accounts and qos."
                )
        _check_folder("venv", self.venv)


def add_flags(flags):
    """Adds the flags of `Settings` to `Flags`."""
    title = "Slurm"
    for name, text in {
        "partition": "of the cluster; its default one if not given",
        "account": "whom the time is charged to; your own if not given",
        "qos": "quality of service, for instance one that may be preempted",
    }.items():
        flags.add(name, "", text, title=title, unit="name")
    for name, unit, text in (
        ("cpus", "cores", "CPUs of each machine; 0: as the partition has it"),
        (
            "memory_gib",
            "gib",
            "memory of each machine; 0: as the partition has it",
        ),
    ):
        flags.add(name, 0, text, title=title, unit=unit, minimum=0)
    flags.add(
        "venv",
        sys.prefix,
        "virtual environment of the trainer, where all machines see it; not "
        "used with --image, a .sif file or docker://NAME that Apptainer runs",
        title=title,
        unit="folder",
    )
    flags.add(
        "max_restarts",
        100,
        "how often an interrupted job is queued again, those times counted "
        "that Slurm does it by itself",
        title=title,
        minimum=0,
    )


def render(job, settings):
    """Returns the batch script of a job, as text.

    Args:
        job: a `Job`.
        settings: a `Settings`.

    Raises:
        ConfigError: the training would refuse its flags, or Slurm cannot run
            the job as described.
    """
    _check(job)
    config = job.train_config(shares_files=True)
    folders = {
        name: path
        for name, path in (
            ("job_dir", job.job_dir),
            ("data_dir", config.data_dir),
        )
        if path and not path.startswith("gs://")
    }
    source = ""
    if config.init_from and not config.init_from.startswith("gs://"):
        source, _ = places.split_checkpoint(config.init_from, "--init_from")
        _check_folder("init_from", source)
    for name, path in folders.items():
        _check_folder(name, path)
    arguments = [f"--job_dir={job.job_dir}", *job.arguments]
    program, prepare = [shlex.quote(f"{settings.venv}/bin/vae-train")], ""
    if job.image:
        program, prepare = _container(job, folders, source)
    return _SCRIPT.format(
        options="\n".join(
            f"#SBATCH --{name}={shlex.quote(str(value))}"
            for name, value in _options(job, settings).items()
            if value
        ),
        notice=_NOTICE_SECONDS,
        variables=_exports(job),
        prepare=prepare,
        # srun does not take it over from the job:
        # https://slurm.schedmd.com/srun.html#OPT_cpus-per-task
        cpus=f" --cpus-per-task={settings.cpus}" if settings.cpus else "",
        command=" \\\n  ".join([*program, *map(shlex.quote, arguments)]),
        max_restarts=settings.max_restarts,
    )


def _check(job):
    if job.spot:
        raise ConfigError(
            "--spot has no meaning in Slurm; give the --partition or --qos "
            "whose jobs may be preempted."
        )
    # sbatch takes a backslash away, even one within quotes.
    if not job.name.isprintable() or "\\" in job.name:
        raise ConfigError(
            f"--name={job.name!r} has characters that Slurm does not take as "
            "they are; give another."
        )
    # In a line of its own it would be an option of sbatch.
    if not re.fullmatch(r"[\w.-]*", job.accelerator, re.ASCII):
        raise ConfigError(
            f"--accelerator={job.accelerator!a} is not a GPU of Slurm, whose "
            "names have letters, digits, dots, dashes and underscores only; "
            "`sinfo --format=%G` lists them."
        )
    if 0 < job.timeout_hours < _LEAST_HOURS:
        raise ConfigError(
            f"--timeout_hours={job.timeout_hours:g} leaves no time to train, "
            f"since the job is told to save {_NOTICE_SECONDS} s before; the "
            f"least is {_LEAST_HOURS}."
        )
    if job.image and not _CONTAINER.fullmatch(job.image):
        raise ConfigError(
            f"--image={job.image} is not what Apptainer runs; give "
            "docker://REGISTRY/NAME:TAG, or the full path of a .sif file."
        )


def _check_folder(name, path):
    if not path.startswith("/"):
        raise ConfigError(
            f"--{name}={path} is not the full path of a folder; give one that "
            "all machines see, for instance in $HOME."
        )


def _container(job, folders, source):
    """Returns what runs the trainer in a container, and what goes before.

    Args:
        job: a `Job`.
        folders: dict, paths of the folders that it needs.
        source: str, path of the job that it begins with, which a restart does
            not need; empty for none.

    Returns:
        A list of str, words of the shell, and a str, lines of it.

    Raises:
        ConfigError: a folder cannot be mounted.
    """
    for folder in (*folders.values(), source):
        if re.search("[:,]", folder):
            raise ConfigError(
                f"{folder} has a colon or a comma, and Apptainer cannot mount "
                "it; give another folder."
            )
    keras_home = []
    if "KERAS_HOME" not in job.env:
        # The image keeps downloads where only Docker would mount a folder.
        keras_home = ['--env KERAS_HOME="${KERAS_HOME:-$HOME/.keras}"']
    program = [
        "apptainer exec" + (" --nv" if job.gpus else ""),
        *keras_home,
        '${TMPDIR:+--bind "$TMPDIR"}',
        *(f"--bind {shlex.quote(folder)}" for folder in folders.values()),
        *(['"${initial[@]}"'] if source else []),
        shlex.quote(job.image),
        "vae-train",
    ]
    prepare = ""
    if "job_dir" in folders:
        prepare = (
            "\n# Apptainer mounts only what exists.\n"
            f"mkdir -p {shlex.quote(job.job_dir)} || exit\n"
        )
    if source:
        folder = shlex.quote(source)
        prepare += (
            "\n# Of a job that goes on it may be gone.\n"
            "initial=()\n"
            f"if [ -d {folder} ]; then initial=(--bind {folder}); fi\n"
        )
    return program, prepare


def _exports(job):
    """Returns lines of the shell that set the variables of `--env`."""
    # Apptainer takes these into the container, before what the image sets.
    prefix = "APPTAINERENV_" if job.image else ""
    lines = [
        f"export {prefix}{name}={shlex.quote(value)}\n"
        for name, value in job.env.items()
    ]
    return "".join(["\n", *lines]) if lines else ""


def _options(job, settings):
    """Returns what the job asks for, by the name of sbatch's option."""
    gpus = ":".join(filter(None, [job.accelerator, str(job.gpus)]))
    return {
        "job-name": job.name,
        # By which `vae-submit slurm status --job_dir=…` finds it.
        "comment": slurm_jobs.comment(job.job_dir),
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "nodes": job.workers,
        "ntasks-per-node": 1,
        "gpus-per-node": gpus if job.gpus else "",
        "cpus-per-task": settings.cpus,
        "mem": f"{settings.memory_gib}G" if settings.memory_gib else "",
        "time": _minutes(job.timeout_hours),
    }


# A job that is cancelled or preempted gets SIGTERM in its batch shell as well:
# the shell ends there, and does not queue the job again.
_SCRIPT = """\
#!/bin/bash
{options}
# A restart goes on in the same log.
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append
# Slurm restarts the job when a node is lost or it is preempted.
#SBATCH --requeue
# Before the time limit the trainer is told to save; this shell is not told.
#SBATCH --signal=TERM@{notice}
{variables}{prepare}
# One task on each node. When one ends, the others notice by themselves, save,
# and exit with 75 within a minute: srun need not kill them.
srun --kill-on-bad-exit=0 --wait=0{cpus} \\
  {command}
code=$?

# 75: the state is saved, and there is more to do.
restarts=${{SLURM_RESTART_COUNT:-0}}
if [ "$code" -eq 75 ] && [ "$restarts" -ge {max_restarts} ]; then
  echo "Interrupted after $restarts restarts, the most that were allowed." >&2
elif [ "$code" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def _minutes(hours):
    """Returns a time as Slurm writes it, whole minutes; empty for 0."""
    hours, minutes = divmod(math.ceil(hours * 60), 60)
    return f"{hours}:{minutes:02d}:00" if hours or minutes else ""
