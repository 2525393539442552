"""`--env`: variables of the environment that the training of a job gets."""

import re

from trainer.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# By these the trainer knows where it runs, and with whom; and what finds the
# programs of the machine.
_SET = re.compile(
    "TF_CONFIG|WORKER_HOSTS|JOB_COMPLETION_INDEX|RUN_AGAIN_AS_ABORT|PATH|"
    "(AIP|CLOUD_ML|KUBERNETES|SLURM|SBATCH|SRUN|APPTAINER|APPTAINERENV|"
    "SINGULARITY|SINGULARITYENV)_.*"
)
_SECRET_NAME = re.compile(
    "(.*_)?(TOKENS?|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|KEYS?|"
    "APIKEY|AUTH)(_.*)?",
    re.IGNORECASE,
)
# Keys and tokens as GitHub, GitLab, Google, Amazon, Hugging Face, OpenAI and
# Slack write theirs, a JSON Web Token, and a password in an address.
_SECRET_VALUE = re.compile(
    r"-----BEGIN |gh[opsur]_|github_pat_|glpat-|AIza|ya29\.|AKIA|hf_|sk-|xox|"
    r"eyJ[\w-]+\.|\{.*private_key|[a-z+]+://[^/@\s]*:[^/@\s]+@"
)


def parse(texts):
    """Returns the variables of `--env` flags: values by name.

    Args:
        texts: list of str, `NAME=VALUE`.

    Raises:
        ConfigError: one is no variable, is set by others, or is a secret. The
            message never has a value.
    """
    variables = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and _NAME.fullmatch(name)):
            raise ConfigError(
                f"--env={name if equals else '…'} is not NAME=VALUE with a "
                "name of letters, digits and _; write for instance "
                "--env=PYTHONPATH=/models."
            )
        if name in variables:
            raise ConfigError(f"--env={name}=… is given twice; give it once.")
        if _SET.fullmatch(name):
            raise ConfigError(
                f"--env={name}=… is set by the engine or the trainer itself; "
                "leave it out."
            )
        if _SECRET_NAME.fullmatch(name) or _SECRET_VALUE.match(value):
            raise ConfigError(
                f"--env={name}=… looks like a secret, which whoever sees the "
                "job could read; leave it out, and give the account of the "
                "job the right in its place."
            )
        if not value.isprintable():
            raise ConfigError(
                f"--env={name}=… has a value with a line break or another "
                "character that cannot be printed; give one without."
            )
        variables[name] = value
    return variables
