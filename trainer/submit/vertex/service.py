"""Vertex AI's job service: checks against its types, and its few calls."""

import contextlib
import dataclasses
import http
import itertools
import re
from urllib import parse

from trainer.errors import (
    ConfigError,
    ServiceUnavailableError,
    SubmitError,
)
from trainer.submit import machines, request

_TIMEOUT_SECONDS = 60
_UNKNOWN_GPU = re.compile(r"Invalid enum value (\S+) for .*\.AcceleratorType")
# Those of a project that works with the trainer all day for years.
_MOST_JOBS = 10_000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class MissingClientError(SubmitError):
    """Google's client is not installed."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        message: the name of its type in the API.
        method: what the methods of the client call it.
        collection: what resource names call it.
        gcloud: what gcloud calls it.
        job_spec: the field of its type that holds a `CustomJobSpec`.
    """

    message: str
    method: str
    collection: str
    gcloud: str
    job_spec: str


CUSTOM_JOB = Kind(
    "CustomJob", "custom_job", "customJobs", "custom-jobs", "job_spec"
)
TUNING_JOB = Kind(
    "HyperparameterTuningJob",
    "hyperparameter_tuning_job",
    "hyperparameterTuningJobs",
    "hp-tuning-jobs",
    "trial_job_spec",
)


@dataclasses.dataclass(frozen=True)
class Resource:
    """The name of a job that exists.

    Attributes:
        name: `projects/PROJECT/locations/REGION/COLLECTION/ID`.
        kind: a `Kind`.
    """

    name: str
    kind: Kind

    @classmethod
    def of(cls, name):
        """Returns the `Resource` of a name.

        Raises:
            ConfigError: it is not the name of a job.
        """
        for kind in (CUSTOM_JOB, TUNING_JOB):
            # The region becomes part of the address that gets the credentials.
            parent = "projects/[^/]+/locations/[a-z0-9-]+"
            if re.fullmatch(rf"{parent}/{kind.collection}/[^/]+", name):
                return cls(name, kind)
        raise ConfigError(
            f"{name} is not the name of a job; it looks like "
            "projects/P/locations/R/customJobs/N or "
            "projects/P/locations/R/hyperparameterTuningJobs/N."
        )

    @property
    def region(self):
        """Where the job is."""
        return self.name.split("/")[3]

    @property
    def console_link(self):
        """The address that google-cloud-aiplatform 2.7 prints for a job."""
        _, project, _, region, _, number = self.name.split("/")
        return (
            "https://console.cloud.google.com/agent-platform/locations/"
            f"{region}/training/{number}?project={project}"
        )

    @property
    def log_command(self):
        """What shows the output of the job while it runs."""
        return f"gcloud ai {self.kind.gcloud} stream-logs {self.name}"


