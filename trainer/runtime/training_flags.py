"""The settings of a training: of a command line, of Python, in a flag file."""

import contextlib
import dataclasses
import numbers
import os
import re

from trainer import __version__
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.runtime import platform
from trainer.runtime.flags import OTHER, Flags, Usage
from trainer.settings.declaration import GROUPS

# The last are what is left of bytes that are no UTF-8.
_NOT_IN_A_LINE = re.compile("[\n\r\ud800-\udfff]")
_COMMON = "Common"
# What every command line takes, and no function.
_OF_COMMANDS = {"flagfile", "help", "undefok", "version"}
TRAIN = Usage(
    program="vae-train",
    about="Trains a variational autoencoder. The same command again goes on "
    "where the job directory stopped.",
    example="vae-train --job_dir=runs/vae --epochs=20 --latent_dim=20",
)


def parse_flags(arguments, usage=TRAIN, more_help=lambda flags: ()):
    """Returns the `TrainConfig` of a command line.

    Args:
        arguments: list of str, the command line after the program.
        usage: a `Usage`.
        more_help: as of `Flags`.

    Returns:
        A `TrainConfig`; None when the command line asked for the help, the
        version or the config, which is printed.

    Raises:
        ConfigError: an unknown flag, a bad value, a stray word, or values
            that contradict each other.
    """
    return parse_with(arguments, usage, more_help=more_help)[0]


def parse_with(arguments, usage, extras=None, more_help=lambda flags: ()):
    """Returns the `TrainConfig` of a command line, and what it has beside.

    Args:
        arguments: as of `parse_flags`.
        usage: a `Usage`.
        extras: dict of (default, help) by the name of a flag of the command's
            own; None for none.
        more_help: as of `Flags`.

    Returns:
        (config, values): as `parse_flags`, and a dict of values by the names
        of `extras`.

    Raises:
        ConfigError: as `parse_flags`.
    """
    flags = _training_flags(usage, more_help)
    for name, (default, text) in (extras or {}).items():
        flags.add(name, default, text, title=OTHER)
    flags.add(
        "print_config",
        False,
        "print all settings as a file for --flagfile, and do nothing else",
        title=OTHER,
    )
    if not flags.parse(arguments):
        return None, {}
    settings = {
        field.name: flags[field.name].value
        for field in dataclasses.fields(TrainConfig)
    }
    if not flags["job_dir"].present:
        settings["job_dir"] = platform.job_dir() or settings["job_dir"]
    config = TrainConfig(**settings)
    config.check_batch()
    if flags["print_config"].value:
        print(flag_file(config), end="")
        return None, {}
    return config, {name: flags[name].value for name in extras or {}}


def config_of(given):
    """Returns the `TrainConfig` of flags that are given in Python.

    Args:
        given: dict of values by the names of flags. A path is a text, and
            NumPy's numbers are numbers.

    Raises:
        ConfigError: as `parse_flags`.
    """
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    settings = {}
    for name, value in given.items():
        if name in _OF_COMMANDS or name.removeprefix("no") in (
            fields.keys() - {name}
        ):
            raise ConfigError(
                f"--{name} is for the command line; in Python give the name "
                "and the value of a setting, such as deterministic=False."
            )
        field = fields.get(name)
        if field is None or (
            field.metadata["choices"] and isinstance(value, str)
        ):
            # The command line has sentences of its own for these.
            _training_flags(TRAIN).parse([f"--{name}={value}"])
        settings[name] = _plain(value, field.type)
    if "job_dir" not in settings and platform.job_dir():
        settings["job_dir"] = platform.job_dir()
    config = TrainConfig(**settings)
    config.check_batch()
    return config


def _plain(value, kind):
    """Returns a path as a text, and a number of NumPy as one of Python."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bool):
        return value
    if kind is int and isinstance(value, numbers.Integral):
        return int(value)
    if kind is float and isinstance(value, numbers.Real):
        # One that is too large stays, to be refused.
        with contextlib.suppress(OverflowError):
            return float(value)
    return value


def expand_flags(arguments, usage=TRAIN):
    """Returns the flags that a command line gives, each with its value.

    What a `--flagfile` holds takes its place, so that the list means the same
    on a machine that does not have the file.

    Args:
        arguments: as for `parse_flags`.
        usage: a `Usage`.

    Returns:
        A list of str like `--name=value`, of a boolean `--name` or
        `--noname`, in the order of the settings; None when the command line
        asked for the help or the version, which is printed.

    Raises:
        ConfigError: an unknown flag, a bad value, or a stray word.
    """
    flags = _training_flags(usage)
    if not flags.parse(arguments):
        return None
    given = (flags[field.name] for field in dataclasses.fields(TrainConfig))
    return [flag.serialize() for flag in given if flag.present]


def flag_file(config):
    """Returns the text of a flag file that `--flagfile` reads as a config.

    Args:
        config: a `TrainConfig`.

    Raises:
        ConfigError: a value cannot stand in such a file.
    """
    lines = [f"# vae-trainer {__version__}"]
    for field in dataclasses.fields(TrainConfig):
        name, value = field.name, getattr(config, field.name)
        if field.type is bool:
            lines.append(f"--{name}" if value else f"--no{name}")
            continue
        text = str(value)
        # absl reads a line, and takes blanks at its end away.
        if text != text.rstrip() or _NOT_IN_A_LINE.search(text):
            raise ConfigError(
                f"--{name}={value!a} cannot stand in a flag file, where a "
                "value is UTF-8 on one line, without a blank at its end."
            )
        lines.append(f"--{name}={text}")
    return "\n".join(lines) + "\n"


def _training_flags(usage, more_help=lambda flags: ()):
    """Returns the flags of all settings: the common ones, then by group."""
    flags = Flags(usage, more_help)
    fields = dataclasses.fields(TrainConfig)
    for title in (_COMMON, *GROUPS):
        for field in fields:
            declared = field.metadata
            if title == (_COMMON if declared["common"] else declared["group"]):
                flags.add(
                    field.name,
                    field.default,
                    declared["help"],
                    title=title,
                    unit=declared["unit"],
                    choices=declared["choices"],
                    minimum=declared["minimum"],
                    maximum=declared["maximum"],
                    above=declared["above"],
                )
    return flags
