"""Jobs that Vertex AI has: trainings, and searches over flags."""

import re

from trainer.errors import ConfigError, SubmitError
from trainer.submit import program_output
from trainer.submit.known_job import KnownJob
from trainer.submit.vertex import service

# What every job that the command sends is labelled with.
LABEL, VALUE = "program", "vae-trainer"
_ENDED = {
    "JOB_STATE_SUCCEEDED",
    "JOB_STATE_FAILED",
    "JOB_STATE_CANCELLED",
    "JOB_STATE_EXPIRED",
    "JOB_STATE_PARTIALLY_SUCCEEDED",
}


class Jobs:
    """The jobs of a project in a region; see `verbs.run`."""

    program = "vae-submit vertex"
    title = "Vertex AI"
    example = "projects/P/locations/R/customJobs/N"
    can_follow = False
    kept = (
        "a training that gets SIGTERM saves its state; if it is killed at "
        "once, the work since its last checkpoint is done again. The same "
        "vae-submit command goes on from there."
    )

    def __init__(self, flags):
        self._project = flags["project"].value
        self._region = flags["region"].value
        self._endpoint = flags["api_endpoint"].value

    @staticmethod
    def add_flags(flags):
        """Adds the flags that say where to look."""
        for name, text in {
            "project": "ID of the Google Cloud project",
            "region": "for instance us-central1",
        }.items():
            more = "; a name projects/… has it"
            flags.add(name, "", text + more, unit="name")
        add_endpoint_flag(flags)

    def sees(self, job_dir):
        """Whether this machine sees a job directory: those in buckets."""
        return job_dir.startswith("gs://")

    def find(self, name, stop):
        """Returns the jobs of a name, the newest first.

        Raises:
            ConfigError: it is none, or it does not say where to look.
        """
        if "/" in name:
            resource = service.Resource.of(name)
            message = service.get(resource, self._endpoint, stop)
            return [_job(message, resource.kind)]
        # It becomes part of an expression.
        if not re.fullmatch(r"[\w .:@+-]+", name):
            raise ConfigError(
                f"{name!a} is not the name of a job; give one that "
                f"`{self.program} list` shows."
            )
        self._check_place(f"the name {name}")
        return self._known(stop, f'display_name="{name}"')

    def find_in(self, job_dir, stop):
        """Returns the jobs of a job directory, the newest first."""
        return [job for job in self.all(stop) if job.job_dir == job_dir]

    def all(self, stop):
        """Returns the jobs of the trainer, the newest first."""
        self._check_place("a search for jobs")
        return self._known(stop)

    def get(self, job, stop):
        """Returns a job as it is now."""
        return self.find(job.name, stop)[0]

    def show_logs(self, job, follow, stop):
        """Has gcloud print the output of a job until it has ended.

        Raises:
            SubmitError: there is no gcloud, or it failed.
        """
        resource = service.Resource.of(job.name)
        try:
            code, said = program_output.show(resource.log_command.split(), stop)
        except FileNotFoundError as error:
            raise SubmitError(
                "There is no gcloud on this machine; install the Google Cloud "
                f"CLI, or look at {resource.console_link}."
            ) from error
        if code:
            raise SubmitError(
                f"gcloud did not show the logs: {service.one_line(said)}."
            )

    def cancel(self, job, stop):
        """Asks for a job to be stopped."""
        resource = service.Resource.of(job.name)
        service.cancel(resource, self._endpoint, stop)

    def _check_place(self, what):
        if not (self._project and self._region):
            raise ConfigError(
                f"For {what}, give --project and --region; or give a name that "
                f"has both, such as {self.example}."
            )

    def _known(self, stop, more=""):
        wanted = " AND ".join(filter(None, [f"labels.{LABEL}={VALUE}", more]))
        found = [
            _job(message, kind)
            for kind in (service.CUSTOM_JOB, service.TUNING_JOB)
            for message in service.find(
                kind,
                self._project,
                self._region,
                wanted,
                self._endpoint,
                stop,
            )
        ]
        return sorted(found, key=lambda job: job.created, reverse=True)


def add_endpoint_flag(flags, title=""):
    """Adds the flag that says whom to ask."""
    flags.add(
        "api_endpoint",
        "",
        "REGION-aiplatform.googleapis.com if not given; one on this machine is "
        "asked without credentials",
        title=title,
        unit="host",
    )


def _job(message, kind):
    spec = getattr(message, kind.job_spec)
    folder = spec.base_output_directory.output_uri_prefix.rstrip("/")
    return KnownJob(
        name=message.name,
        title=message.display_name,
        state=service.word(message.state, "JOB_STATE_"),
        has_ended=message.state.name in _ENDED,
        has_succeeded=message.state.name == "JOB_STATE_SUCCEEDED",
        job_dir=folder,
        is_search=kind is service.TUNING_JOB,
        created=message.create_time.isoformat() if message.create_time else "",
        details=tuple(_describe(message)),
    )


def _describe(message):
    """Yields lines that tell of a job.

    Trials follow, the best first, then those that have no test loss yet.
    """
    for title, moment in {
        "Created": message.create_time,
        "Started": message.start_time,
        "Ended": message.end_time,
    }.items():
        if moment:
            yield f"{title}: {moment:%Y-%m-%d %H:%M:%S} UTC"
    if message.error.message:
        yield f"Error: {service.one_line(message.error.message)}"
    trials = list(getattr(message, "trials", ()))
    trials.sort(key=lambda trial: (_loss(trial) is None, _loss(trial) or 0))
    yield from map(_trial_line, trials)


def _trial_line(trial):
    values = ", ".join(
        f"{parameter.parameter_id}={_number(parameter.value)}"
        for parameter in trial.parameters
    )
    loss = _loss(trial)
    result = "" if loss is None else f"test loss {loss:.4f}, "
    state = service.word(trial.state)
    return f"Trial {trial.id}: {result}{values} ({state})"


def _loss(trial):
    metrics = trial.final_measurement.metrics
    return metrics[0].value if metrics else None


def _number(value):
    # The API has one kind of number, also for integers.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
