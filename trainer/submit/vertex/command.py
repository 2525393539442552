"""`vae-submit vertex`: submit a job to Vertex AI, and what may follow."""

import json

from trainer.runtime.flags import Usage
from trainer.submit import job as job_lib, known_job, verbs, waiting
from trainer.submit.vertex import (
    jobs as vertex_jobs,
    service,
    spec as vertex,
)

PROGRAM = vertex_jobs.Jobs.program
_USAGE = Usage(
    program=PROGRAM,
    about="Checks a training job, and sends it to Vertex AI. After -- go the "
    "flags of the training. `vae-submit vertex status NAME`, `logs NAME`, "
    "`cancel NAME` and `list` are about jobs that were sent.",
    example="""\
vae-submit vertex --project=my-project --region=us-central1 \\
  --image=us-central1-docker.pkg.dev/my-project/vae/vae-trainer:1 \\
  --job_dir=gs://my-bucket/runs/vae --gpus=8 --accelerator=NVIDIA_L4 \\
  -- --batch_size=4096""",
    arguments="[flags] -- [flags of the training]",
)


def _add_flags(flags):
    vertex.add_flags(flags)
    vertex_jobs.add_endpoint_flag(flags, "Vertex AI")


def run(words, stop):
    """Runs `vae-submit vertex WORDS`.

    Args:
        words: list of str, the command line after `vertex`.
        stop: a `StopSignal`.

    Raises:
        TrainerError: as its exit code says.
    """
    if words and words[0] in verbs.VERBS:
        verbs.run(vertex_jobs.Jobs, words[0], words[1:], stop)
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
    print(_where_to_watch(resource, job.job_dir), flush=True)
    if flags["wait"].value:
        sent = known_job.KnownJob(
            name=resource.name,
            title=job.name,
            state=state,
            job_dir=job.job_dir,
            is_search=resource.kind is service.TUNING_JOB,
        )
        waiting.until_end(vertex_jobs.Jobs(flags), sent, stop)


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
