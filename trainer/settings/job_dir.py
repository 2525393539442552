"""Settings of the job directory: where it is, and how to go on in it."""

from trainer.settings.declaration import declared, setting


@declared
class JobDirSettings:
    """Settings of the job directory: where it is, and how to go on in it."""

    job_dir: str = setting(
        "runs/vae",
        "folder of the job, local or gs://bucket/folder: checkpoints, logs "
        "and pictures; on Vertex AI its base output directory if not given",
        group="Job directory",
        role="worker",
        unit="folder",
        common=True,
    )
    resume: str = setting(
        "auto",
        "auto: go on where an existing job directory stopped; never: refuse "
        "one that is not empty; must: refuse an empty one",
        group="Job directory",
        role="worker",
        choices=("auto", "never", "must"),
    )
    storage_timeout_seconds: float = setting(
        120.0,
        "how long a bucket may be out of reach before the job stops, to be "
        "run again",
        group="Job directory",
        role="worker",
        unit="seconds",
        above=0,
    )
