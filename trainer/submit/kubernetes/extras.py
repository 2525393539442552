"""What a user adds to a job on Kubernetes: volumes, and labels."""

import pathlib
import re

from trainer.errors import ConfigError
from trainer.submit.job import is_below

# What the pods have of their own; a volume may take the place of the last.
_TAKEN = ("/tmp", "/dev/shm", "/etc/vae-trainer", "/runs")  # noqa: S108
_REPLACED = "/runs"
_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
_WORD = r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?"
_KEY, _VALUE = rf"({_NAME}/)?{_WORD}", rf"({_WORD})?"
# By these the parts of a job find each other, and Kueue finds it.
_OURS = re.compile(
    r"app\.kubernetes\.io/(name|instance|component)|kueue\.x-k8s\.io/.*"
)


def parse_claims(texts):
    """Returns the claims of `--pvc` flags: names by path.

    Args:
        texts: list of str, `NAME:/path`.

    Raises:
        ConfigError: one is something else, or is where something else is.
    """
    claims = {}
    for text in texts:
        name, _, path = text.partition(":")
        if not (re.fullmatch(_NAME, name) and _is_plain(path)):
            raise ConfigError(
                f"--pvc={text} is not of the form NAME:/path with the name of "
                "a PersistentVolumeClaim, for instance --pvc=vae-runs:/data."
            )
        taken = [*claims, *_TAKEN]
        if path == _REPLACED:
            taken.remove(_REPLACED)
        clash = [
            other
            for other in taken
            if is_below(path, [other]) or is_below(other, [path])
        ]
        if clash:
            raise ConfigError(
                f"--pvc={text} would be mounted over {clash[0]}, or below it; "
                "give another path."
            )
        claims[path] = name
    return claims


def _is_plain(path):
    # A colon would end it for Kubernetes.
    return (
        path.startswith("/")
        and path != "/"
        and ".." not in path.split("/")
        and str(pathlib.PurePosixPath(path)) == path
        and path.isprintable()
        and ":" not in path
    )


def parse_labels(texts):
    """Returns the labels of `--labels` flags: values by key.

    Args:
        texts: list of str, `KEY=VALUE`.

    Raises:
        ConfigError: one is something else, or has a meaning already.
    """
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (
            equals
            and re.fullmatch(_KEY, key, re.ASCII)
            and re.fullmatch(_VALUE, value, re.ASCII)
        ):
            raise ConfigError(
                f"--labels={text} is not of the form KEY=VALUE with at most 63 "
                "letters, digits, -, _ and . on either side, for instance "
                "--labels=team=vision."
            )
        if _OURS.fullmatch(key):
            raise ConfigError(
                f"--labels={text} has a key that is set by the command itself "
                "(by --name and --queue); leave it out."
            )
        if key in labels:
            raise ConfigError(f"--labels={key}=… is given twice; give it once.")
        labels[key] = value
    return labels


def add_labels(value, labels):
    """Adds labels to an object, and to what it is a template for."""
    for name, part in value.items():
        if name == "metadata" and "labels" in part:
            part["labels"] = {**part["labels"], **labels}
        elif isinstance(part, dict):
            add_labels(part, labels)
        elif isinstance(part, list):
            for each in part:
                if isinstance(each, dict):
                    add_labels(each, labels)


def volumes(claims):
    """Returns the volumes of some claims: (path, source) by name."""
    return {
        # The one in the place of the pods' own has its name as well.
        "runs" if path == _REPLACED else f"claim-{number}": (
            path,
            {"claimName": name},
        )
        for number, (path, name) in enumerate(claims.items())
    }
