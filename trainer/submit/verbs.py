"""What can be done with a job that was sent: status, logs, list, cancel."""

from trainer import places
from trainer.errors import ConfigError, SubmitError, TrainerError
from trainer.runtime.flags import Flags, Usage
from trainer.submit import job as job_lib, progress

_ABOUT = {
    "status": "Tells how a job stands: its state, and how far the training is.",
    "logs": "Shows the output of a job.",
    "list": "Lists the jobs of the trainer, the newest first.",
    "cancel": "Stops a job, which saves its state first. Submitted again, it "
    "goes on from there.",
}
VERBS = tuple(_ABOUT)
_TITLES = ("NAME", "STATE", "TITLE", "JOB_DIR")


def run(make_engine, verb, words, stop):
    """Runs `vae-submit ENGINE VERB WORDS`.

    Args:
        make_engine: the class of an engine: `vertex.jobs.Jobs` and the like.
            It has `program`, `title`, `example` (a name of a job),
            `can_follow`, `kept` (what a cancelled job keeps) and
            `add_flags(flags)`. Made of parsed flags, it has `find(name,
            stop)`, `find_in(job_dir, stop)` and `all(stop)`, which return
            lists of `KnownJob`, the newest first; `get(job, stop)`, which
            returns one as it is now, or None; `sees(job_dir)`, `show_logs(job,
            follow, stop)` and `cancel(job, stop)`.
        verb: str, one of `VERBS`.
        words: list of str, the command line after the verb.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as its exit code says.
    """
    flags = _flags(make_engine, verb)
    if not flags.parse(words):
        return
    engine = make_engine(flags)
    if verb == "list":
        _list(engine, flags.words, stop)
        return
    name, job_dir = _which(engine, verb, flags)
    jobs = engine.find_in(job_dir, stop) if job_dir else engine.find(name, stop)
    if verb == "status":
        _status(engine, name, job_dir, jobs, stop)
        return
    if not jobs:
        raise _unknown(engine, name or job_dir)
    if verb == "logs":
        follow = engine.can_follow and flags["follow"].value
        engine.show_logs((_active(jobs) or jobs)[0], follow, stop)
    else:
        _cancel(engine, jobs, stop)


def _flags(make_engine, verb):
    program = f"{make_engine.program} {verb}"
    by_name = verb != "list"
    flags = Flags(
        Usage(
            program=program,
            about=_ABOUT[verb],
            example=f"{program} {make_engine.example}" if by_name else program,
            arguments="NAME [flags]" if by_name else "[flags]",
        ),
        takes_words=True,
    )
    if by_name:
        flags.add(
            "job_dir",
            "",
            "the --job_dir of the training, in the place of NAME",
            unit="folder",
        )
    if verb == "logs" and make_engine.can_follow:
        flags.add("follow", False, "go on until the job has ended")
    make_engine.add_flags(flags)
    return flags


def _which(engine, verb, flags):
    """Returns the name, or the job directory, that a command line has."""
    names, job_dir = flags.words, flags["job_dir"].value
    if len(names) + bool(job_dir) != 1:
        raise ConfigError(
            f"{engine.program} {verb} takes one name of a job, or its "
            f"--job_dir, not {len(names) + bool(job_dir)} of them; write for "
            f"instance {engine.program} {verb} {engine.example}."
        )
    if job_dir:
        return "", str(places.parse(job_dir)).rstrip("/")
    return names[0], ""


def _unknown(engine, what):
    return SubmitError(
        f"{engine.title} knows no job {what}; `{engine.program} list` shows "
        "those that it knows."
    )


def _status(engine, name, job_dir, jobs, stop):
    if not jobs and name:
        raise _unknown(engine, name)
    active = _active(jobs)
    if len(active) > 1:
        job_lib.warn(
            f"{len(active)} of these jobs have not ended: "
            f"{_names(active)}; this is the newest."
        )
    if jobs:
        job = (active or jobs)[0]
        for line in (f"{job.title}: {job.state}", *job.details):
            print(_printable(line))
        job_dir = "" if job.is_search else job.job_dir or job_dir
    else:
        print(f"{engine.title} knows no job of {job_dir}.")
    if not job_dir:
        return
    if not engine.sees(job_dir):
        print(
            f"Progress: {job_dir} cannot be seen from here; `{engine.program} "
            "logs` shows how far the training is."
        )
        return
    try:
        print(f"Progress: {progress.read(job_dir, stop)}")
    except (TrainerError, OSError) as error:
        stop.check()
        if not jobs:
            raise
        job_lib.warn(f"The progress is not known: {error}")


def _printable(text):
    """Returns what others may have written, without what moves a cursor."""
    return "".join(
        each if each.isprintable() else ascii(each)[1:-1] for each in text
    )


def _active(jobs):
    return [job for job in jobs if not job.has_ended]


def _names(jobs):
    return ", ".join(job.name for job in jobs)


def _list(engine, words, stop):
    if words:
        raise ConfigError(
            f"{engine.program} list takes flags alone, not {words[0]!r}; "
            f"{engine.program} status {words[0]} is about one job."
        )
    rows = [
        tuple(map(_printable, (job.name, job.state, job.title, job.job_dir)))
        for job in engine.all(stop)
    ]
    table = [_TITLES, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = map(str.ljust, row, widths)
        print("  ".join(cells).rstrip())


def _cancel(engine, jobs, stop):
    active = _active(jobs)
    if not active:
        raise SubmitError(
            f"{jobs[0].name} has ended ({jobs[0].state}); there is nothing to "
            "cancel."
        )
    if len(active) > 1:
        raise ConfigError(
            f"{len(active)} of these jobs have not ended; give one of their "
            f"names: {_names(active)}."
        )
    engine.cancel(active[0], stop)
    print(f"Cancelling {active[0].name}: {engine.kept}")
