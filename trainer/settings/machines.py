"""Settings of the machines: devices, precision and speed."""

from trainer.settings.declaration import MOST_IN_SHAPE, declared, setting

# TensorFlow needs minutes to make as many devices of a CPU.
_MOST_VIRTUAL_DEVICES = 1024
# Why a search for the least test loss leaves a setting alone.
_NOT_BETTER = "it decides how a result is computed, not how good it is"


@declared
class MachineSettings:
    """Settings of the machines: devices, precision and speed."""

    strategy: str = setting(
        "auto",
        "mirrored: all GPUs of this machine, or its CPU; none: its first "
        "device alone; multi_worker: all machines that TF_CONFIG, Slurm or "
        "Kubernetes names; auto: those, or mirrored if there are none",
        group="Devices",
        role="run",
        choices=("auto", "mirrored", "multi_worker", "none"),
    )
    virtual_devices: int = setting(
        0,
        "split the CPU in N, to run N replicas without a GPU; where there is "
        "one GPU, split that, with --gpu_memory_limit_gib",
        group="Devices",
        role="run",
        minimum=0,
        maximum=_MOST_VIRTUAL_DEVICES,
    )
    gpu_memory_limit_gib: float = setting(
        0.0,
        "how much memory of each GPU the job takes at most; 0: what it needs",
        group="Devices",
        role="worker",
        unit="gib",
        minimum=0,
    )
    require_exact: bool = setting(
        False,
        "refuse to go on with a job on other GPUs, drivers or libraries than "
        "it was trained on, where the result would not be the same bit for bit",
        group="Devices",
        role="run",
    )
    cluster_timeout_seconds: float = setting(
        600.0,
        "how long to wait for the other machines before the job stops, to be "
        "run again",
        group="Devices",
        role="worker",
        unit="seconds",
        above=0,
    )
    cluster_secret: str = setting(
        "auto",
        "how the machines prove to each other that they belong to the job. "
        "none: by having the same flags, which keeps accidents out, not "
        "strangers; job_dir: by a secret that the chief leaves in the job "
        "directory while they meet, so all must read it; token_file: by that "
        "of --cluster_token_file; auto: that if it is given, else none",
        group="Devices",
        role="worker",
        choices=("auto", "none", "job_dir", "token_file"),
    )
    cluster_token_file: str = setting(
        "",
        "file with a secret of 16 bytes or more, the same on all machines",
        group="Devices",
        role="worker",
        unit="file",
    )
    hang_seconds: float = setting(
        0.0,
        "how long a call of training steps may take before the job says where "
        "it hangs and stops, to be run again; 0: 20 times as long as such a "
        "call usually takes, and 120 at least",
        group="Devices",
        role="worker",
        unit="seconds",
        minimum=0,
    )
    steps_per_call: int = setting(
        0,
        "training steps inside one tf.function call; 0: as many as take "
        "about a second",
        group="Precision and speed",
        role="run",
        unit="steps",
        minimum=0,
        maximum=MOST_IN_SHAPE,
    )
    microbatches: int = setting(
        1,
        "equal slices of a replica's batch that are computed one after "
        "another, so that a step takes less memory; the result is the same up "
        "to rounding",
        group="Precision and speed",
        role="run",
        minimum=1,
        maximum=MOST_IN_SHAPE,
    )
    # A resume may say in another word what came out of auto; that it comes
    # out the same is for `JobDir.check_resume` to say.
    jit_compile: str = setting(
        "auto",
        "XLA; auto: on GPU, not on CPU",
        group="Precision and speed",
        role="run",
        choices=("auto", "true", "false"),
    )
    precision: str = setting(
        "float32",
        "number type of weights and losses; float64 shows that replicas agree",
        group="Precision and speed",
        role="mathematics",
        not_tuned=_NOT_BETTER,
        choices=("float32", "float64"),
    )
    mixed_precision: str = setting(
        "none",
        "bfloat16: compute in bfloat16, keep float32 weights",
        group="Precision and speed",
        role="mathematics",
        not_tuned="",
        choices=("none", "bfloat16"),
    )
    deterministic: bool = setting(
        True,
        "end with the same weights, bit for bit, on the same kind of machine",
        group="Precision and speed",
        role="mathematics",
        not_tuned=_NOT_BETTER,
    )
    tf32: str = setting(
        "auto",
        "whether a GPU multiplies float32 numbers with 10 bits of mantissa "
        "(TensorFloat-32), which is faster; auto: only with "
        "--nodeterministic. A CPU never does, and vae-evaluate never",
        group="Precision and speed",
        role="mathematics",
        not_tuned=_NOT_BETTER,
        choices=("auto", "on", "off"),
    )
