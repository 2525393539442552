"""Settings of what a job writes: checkpoints, rows, pictures, logs."""

from trainer.settings.declaration import declared, setting


@declared
class LogSettings:
    """Settings of what a job writes: checkpoints, rows, pictures, logs."""

    checkpoint_steps: int = setting(
        0,
        "steps between checkpoints; 0: one epoch",
        group="Checkpoints and logs",
        role="run",
        unit="steps",
        minimum=0,
    )
    keep_checkpoints: int = setting(
        3,
        "newest checkpoints to keep, beside the best",
        group="Checkpoints and logs",
        role="run",
        minimum=1,
    )
    summary_steps: int = setting(
        50,
        "steps between rows of training losses",
        group="Checkpoints and logs",
        role="run",
        unit="steps",
        minimum=1,
    )
    eval_epochs: int = setting(
        1,
        "epochs between evaluations; 0: only at the end",
        group="Checkpoints and logs",
        role="run",
        unit="epochs",
        minimum=0,
    )
    image_epochs: int = setting(
        1,
        "epochs between TensorBoard images; 0: only at the end",
        group="Checkpoints and logs",
        role="run",
        unit="epochs",
        minimum=0,
    )
    log_format: str = setting(
        "auto",
        "json: one object a line with a severity, as Google Cloud's logs want "
        "it; auto: json on Vertex AI, else text",
        group="Checkpoints and logs",
        role="worker",
        choices=("auto", "text", "json"),
    )
    metrics_port: int = setting(
        0,
        "port at which a Prometheus server finds step, losses, speed and where "
        "the time goes; 0: none",
        group="Checkpoints and logs",
        role="worker",
        minimum=0,
        maximum=65535,
    )
    metrics_host: str = setting(
        "127.0.0.1",
        "address at which --metrics_port listens; 0.0.0.0: at all of this "
        "machine, so that whoever reaches it reads the metrics",
        group="Checkpoints and logs",
        role="worker",
        unit="address",
    )
    profile_steps: str = setting(
        "",
        "write a TensorBoard profile of these steps",
        group="Checkpoints and logs",
        role="run",
        unit="first,last",
    )
