"""Command `vae-submit`: sends a training job to where the GPUs are."""

import sys

from trainer.errors import ConfigError
from trainer.runtime.command import run_command
from trainer.runtime.flags import Flags, Usage
from trainer.submit.kubernetes import command as kubernetes_command
from trainer.submit.slurm import command as slurm_command
from trainer.submit.vertex import command as vertex_command

ENGINES = {
    "vertex": vertex_command.run,
    "kubernetes": kubernetes_command.run,
    "slurm": slurm_command.run,
}
_USAGE = Usage(
    program="vae-submit",
    about="Checks a training job, and sends it to where the GPUs are. ENGINE "
    f"is one of {', '.join(ENGINES)}; --help after it lists its flags. After "
    "-- go the flags of the training.",
    example="""\
vae-submit slurm --job_dir=$PWD/runs/vae --gpus=4 -- --epochs=20
vae-submit vertex --help""",
    arguments="ENGINE [flags] -- [flags of the training]",
)


def main():
    """Submits a job; the console script `vae-submit`.

    Returns:
        The exit code: 0 done, 2 wrong flags or spec, 75 interrupted, or the
        service cannot be reached for now (try again), 1 it refused.
    """
    return run_command(_parse, _submit)


def _parse(words):
    """Returns the words of a command line, the name of an engine first."""
    if words in ([], ["--help"], ["--version"]):
        return Flags(_USAGE).parse(words or ["--help"])
    if words[0] not in ENGINES:
        raise ConfigError(
            f"{words[0]} is not one of {', '.join(ENGINES)}; write "
            "vae-submit vertex [flags] -- [flags of the training]."
        )
    return words


def _submit(words, stop, console):
    ENGINES[words[0]](words[1:], stop)


if __name__ == "__main__":
    sys.exit(main())
