"""A job as Vertex AI takes it: a CustomJob, or a HyperparameterTuningJob."""

import dataclasses
import re

from trainer.errors import ConfigError
from trainer.search import space
from trainer.submit import machines
from trainer.submit.vertex import jobs as vertex_jobs, service, tuning

# Of a job that waits for its machines (the page schedule-jobs-dws).
_FLEX_START_HOURS = 7 * 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how Vertex AI runs a job; each is the flag of its name.

    Raises:
        ConfigError: a setting is missing or cannot be.
    """

    project: str
    region: str
    machine_type: str
    service_account: str
    network: str
    tensorboard: str
    max_wait_hours: float
    tune: list[str]
    trials: int
    parallel_trials: int

    def __post_init__(self):
        for name, pattern in {
            "project": "[a-z0-9.:-]+",
            "region": "[a-z0-9-]+",
        }.items():
            if not re.fullmatch(pattern, getattr(self, name)):
                raise ConfigError(
                    f"--{name}={getattr(self, name)} is not the ID of a "
                    f"{name}; give for instance --project=my-project "
                    "--region=us-central1."
                )
        # The API wants the number of the project here, and only here.
        if self.network and not re.fullmatch(
            r"projects/\d+/global/networks/[a-z0-9-]+", self.network
        ):
            raise ConfigError(
                f"--network={self.network} is not of the form "
                "projects/PROJECT_NUMBER/global/networks/NAME."
            )
        if self.tensorboard:
            self._check_tensorboard()
        if self.trials > 1 and not self.tune:
            raise ConfigError(
                f"--trials={self.trials} needs at least one --tune=NAME=VALUES."
            )
        if self.tune and self.trials == 1:
            raise ConfigError("--tune needs --trials=N, with N above 1.")
        if self.parallel_trials > self.trials:
            raise ConfigError(
                f"--parallel_trials={self.parallel_trials} is more than "
                f"--trials={self.trials}; give at most as many."
            )

    def _check_tensorboard(self):
        if not re.fullmatch(
            rf"projects/[^/]+/locations/{self.region}/tensorboards/\d+",
            self.tensorboard,
        ):
            raise ConfigError(
                f"--tensorboard={self.tensorboard} is not of the form projects/"
                f"PROJECT/locations/{self.region}/tensorboards/NUMBER; the "
                "instance must be in the region of the job."
            )
        if not self.service_account:
            raise ConfigError(
                "--tensorboard needs --service_account=NAME@PROJECT.iam."
                "gserviceaccount.com, an account that may write to it."
            )


def add_flags(flags):
    """Adds the flags of `Settings` to `Flags`."""
    title = "Vertex AI"
    for name, text in {
        "project": "ID of the Google Cloud project",
        "region": "for instance us-central1",
        "machine_type": "chosen by --accelerator and --gpus if not given",
        "service_account": "whom the job runs as; Vertex AI's own if not given",
        "network": "projects/NUMBER/global/networks/NAME to peer with",
        "tensorboard": "projects/…/tensorboards/… that gets the logs as well",
    }.items():
        flags.add(name, "", text, title=title, unit="name")
    flags.add(
        "max_wait_hours",
        0.0,
        "wait up to this time until all machines are free at once; 0: fail "
        "when they are not",
        title=title,
        unit="hours",
        minimum=0,
    )
    title = "Search"
    flags.add(
        "tune",
        [],
        "search for the value of a flag with the least test loss: "
        "learning_rate=1e-4..1e-2, learning_rate=1e-4..1e-2:log or "
        "latent_dim=2,20,200; may be repeated",
        title=title,
        unit="name=values",
    )
    flags.add(
        "trials",
        1,
        "jobs that the search runs in all",
        title=title,
        unit="jobs",
        minimum=1,
    )
    flags.add(
        "parallel_trials",
        1,
        "how many of them run at a time",
        title=title,
        unit="jobs",
        minimum=1,
    )


def render(job, settings):
    """Returns what Vertex AI calls a job.

    Args:
        job: a `Job`.
        settings: a `Settings`.

    Returns:
        A `service.Kind` and a dict, the resource in JSON.

    Raises:
        ConfigError: the training would refuse its flags, or Vertex AI cannot
            run the job as described.
    """
    head = {
        "displayName": job.name,
        "labels": {vertex_jobs.LABEL: vertex_jobs.VALUE},
    }
    if not settings.tune:
        job.train_config()
        # Vertex AI names the directory in AIP_* variables as well, but the
        # flag makes the logs of the job say where it writes.
        arguments = [f"--job_dir={job.job_dir}", *job.arguments]
        spec = {**head, "jobSpec": job_spec(job, settings, arguments)}
        return service.CUSTOM_JOB, spec
    parameters = space.parse(
        settings.tune,
        "--tune",
        job.train_flags,
        job.train_config,
        job.replica_count,
    )
    # No --job_dir: each trial gets one of its own from its AIP_* variables.
    trial = job_spec(job, settings, job.arguments)
    study = tuning.study(
        parameters, settings.trials, settings.parallel_trials, trial
    )
    return service.TUNING_JOB, {**head, **study}


def job_spec(job, settings, arguments):
    """Returns a `CustomJobSpec` as a dict in JSON's names.

    It is also what `gcloud ai custom-jobs create --config=` takes.

    Args:
        job: a `Job`.
        settings: a `Settings`.
        arguments: list of str, the flags of the training.

    Raises:
        ConfigError: Vertex AI cannot run the job as described.
    """
    if not re.fullmatch(r"gs://[^/]+(/.+)?", job.job_dir):
        raise ConfigError(
            f"--job_dir={job.job_dir} does not outlive the machines of the "
            "job; give gs://BUCKET/FOLDER."
        )
    machine_warning(job, settings)
    machine = {"machineType": _machine_type(job, settings)}
    if job.gpus:
        machine["acceleratorType"] = job.accelerator
        machine["acceleratorCount"] = job.gpus
    pool = {
        "machineSpec": machine,
        "replicaCount": 1,
        "containerSpec": {"imageUri": job.image, "args": arguments},
    }
    if job.env:
        pool["containerSpec"]["env"] = [
            # $(NAME) would become the value of that variable:
            # https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/EnvVar
            {"name": name, "value": value.replace("$(", "$$(")}
            for name, value in job.env.items()
        ]
    # In TF_CONFIG the first pool becomes the chief, the second the workers.
    pools = [pool]
    if job.workers > 1:
        pools.append({**pool, "replicaCount": job.workers - 1})
    spec = {
        "workerPoolSpecs": pools,
        "scheduling": _scheduling(job, settings),
        "baseOutputDirectory": {"outputUriPrefix": job.job_dir},
        "serviceAccount": settings.service_account,
        "network": settings.network,
        "tensorboard": settings.tensorboard,
    }
    return {name: value for name, value in spec.items() if value}


def machine_warning(job, settings):
    """Returns what could not be checked of the machines of a job, or None.

    Raises:
        ConfigError: they do not exist as described.
    """
    machine_type = _machine_type(job, settings)
    return machines.check(machine_type, job.accelerator, job.gpus)


def _machine_type(job, settings):
    return settings.machine_type or machines.choose(job.accelerator, job.gpus)


def _scheduling(job, settings):
    """Returns how the job is started, restarted and stopped.

    Vertex AI starts a failed job again by itself: after an internal error,
    when machines are out of stock or a Spot machine was taken away, and after
    a crash, which the trainer's exit code there looks like when it wants to
    be run again (`runtime.platform.exit_code`); each a few times only. A
    job that it gives up goes on when it is submitted again.
    https://docs.cloud.google.com/vertex-ai/docs/training/understanding-training-service
    """
    scheduling = {
        "strategy": "SPOT" if job.spot else "STANDARD",
        # A worker that was restarted alone cannot join the all-reduce of
        # those that run: all start again.
        "restartJobOnWorkerRestart": job.workers > 1,
        # True would also override the line before.
        "disableRetries": False,
    }
    if settings.max_wait_hours:
        if job.spot:
            raise ConfigError(
                "--max_wait_hours waits for machines that stay, but --spot "
                "asks for others; leave one of them out."
            )
        if job.accelerator in ("", *machines.NO_FLEX_START):
            raise ConfigError(
                "--max_wait_hours is for jobs with one of "
                f"{', '.join(machines.FLEX_START)} (table of {machines.DATE}); "
                "leave it out, or give --accelerator."
            )
        if job.timeout_hours > _FLEX_START_HOURS:
            raise ConfigError(
                f"--timeout_hours={job.timeout_hours:g} is too long with "
                f"--max_wait_hours; the most is {_FLEX_START_HOURS}."
            )
        scheduling["strategy"] = "FLEX_START"
        scheduling["maxWaitDuration"] = _seconds(settings.max_wait_hours)
    if job.timeout_hours:
        scheduling["timeout"] = _seconds(job.timeout_hours)
    return scheduling


def _seconds(hours):
    return f"{round(hours * 3600)}s"