def check(kind, spec):
    """Returns a spec as a message of the API's own type.

    Args:
        kind: a `Kind`.
        spec: dict, the job in JSON.

    Raises:
        ConfigError: the API has no such field or value, or a pool of workers
            has no image or a machine that does not go with its GPUs.
        MissingClientError: Google's client is not installed.
    """
    message = getattr(_client_library(), kind.message)()
    from google.protobuf import json_format

    try:
        json_format.ParseDict(spec, message._pb, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        if unknown := _UNKNOWN_GPU.search(str(error)):
            raise ConfigError(
                f"The Google client that is installed does not know "
                f"--accelerator={unknown[1]}; correct the name, or, if Vertex "
                "AI has it by now, run `pip install --upgrade "
                "google-cloud-aiplatform`."
            ) from error
        raise ConfigError(
            f"This is no {kind.message} of the API, and was not sent: "
            f"{one_line(error)}."
        ) from error
    pools = getattr(message, kind.job_spec).worker_pool_specs
    if not pools:
        raise ConfigError(
            f"The {kind.message} has no workerPoolSpecs, and was not sent."
        )
    for pool in pools:
        if not pool.container_spec.image_uri:
            raise ConfigError(
                f"A pool of workers of the {kind.message} has no image; give "
                "--image."
            )
        machine = pool.machine_spec
        machines.check(
            machine.machine_type,
            machine.accelerator_type.name if machine.accelerator_type else "",
            machine.accelerator_count,
        )
    return message


def create(kind, spec, project, region, endpoint, stop):
    """Sends a job, after `check`.

    Args:
        kind: a `Kind`.
        spec: dict, the job in JSON.
        project: str, its ID.
        region: str.
        endpoint: str, of the API; empty: that of the region.
        stop: a `StopSignal`.

    Returns:
        The `Resource` of the job, and its state as a word.

    Raises:
        ConfigError: the spec is wrong, here or for the service.
        SubmitError: the service refuses.
        ServiceUnavailableError: the service cannot be reached for now, or the
            stop signal came before it answered.
        InterruptedJobError: the stop signal came before it was asked.
    """
    message = check(kind, spec)
    created = _call(
        "create",
        kind,
        region,
        endpoint,
        stop,
        parent=f"projects/{project}/locations/{region}",
        **{kind.method: message},
    )
    return Resource(created.name, kind), word(created.state, "JOB_STATE_")


def cancel(resource, endpoint, stop):
    """Asks for a job to be stopped.

    Args:
        resource: a `Resource`.
        endpoint: as for `create`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as for `create`.
    """
    kind, region = resource.kind, resource.region
    _call("cancel", kind, region, endpoint, stop, name=resource.name)


def get(resource, endpoint, stop):
    """Returns the job itself, a message of the API.

    Args:
        resource: a `Resource`.
        endpoint: as for `create`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as for `create`.
    """
    kind, region = resource.kind, resource.region
    return _call("get", kind, region, endpoint, stop, name=resource.name)


def find(kind, project, region, wanted, endpoint, stop):
    """Returns jobs of a project, a list of messages of the API.

    Args:
        kind: a `Kind`.
        project: str, its ID.
        region: str.
        wanted: str, a filter of the API.
        endpoint: as for `create`.
        stop: a `StopSignal`.

    Raises:
        ConfigError: there can be no such region.
        TrainerError: as for `create`.
    """
    # It becomes part of the address that gets the credentials.
    if not re.fullmatch("[a-z0-9-]+", region):
        raise ConfigError(
            f"--region={region} is not the ID of a region; give for instance "
            "--region=us-central1."
        )
    question = {
        "parent": f"projects/{project}/locations/{region}",
        "filter": wanted,
    }

    def call():
        with _service_errors():
            method = getattr(_client(region, endpoint), f"list_{kind.method}s")
            pages = method(request=question, timeout=_TIMEOUT_SECONDS)
            return list(itertools.islice(pages, _MOST_JOBS))

    return request.ask("Vertex AI", call, stop)


def word(state, prefix=""):
    """Returns a state of the API as people write it."""
    return state.name.removeprefix(prefix).lower().replace("_", " ")


def _call(verb, kind, region, endpoint, stop, **arguments):
    """Returns what the service answers to a verb about a kind of job."""

    def call():
        with _service_errors():
            method = getattr(_client(region, endpoint), f"{verb}_{kind.method}")
            return method(timeout=_TIMEOUT_SECONDS, **arguments)

    return request.ask("Vertex AI", call, stop)


def _client(region, endpoint):
    library = _client_library()
    from google.auth.credentials import AnonymousCredentials

    endpoint = endpoint or f"{region}-aiplatform.googleapis.com"
    host = parse.urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    return library.JobServiceClient(
        # REST goes through any proxy, and any HTTP server can stand in.
        transport="rest",
        client_options={"api_endpoint": endpoint},
        # Real credentials do not belong into the hands of a local server.
        credentials=(
            AnonymousCredentials() if host.hostname in _LOOPBACK else None
        ),
    )


@contextlib.contextmanager
def _service_errors():
    """Turns what the client raises into one sentence each."""
    import requests
    from google.api_core import exceptions as api_exceptions
    from google.auth import exceptions as auth_exceptions

    no_credentials = (
        auth_exceptions.GoogleAuthError,
        api_exceptions.Unauthorized,
    )
    try:
        yield
    except (auth_exceptions.TransportError, requests.RequestException) as error:
        raise ServiceUnavailableError(
            f"Vertex AI cannot be reached ({one_line(error)}); look whether "
            "the job is there, and try again."
        ) from error
    except no_credentials as error:
        raise SubmitError(
            f"There are no valid Google credentials ({one_line(error)}); run "
            "`gcloud auth application-default login`."
        ) from error
    except api_exceptions.GoogleAPICallError as error:
        raise _refusal(error) from error


def _refusal(error):
    """Returns our error for an answer that is none of success."""
    # The client puts "POST address: " before what the server said.
    said = re.sub(r"^[A-Z]+ \S+: ", "", one_line(error.message))
    if error.code == http.HTTPStatus.BAD_REQUEST:
        return ConfigError(f"Vertex AI refuses the job as described: {said}")
    if error.code == http.HTTPStatus.FORBIDDEN:
        return SubmitError(
            f"Permission denied ({said}); ask for the role Vertex AI User in "
            "the project, and for Service Account User on --service_account."
        )
    if error.code == http.HTTPStatus.NOT_FOUND:
        return SubmitError(
            f"Vertex AI does not find it ({said}); look at the project, the "
            "region and the name."
        )
    if error.code == http.HTTPStatus.TOO_MANY_REQUESTS:
        return SubmitError(
            f"The quota of the project is used up ({said}); ask for fewer "
            "GPUs, for --spot, which has a quota of its own, or for more quota."
        )
    if error.code and error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServiceUnavailableError(
            f"Vertex AI has a problem of its own ({error.code}: {said}); look "
            "whether the job is there, and try again."
        )
    return SubmitError(f"Vertex AI said no ({error.code}: {said}).")


def _client_library():
    try:
        from google.cloud import aiplatform_v1
    except ImportError as error:
        raise MissingClientError(
            "Vertex AI's client is not installed; install it with "
            '`pip install "vae-trainer[vertex]"`.'
        ) from error
    return aiplatform_v1


def one_line(text):
    """Returns a text of several lines as one, without its last full stop."""
    return " ".join(str(text).split()).rstrip(".")
