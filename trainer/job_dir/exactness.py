"""Whether a resume is still exact: on which GPUs the earlier sessions ran."""

from trainer.errors import ConfigError

# What a message calls the parts of `trainer.distributed.gpus.describe`.
_CALLED = {
    "model": "GPU",
    "compute_capability": "compute capability",
    "count": "GPUs",
    "replicas": "replicas",
    "driver": "driver",
    "cuda": "CUDA",
    "cublas": "cuBLAS",
    "cudnn": "cuDNN",
    "nccl": "NCCL",
    "tf32": "TF32",
    "xla_autotuning": "XLA's autotuning",
    "nccl_algo": "NCCL_ALGO",
    "cublas_workspace": "CUBLAS_WORKSPACE_CONFIG",
}
_NO_GPU = "no GPU"


def check(location, sessions, gpu, required):
    """Returns why a resume is not exact any more, or None.

    Args:
        location: str, what the user calls the job directory.
        sessions: list of dict, those that `config.json` records.
        gpu: dict, what this session would record of its GPUs; None without.
        required: bool, whether such a resume is refused.

    Returns:
        str, one sentence; None where all sessions computed alike.

    Raises:
        ConfigError: it is refused.
    """
    differences = _differences(sessions, gpu)
    if not differences:
        return None
    told = "; ".join(differences)
    if required:
        raise ConfigError(
            f"--require_exact, but {location} would not be exact any more: "
            f"{told}. Use a machine like the earlier one, or leave "
            "--require_exact out."
        )
    return (
        "From here on the result is not the same bit for bit as that of an "
        f"untouched run: {told}. --require_exact would refuse this."
    )


def _differences(sessions, gpu):
    """Returns what is other than in the latest session that differs."""
    for session in reversed(sessions):
        if found := _difference(session, gpu):
            return found
    return []


def _difference(session, gpu):
    before = session.get("gpu")
    if before is None and " GPU replica" in str(session.get("devices")):
        return ["an earlier version of vae-trainer did not record its GPUs"]
    if before is None or gpu is None:
        if before == gpu:
            return []
        return [f"{_named(gpu)} (was {_named(before)})"]
    return [
        f"{_CALLED[name]} {_shown(gpu.get(name))} (was "
        f"{_shown(before.get(name))})"
        for name in _CALLED
        if gpu.get(name) != before.get(name)
    ]


def _named(gpu):
    return f"{gpu.get('count')} x {gpu.get('model')}" if gpu else _NO_GPU


def _shown(value):
    """Returns a recorded value for a message, on one line and not long."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value)[:100]
    return text if text.isprintable() else ascii(text)
