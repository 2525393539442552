"""The secret by which the workers of a job know each other, if it has one."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable

from trainer.errors import ConfigError
from trainer.job_dir import cluster_token

# 128 bits, as far as the bytes are random; and what a file may hold.
_LEAST_BYTES, _MOST_BYTES = 16, 4096


@dataclasses.dataclass(frozen=True)
class Secret:
    """What a worker needs to prove that it belongs to the job.

    Attributes:
        name: str, what the chief calls the secret that it has made; empty for
            one that all workers were given.
        find: function of such a name. Returns the secret, bytes; raises
            `ValueError` where there is none of that name.
    """

    name: str
    find: Callable[[str], bytes]


@contextlib.contextmanager
def opened(config, is_chief, stop):
    """Gives the secret of a job while its workers meet.

    Args:
        config: a `TrainConfig`.
        is_chief: bool, whether this worker is the one that makes a secret.
        stop: a `StopSignal`.

    Yields:
        A `Secret`; None if the job has none.

    Raises:
        ConfigError: the token file cannot be read, or holds too little.
        TrainerError: the job directory cannot be written or read.
    """
    kind = config.secret_kind()
    if kind == "none":
        yield None
    elif kind == "token_file":
        token = _read(pathlib.Path(config.cluster_token_file))
        yield Secret("", lambda name: token)
    elif is_chief:
        with cluster_token.written(config, stop) as (name, token):
            yield Secret(name, lambda name: token)
    else:
        yield Secret("", functools.partial(cluster_token.read, config, stop))


def _read(path):
    try:
        with open(path, "rb") as file:
            token = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"--cluster_token_file={path} cannot be read ({error.strerror}); "
            "give a file that this user may read."
        ) from error
    if len(token) > _MOST_BYTES:
        raise ConfigError(
            f"--cluster_token_file={path} has more than {_MOST_BYTES} bytes; "
            "give the file of the token."
        )
    # Editors and `echo` end a file with a newline.
    token = token.strip()
    if len(token) < _LEAST_BYTES:
        raise ConfigError(
            f"--cluster_token_file={path} holds {len(token)} bytes; a token "
            f"has {_LEAST_BYTES} at least, for instance those of `openssl rand "
            "-hex 32`."
        )
    return token
