"""Command `vae-submit`: sends a training job to where the GPUs are."""

import sys

from trainer.errors import ConfigError
from trainer.runtime.command import report_errors
from trainer.submit.kubernetes import command as kubernetes_command
from trainer.submit.slurm import command as slurm_command
from trainer.submit.vertex import command as vertex_command

ENGINES = {
    "vertex": vertex_command.run,
    "kubernetes": kubernetes_command.run,
    "slurm": slurm_command.run,
}

USAGE = """\
usage: vae-submit ENGINE [flags] -- [flags of the training]
       vae-submit vertex status|cancel NAME
ENGINE is vertex (Vertex AI), kubernetes or slurm; --help after it lists its
flags."""


def main():
    """Submits a job; the console script `vae-submit`.

    Returns:
        The exit code: 0 done, 2 wrong flags or spec, 75 the service cannot be
        reached for now (try again), 1 it refused.
    """
    words = sys.argv[1:]
    with report_errors() as outcome:
        if words in ([], ["--help"]):
            print(USAGE)
        elif words[0] not in ENGINES:
            raise ConfigError(
                f"{words[0]} is not one of {', '.join(ENGINES)}; write "
                "vae-submit vertex [flags] -- [flags of the training]."
            )
        else:
            ENGINES[words[0]](words[1:])
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
