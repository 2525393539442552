"""Jobs that Slurm knows: of the user who asks, now and in the last month."""

import contextlib
import getpass
import pathlib
import shutil
import sys
import time
from urllib import parse

from trainer.errors import SubmitError
from trainer.submit.known_job import KnownJob
from trainer.submit.slurm import programs

# What a job's comment begins with; its job directory follows.
MARK = "vae-trainer:"
# None of it means anything to a shell, to sbatch, or between two fields.
_PLAIN = "/:@+,="
_FIELDS = ("number", "state", "reason", "submitted", "comment", "title")
_SQUEUE = ("%i", "%T", "%r", "%V", "%k", "%j")
_SACCT = ("JobIDRaw", "State", "Reason", "Submit", "Comment", "JobName")
_SACCT_DAYS = 30
_WITHOUT_ACCOUNTING = "accounting storage is disabled"
# https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES
_SUCCEEDED = "COMPLETED"
_FAILED = {
    "BOOT_FAIL",
    "CANCELLED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
_FOLLOW_SECONDS = 1.0
# Asking the controller costs more than looking at a file.
_ASK_SECONDS = 10.0


def comment(job_dir):
    """Returns the comment by which a job is found by its job directory."""
    return MARK + parse.quote(job_dir, safe=_PLAIN)


class Jobs:
    """The jobs of a user; see `verbs.run`."""

    program = "vae-submit slurm"
    title = "Slurm"
    example = "4711"
    can_follow = True
    kept = (
        "Slurm sends SIGTERM, at which the training saves its state. It is "
        "not queued again; the same vae-submit command goes on from there."
    )

    def __init__(self, flags=None):
        """Makes it of parsed flags, of which it has none of its own."""

    @staticmethod
    def add_flags(flags):
        """Adds none: Slurm's programs know where the cluster is."""

    def sees(self, job_dir):
        """Whether this machine sees a job directory."""
        return bool(job_dir)

    def find(self, name, stop):
        """Returns the jobs of a number or a name, the newest first."""
        return _known(stop, lambda job: name in (job.name, job.title))

    def find_in(self, job_dir, stop):
        """Returns the jobs of a job directory, the newest first."""
        return _known(stop, lambda job: job.job_dir == job_dir)

    def all(self, stop):
        """Returns the jobs of the trainer, the newest first."""
        live, past = _squeue(stop), _sacct(stop)
        numbers = {job.name for job in live}
        past = [job for job in past if job.name not in numbers]
        return [job for job in _newest_first(live + past) if job.job_dir]

    def get(self, job, stop):
        """Returns a job as it is now; None if Slurm has forgotten it."""
        found = _known(stop, lambda other: other.name == job.name)
        return found[0] if found else None

    def show_logs(self, job, follow, stop):
        """Prints the log of a job, and with `follow` until the job has ended.

        Raises:
            SubmitError: it has none yet.
        """
        path = _log(job, stop)
        if not follow:
            if not path.exists():
                raise SubmitError(
                    f"Job {job.name} has written nothing yet ({path} is not "
                    f"there); it is {job.state}."
                )
            _copy(path, 0)
            return
        size, asked = 0, float("-inf")
        while job is not None and not job.has_ended:
            if path.exists():
                size = _copy(path, size)
            time.sleep(_FOLLOW_SECONDS)
            stop.check()
            if time.monotonic() - asked > _ASK_SECONDS:
                asked = time.monotonic()
                job = self.get(job, stop)
        if path.exists():
            _copy(path, size)

    def cancel(self, job, stop):
        """Has a job cancelled."""
        programs.call(["scancel", job.name], stop)


def _known(stop, is_meant):
    """Returns the jobs that are meant: of the controller, or of its books."""
    for source in (_squeue, _sacct):
        if found := [job for job in source(stop) if is_meant(job)]:
            return _newest_first(found)
    return []


def _newest_first(jobs):
    return sorted(jobs, key=lambda job: int(job.name), reverse=True)


def _squeue(stop):
    """Returns the jobs that the controller knows, those that ended lately."""
    form = f"--format={'|'.join(_SQUEUE)}"
    command = ["squeue", "--me", "--states=all", "--noheader", form]
    return _read(programs.call(command, stop)[0])


def _sacct(stop):
    """Returns the jobs in the books of the cluster; none without books."""
    if not shutil.which("sacct"):
        return []
    command = [
        *("sacct", "--noheader", "--parsable2", "--allocations"),
        f"--user={getpass.getuser()}",
        f"--starttime=now-{_SACCT_DAYS}days",
        f"--format={','.join(_SACCT)}",
    ]
    try:
        return _read(programs.call(command, stop)[0])
    except programs.RefusalError as error:
        if _WITHOUT_ACCOUNTING in error.said:
            return []
        raise


def _read(text):
    jobs = []
    for line in text.splitlines():
        values = line.split("|", len(_FIELDS) - 1)
        fields = dict(zip(_FIELDS, map(str.strip, values), strict=False))
        # The parts of an array are none of ours.
        if len(fields) == len(_FIELDS) and fields["number"].isdigit():
            jobs.append(_job(**fields))
    return jobs


def _job(number, state, reason, submitted, comment, title):
    # CANCELLED by 1000
    word = state.split()[0].rstrip("+") if state else ""
    details = [f"Submitted: {submitted.replace('T', ' ')}"]
    if reason not in ("", "None"):
        details.append(f"Reason: {reason}")
    job_dir = ""
    if comment.startswith(MARK):
        job_dir = parse.unquote(comment.removeprefix(MARK))
    return KnownJob(
        name=number,
        title=title,
        state=word.lower().replace("_", " "),
        has_ended=word in {_SUCCEEDED, *_FAILED},
        has_succeeded=word == _SUCCEEDED,
        job_dir=job_dir,
        created=submitted,
        details=tuple(details),
    )


def _log(job, stop):
    """Returns the path of a job's log."""
    with contextlib.suppress(programs.RefusalError):  # It ended long ago.
        said, _ = programs.call(["scontrol", "show", "job", job.name], stop)
        for line in said.splitlines():
            name, _, value = line.strip().partition("=")
            if name == "StdOut":
                return pathlib.Path(value)
    command = ["sacct", "--noheader", "--parsable2", "--allocations"]
    command += [f"--jobs={job.name}", "--format=WorkDir"]
    folder = programs.call(command, stop)[0].strip()
    return pathlib.Path(folder) / f"slurm-{job.name}.log"


def _copy(path, start):
    """Prints a file from a place on; returns how far."""
    with path.open("rb") as file:
        file.seek(start)
        content = file.read()
    print(content.decode(errors="replace"), end="")
    sys.stdout.flush()
    return start + len(content)
