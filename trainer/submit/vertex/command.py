"""`vae-submit vertex`: submit a job to Vertex AI, look at it, cancel it."""

import json

from trainer.errors import ConfigError
from trainer.runtime.flags import Flags, Usage
from trainer.submit import job as job_lib
from trainer.submit.vertex import service, spec as vertex

PROGRAM = "vae-submit vertex"
_USAGE = Usage(
    program=PROGRAM,
    about="Checks a training job, and sends it to Vertex AI. After -- go the "
    "flags of the training. `vae-submit vertex status NAME` and `cancel NAME` "
    "are about a job that was sent.",
    example="""\
vae-submit vertex --project=my-project --region=us-central1 \\
  --image=us-central1-docker.pkg.dev/my-project/vae/vae-trainer:1 \\
  --job_dir=gs://my-bucket/runs/vae --gpus=8 --accelerator=NVIDIA_L4 \\
  -- --batch_size=4096""",
    arguments="[flags] -- [flags of the training]",
)


def _add_endpoint_flag(flags, title=""):
    flags.add(
        "api_endpoint",
        "",
        "REGION-aiplatform.googleapis.com if not given; one on this machine is "
        "asked without credentials",
        title=title,
        unit="host",
    )


def _add_flags(flags):
    vertex.add_flags(flags)
    _add_endpoint_flag(flags, "Vertex AI")


def run(words, stop):
    """Runs `vae-submit vertex WORDS`.

    Args:
        words: list of str, the command line after `vertex`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as its exit code says.
    """
    if words[:1] in (["status"], ["cancel"]):
        _ask(*words, stop=stop)
        return
    parsed = job_lib.parse(words, _USAGE, vertex.Settings, _add_flags)
    if parsed is None:
        return
    job, settings, flags = parsed
    kind, spec = vertex.render(job, settings)
    job_lib.warn(vertex.machine_warning(job, settings))
    job_lib.warn(job_lib.image_warning(job.image))
    if flags["dry_run"].value:
        try:
            service.check(kind, spec)
        except service.MissingClientError as error:
            job_lib.warn(f"Not checked against the API's types: {error}")
        stop.check()
        print(json.dumps(spec, indent=2))
        return
    resource, state = service.create(
        kind,
        spec,
        settings.project,
        settings.region,
        flags["api_endpoint"].value,
        stop,
    )
    print(f"Submitted: {resource.name} ({state})")
    print(_where_to_watch(resource, job.job_dir))


def _where_to_watch(resource, job_dir):
    logdir, seconds = f"{job_dir}/logs", 60
    if resource.kind is service.TUNING_JOB:
        # Each trial has its logs below; listing them all costs more.
        logdir, seconds = job_dir, 300
    return (
        f"Console: {resource.console_link}\n"
        f"Logs: {resource.log_command}\n"
        f"TensorBoard: tensorboard --logdir={logdir} "
        f"--reload_interval={seconds}\n"
        f"Status: {PROGRAM} status {resource.name}\n"
        f"Cancel: {PROGRAM} cancel {resource.name}"
    )


def _ask(action, *words, stop):
    usage = Usage(
        program=f"{PROGRAM} {action}",
        about={
            "status": "Tells how a job stands; of a search, the best trials "
            "first.",
            "cancel": "Stops a job. Submitted again, it goes on at its last "
            "checkpoint.",
        }[action],
        example=f"{PROGRAM} {action} projects/P/locations/R/customJobs/N",
        arguments="NAME [flags]",
    )
    flags = Flags(usage)
    _add_endpoint_flag(flags)
    names = [word for word in words if not word.startswith("-")]
    options = [word for word in words if word.startswith("-")]
    if not flags.parse(options):
        return
    if len(names) != 1:
        raise ConfigError(
            f"{usage.program} takes one name of a job, not {len(names)}; it "
            "looks like projects/P/locations/R/customJobs/N."
        )
    resource = service.Resource.of(names[0])
    endpoint = flags["api_endpoint"].value
    if action == "cancel":
        service.cancel(resource, endpoint, stop)
        print(
            f"Cancelling {resource.name}; submitted again, it goes on at its "
            "last checkpoint."
        )
        return
    job = service.get(resource, endpoint, stop)
    print("\n".join(_describe(job)))


def _describe(job):
    """Returns lines that tell how a job stands.

    Args:
        job: what `get` returns.

    Returns:
        A list of str. Trials follow, the best first, then those that have no
        test loss yet.
    """
    lines = [f"{job.display_name}: {service.word(job.state, 'JOB_STATE_')}"]
    for title, moment in {
        "Created": job.create_time,
        "Started": job.start_time,
        "Ended": job.end_time,
    }.items():
        if moment:
            lines.append(f"{title}: {moment:%Y-%m-%d %H:%M:%S} UTC")
    if job.error.message:
        lines.append(f"Error: {service.one_line(job.error.message)}")
    trials = list(getattr(job, "trials", ()))
    trials.sort(key=lambda trial: (_loss(trial) is None, _loss(trial) or 0))
    return lines + [_trial_line(trial) for trial in trials]


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
