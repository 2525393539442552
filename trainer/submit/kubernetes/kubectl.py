"""The user's own kubectl: how it is asked, and what it says when it fails."""

import re
import shutil
import subprocess

from trainer.errors import ServiceUnavailableError, SubmitError
from trainer.submit import request

RESOURCES = {
    "job": "jobs.batch",
    "jobset": "jobsets.jobset.x-k8s.io",
    "trainjob": "trainjobs.trainer.kubeflow.org",
    "tfjob": "tfjobs.kubeflow.org",
}
_RUNTIMES = "trainingruntimes.trainer.kubeflow.org"
_OPERATORS = {
    "jobset": "JobSet (https://jobset.sigs.k8s.io)",
    "trainjob": "Kubeflow Trainer 2.2 (https://www.kubeflow.org/docs/"
    "components/trainer)",
    "tfjob": "Kubeflow's training operator, release 1.9",
}
# https://kueue.sigs.k8s.io/docs/tasks/run/jobs/
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
REQUEST_SECONDS = 60
# What kubectl says when another try may do; a wrong certificate will not.
_OUT_OF_REACH = re.compile(
    "connection to the server .* was refused|i/o timeout|no such host|"
    "Unable to connect to the server(?!: (x509|tls: failed to verify))|"
    "connection (refused|reset)|TLS handshake timeout|deadline exceeded|"
    r"timed out|currently unable to handle|\(ServiceUnavailable\)|"
    r"\(TooManyRequests\)|\(InternalError\)",
    re.IGNORECASE,
)
# What libraries of kubectl log before it speaks itself.
_CHATTER = re.compile(r"[EIW]\d{4} ")
_UNKNOWN_KIND = re.compile("no matches for kind|have a resource type")


class UnknownKindError(SubmitError):
    """The cluster does not have that kind of object."""


def ask(arguments, stop, namespace="", kind="job", manifest=""):
    """Returns what kubectl printed.

    Args:
        arguments: list of str, its command line.
        stop: a `StopSignal`.
        namespace: str; empty for that of its context.
        kind: str, a key of `RESOURCES`, which it is about.
        manifest: str, what it reads.

    Raises:
        ServiceUnavailableError: it cannot reach the cluster for now, or the
            stop signal came before it ended.
        UnknownKindError: the cluster does not have that kind.
        SubmitError: there is no kubectl, or it or the cluster refused.
    """
    command = [
        find_program(),
        *arguments,
        *in_namespace(namespace),
        f"--request-timeout={REQUEST_SECONDS}s",
    ]

    def call():
        done = subprocess.run(  # noqa: S603
            command,
            # Never the terminal: a prompt for a password would wait for ever.
            input=manifest,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise refusal(kind, arguments[0], done.stderr)
        return done.stdout

    return request.ask("kubectl", call, stop)


def find_program():
    """Returns the path of kubectl.

    Raises:
        SubmitError: there is none.
    """
    program = shutil.which("kubectl")
    if not program:
        raise SubmitError(
            "There is no kubectl on this machine; install it (https://"
            "kubernetes.io/docs/tasks/tools), or give --dry_run and apply what "
            "it prints elsewhere."
        )
    return program


def made_for(kind):
    """Returns the kinds of all that a job of a kind consists of."""
    more = f",{_RUNTIMES}" if kind == "trainjob" else ""
    others = "deployments,services,networkpolicies,secrets"
    return f"{RESOURCES[kind]}{more},{others}"


def names_of(kind, name):
    """Returns the names of a job and of what cannot be changed with it."""
    names = [f"{RESOURCES[kind]}/{name}"]
    # The runtime is in use for as long as the job is there.
    return [*names, f"{_RUNTIMES}/{name}"] if kind == "trainjob" else names


def in_namespace(namespace):
    """Returns the words that name a namespace to kubectl."""
    return [f"--namespace={namespace}"] if namespace else []


def refusal(kind, verb, stderr):
    """Returns our error for what kubectl said when it failed.

    Args:
        kind: str, as for `ask`.
        verb: str, what it was to do.
        stderr: str.
    """
    lines = [line for line in stderr.splitlines() if not _CHATTER.match(line)]
    said = " ".join(lines).removeprefix("error: ").rstrip(". ")
    said = said or "it does not say why"
    if _UNKNOWN_KIND.search(stderr) and kind in _OPERATORS:
        return UnknownKindError(
            f"The cluster does not have {_OPERATORS[kind]} ({said}); "
            "install it there, or leave out --kind."
        )
    if _OUT_OF_REACH.search(stderr):
        return ServiceUnavailableError(
            f"kubectl cannot reach the cluster ({said}); look at `kubectl "
            "config current-context`, and try again."
        )
    return SubmitError(f"kubectl {verb} was refused: {said}.")
