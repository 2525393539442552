"""Jobs that a Kubernetes cluster has, of all kinds that are sent."""

import json
import re

from trainer.errors import ConfigError
from trainer.submit import program_output
from trainer.submit.known_job import KnownJob
from trainer.submit.kubernetes import kubectl

_OURS = "app.kubernetes.io/name=vae-trainer,app.kubernetes.io/component=trainer"
_INSTANCE = "app.kubernetes.io/instance"
# The conditions of a job that has ended, of any kind.
_SUCCEEDED, _FAILED = {"Complete", "Completed", "Succeeded"}, {"Failed"}
# kubectl follows five pods unless it is told otherwise; more than any has.
_MOST_PODS = 100_000


class Jobs:
    """The jobs of a namespace; see `verbs.run`."""

    program = "vae-submit kubernetes"
    title = "The cluster"
    example = "vae"
    can_follow = True
    kept = (
        "its pods get SIGTERM, at which the training saves its state, and have "
        "90 s for that. The same vae-submit command goes on from there."
    )

    def __init__(self, flags):
        self.namespace = flags["namespace"].value

    @staticmethod
    def add_flags(flags):
        """Adds the flag that says where to look."""
        flags.add(
            "namespace",
            "",
            "where the job is; that of kubectl's context if not given",
            unit="name",
        )

    def sees(self, job_dir):
        """Whether this machine sees a job directory: those in buckets."""
        return job_dir.startswith("gs://")

    def find(self, name, stop):
        """Returns the jobs of a name, the newest first.

        Raises:
            ConfigError: it cannot be the name of one.
        """
        # It becomes part of a selector.
        if not re.fullmatch("[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
            raise ConfigError(
                f"{name} cannot be the name of a job in Kubernetes, which has "
                "small letters, digits and - only."
            )
        selector = f"{_OURS},{_INSTANCE}={name}"
        # Two of one name would have the same Services.
        for kind in kubectl.RESOURCES:
            if found := self._known([kind], selector, stop):
                return found
        return []

    def find_in(self, job_dir, stop):
        """Returns the jobs of a job directory, the newest first."""
        return [job for job in self.all(stop) if job.job_dir == job_dir]

    def all(self, stop):
        """Returns the jobs of the trainer, the newest first."""
        return self._known(kubectl.RESOURCES, _OURS, stop)

    def get(self, job, stop):
        """Returns a job as it is now; None if it was deleted."""
        selector = f"{_OURS},{_INSTANCE}={job.name}"
        found = self._known([job.kind], selector, stop)
        return found[0] if found else None

    def show_logs(self, job, follow, stop):
        """Has kubectl print the output of a job's pods."""
        command = [
            *(kubectl.find_program(), "logs"),
            *kubectl.in_namespace(self.namespace),
            f"--selector={_OURS},{_INSTANCE}={job.name}",
            *("--tail=-1", f"--max-log-requests={_MOST_PODS}"),
            *(["--follow"] if follow else []),
        ]
        code, said = program_output.show(command, stop)
        if code:
            raise kubectl.refusal(job.kind, "logs", said)

    def cancel(self, job, stop):
        """Deletes a job, and what was made for it."""
        arguments = ["delete", kubectl.made_for(job.kind)]
        arguments += [f"--selector={_INSTANCE}={job.name}", "--wait=false"]
        kubectl.ask(arguments, stop, self.namespace)

    def _known(self, kinds, selector, stop):
        found = []
        for kind in kinds:
            arguments = ["get", kubectl.RESOURCES[kind]]
            arguments.append(f"--selector={selector}")
            try:
                text = kubectl.ask(
                    [*arguments, "--output=json"], stop, self.namespace, kind
                )
            except kubectl.UnknownKindError:
                continue
            found += [
                _job(item, kind) for item in json.loads(text or "{}")["items"]
            ]
        return sorted(found, key=lambda job: job.created, reverse=True)


def _job(item, kind):
    """Returns the `KnownJob` of an object of a kind."""
    metadata, status = item["metadata"], item.get("status", {})
    holding = {
        condition["type"]: condition
        for condition in status.get("conditions", ())
        if condition["status"] == "True"
    }
    created = metadata.get("creationTimestamp", "")
    details = [f"Created: {created}"] if created else []
    for name in _FAILED & holding.keys():
        told = (holding[name].get(part) for part in ("reason", "message"))
        details.append(f"Error: {': '.join(filter(None, told))}")
    queue = metadata.get("labels", {}).get(kubectl.QUEUE_LABEL)
    if queue:
        details.append(f"Queue: {queue}")
    return KnownJob(
        name=metadata["name"],
        title=metadata["name"],
        state=_state(status, holding),
        has_ended=bool((_SUCCEEDED | _FAILED) & holding.keys()),
        has_succeeded=bool(_SUCCEEDED & holding.keys()),
        job_dir=_job_dir(item["spec"]),
        kind=kind,
        created=created,
        details=tuple(details),
    )


def _state(status, holding):
    # The last is what a TFJob has in place of numbers.
    for name in (*_SUCCEEDED, *_FAILED, "Suspended", "Restarting", "Running"):
        if name in holding:
            return name.lower()
    counts = [status]
    # Of a JobSet, and of a TrainJob.
    for name in ("replicatedJobsStatus", "jobsStatus"):
        counts += status.get(name, [])
    for name, word in (("ready", "running"), ("active", "starting")):
        if any(count.get(name) for count in counts):
            return word
    return "pending"


def _job_dir(value):
    """Returns the job directory in the arguments of a container, or ""."""
    flag = "--job_dir="
    if isinstance(value, str):
        # As `pod` writes it, for Kubernetes to read.
        is_it = value.startswith(flag)
        return value.removeprefix(flag).replace("$$", "$") if is_it else ""
    if not isinstance(value, dict | list):
        return ""
    parts = value.values() if isinstance(value, dict) else value
    return next(filter(None, map(_job_dir, parts)), "")
