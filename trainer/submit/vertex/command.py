"""`vae-submit vertex`: submit a job to Vertex AI, look at it, cancel it."""

import json

from absl import flags

from trainer import config as config_lib
from trainer.errors import ConfigError
from trainer.submit import job as job_lib
from trainer.submit.vertex import service, spec as vertex

PROGRAM = "vae-submit vertex"


def _define_endpoint_flag(flag_values):
    flags.DEFINE_string(
        "api_endpoint",
        "",
        "default: REGION-aiplatform.googleapis.com; one on this machine is "
        "asked without credentials",
        flag_values=flag_values,
    )


def _define_flags(flag_values):
    vertex.define_flags(flag_values)
    _define_endpoint_flag(flag_values)


def run(words):
    """Runs `vae-submit vertex WORDS`.

    Args:
        words: list of str, the command line after `vertex`.

    Raises:
        TrainerError: as its exit code says.
    """
    if words[:1] in (["status"], ["cancel"]):
        _ask(*words)
        return
    parsed = job_lib.parse(words, PROGRAM, vertex.Settings, _define_flags)
    if parsed is None:
        return
    job, settings, flag_values = parsed
    kind, spec = vertex.render(job, settings)
    job_lib.warn(job_lib.image_warning(job.image))
    if flag_values["dry_run"].value:
        try:
            service.check(kind, spec)
        except service.MissingClientError as error:
            job_lib.warn(f"Not checked against the API's types: {error}")
        print(json.dumps(spec, indent=2))
        return
    resource, state = service.create(
        kind,
        spec,
        settings.project,
        settings.region,
        flag_values["api_endpoint"].value,
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


def _ask(action, *words):
    flag_values = config_lib.new_flags()
    _define_endpoint_flag(flag_values)
    names = [word for word in words if not word.startswith("-")]
    options = [word for word in words if word.startswith("-")]
    program = f"{PROGRAM} {action} NAME"
    if not config_lib.parse_command(flag_values, options, program):
        return
    if len(names) != 1:
        raise ConfigError(
            f"{PROGRAM} {action} takes one name of a job, not {len(names)}; it "
            "looks like projects/P/locations/R/customJobs/N."
        )
    resource = service.Resource.of(names[0])
    endpoint = flag_values["api_endpoint"].value
    if action == "cancel":
        service.cancel(resource, endpoint)
        print(
            f"Cancelling {resource.name}; submitted again, it goes on at its "
            "last checkpoint."
        )
        return
    job = service.get(resource, endpoint)
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
