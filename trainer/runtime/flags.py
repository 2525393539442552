"""Flags: from a command line to values, `--help`, and flag files."""

import contextlib
import dataclasses
import numbers
import os
import re
import textwrap

from absl import flags as absl_flags

from trainer import __version__
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.runtime import platform
from trainer.settings.declaration import GROUPS, check_value

# The last are what is left of bytes that are no UTF-8.
_NOT_IN_A_LINE = re.compile("[\n\r\ud800-\udfff]")
_COLUMNS, _INDENT = 80, 2
_COMMON, _OTHER = "Common", "Other"
# What stands for a value in `--help` where no unit does.
_STAND_INS = {int: "N", float: "X", str: "TEXT", list: "TEXT"}
# What every command line takes, and no function.
_OF_COMMANDS = {"flagfile", "help", "undefok", "version"}
_DEFINE = {
    bool: absl_flags.DEFINE_boolean,
    int: absl_flags.DEFINE_integer,
    float: absl_flags.DEFINE_float,
    str: absl_flags.DEFINE_string,
    list: absl_flags.DEFINE_multi_string,
}


@dataclasses.dataclass(frozen=True)
class Usage:
    """What `--help` says of a command as a whole.

    Attributes:
        program: str, what a user types to start it.
        about: str, what it does.
        example: str, lines to type.
        arguments: str, what may follow `program`.
    """

    program: str
    about: str
    example: str
    arguments: str = "[flags]"


TRAIN = Usage(
    program="vae-train",
    about="Trains a variational autoencoder. The same command again goes on "
    "where the job directory stopped.",
    example="vae-train --job_dir=runs/vae --epochs=20 --latent_dim=20",
)


class Flags:
    """The flags of a command.

    `flags[name].value` is the value of one, and `flags[name].present` whether
    the command line has it.

    Args:
        usage: a `Usage`.
        more_help: function of these flags, for what `--help` says beside
            them: yields a title, and pairs of a name and a text.
        takes_words: whether the command line may have words that are no
            flags, before and after flags.

    Attributes:
        words: list of str, those words once the command line is parsed.
    """

    def __init__(self, usage, more_help=lambda flags: (), takes_words=False):
        self._usage = usage
        self._more_help = more_help
        self._takes_words = takes_words
        self.words = []
        self._values = absl_flags.FlagValues()
        self._values.set_gnu_getopt(takes_words)
        # Lines of --help by title, and what a value may be by name.
        self._shown = {}
        self._limits = {}

    def __getitem__(self, name):
        return self._values[name]

    def add(
        self,
        name,
        default,
        text,
        *,
        title="",
        unit="",
        choices=(),
        minimum=None,
        maximum=None,
        above=None,
    ):
        """Defines a flag.

        Args:
            name: str.
            default: bool, int, float, str, or list of str for a flag that may
                be repeated.
            text: str, what the flag means.
            title: str, of the flags that `--help` shows together.
            unit: str, what the value counts or is.
            choices: tuple of str, all that the value may be; empty for any.
            minimum: the least that it may be; None for any.
            maximum: the most that it may be; as for `declaration.setting`.
            above: what it must be more than; None for any.
        """
        kind = type(default)
        if choices:
            absl_flags.DEFINE_enum(
                name, default, choices, text, flag_values=self._values
            )
        else:
            _DEFINE[kind](name, default, text, flag_values=self._values)
        limits = {
            "choices": choices,
            "minimum": minimum,
            "maximum": maximum,
            "above": above,
        }
        self._limits[name] = limits
        self._shown.setdefault(title, []).extend(
            _help(name, default, text, unit, limits)
        )

    def parse(self, arguments):
        """Parses a command line strictly.

        absl's own `app.run` exits 1 on a bad flag, and accepts stray words.

        Args:
            arguments: list of str, the command line after the program.
                absl's own `--flagfile=FILE` is understood.

        Returns:
            These flags; None when the command line asked for the help or the
            version, which is printed.

        Raises:
            ConfigError: an unknown flag, a bad value, or a stray word.
        """
        for name in ("help", "version"):
            absl_flags.DEFINE_boolean(name, False, "", flag_values=self._values)
        try:
            _, *stray = self._values([self._usage.program, *arguments])
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"A --flagfile is not UTF-8 text ({error}); give one with a "
                "flag on each line."
            ) from error
        # A ValueError comes of a value for --noNAME.
        except (absl_flags.Error, ValueError) as error:
            # absl begins some of them with the word that stands there anyway.
            text = str(error).removeprefix("ERROR:: ")
            raise ConfigError(text) from error
        if self["help"].value:
            for title, entries in self._more_help(self):
                for name, text in entries:
                    self._shown.setdefault(title, []).extend(_entry(name, text))
            print(self.help())
            return None
        if self["version"].value:
            print(f"vae-trainer {__version__}")
            return None
        if self._takes_words:
            self.words = stray
        elif stray:
            raise ConfigError(
                f"{stray[0]!r} is not a flag; flags look like --epochs=3."
            )
        for name, limits in self._limits.items():
            value = self[name].value
            check_value(name, type(self[name].default), value, limits)
        return self

    def help(self):
        """Returns what `--help` prints."""
        usage = self._usage
        others = [
            *_entry("--flagfile=FILE", "read flags from a file, one a line"),
            *self._shown.get(_OTHER, ()),
            *_entry("--version", "print the version"),
            *_entry("--help", "print this"),
        ]
        lines = [
            f"usage: {usage.program} {usage.arguments}",
            "",
            textwrap.fill(usage.about, _COLUMNS),
            "",
            "Example:",
            textwrap.indent(usage.example, "  "),
        ]
        for title, shown in {**self._shown, _OTHER: others}.items():
            lines += ["", f"{title or 'Flags'}:", *shown]
        return "\n".join(lines)


def _help(name, default, text, unit, limits):
    """Returns the lines of `--help` about a flag."""
    kind = type(default)
    values = "|".join(limits["choices"]) or unit.upper() or _STAND_INS.get(kind)
    flag = f"--[no]{name}" if kind is bool else f"--{name}={values}"
    details = ", ".join(_details(default, limits))
    if not details:
        return _entry(flag, text)
    line = f"{flag}  ({details})"
    if len(line) > _COLUMNS - _INDENT:
        return _entry(flag, f"{text} ({details})")
    return _entry(line, text)


def _details(default, limits):
    """Yields what `--help` says of the default and the bounds of a flag."""
    if isinstance(default, bool):
        yield f"default {'on' if default else 'off'}"
    elif isinstance(default, float):
        yield f"default {default:g}"
    elif default not in ("", []):
        yield f"default {default}"
    if limits["minimum"] is not None:
        yield f"at least {limits['minimum']}"
    if limits["maximum"] is not None:
        yield f"at most {limits['maximum']}"
    if limits["above"] is not None:
        yield f"above {limits['above']}"


def _entry(flag, text):
    """Returns the lines of `--help` that have a flag, and below it a text."""
    below = " " * 3 * _INDENT
    wrapped = textwrap.fill(
        text,
        _COLUMNS,
        initial_indent=below,
        subsequent_indent=below,
        break_on_hyphens=False,
    )
    return [f"{' ' * _INDENT}{flag}", wrapped]


def new_job_flags(usage):
    """Returns the flags of a command that reads a checkpoint of a job.

    Args:
        usage: a `Usage`.
    """
    flags = Flags(usage)
    flags.add(
        "job_dir",
        TrainConfig.job_dir,
        "the --job_dir of the training run",
        unit="folder",
    )
    flags.add(
        "checkpoint",
        "last",
        "last, best (least test loss) or a step number",
        unit="step",
    )
    flags.add(
        "model",
        "",
        "the --model of the training run; needed where that is "
        "package.module:function, whose code is run",
    )
    return flags


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
        flags.add(name, default, text, title=_OTHER)
    flags.add(
        "print_config",
        False,
        "print all settings as a file for --flagfile, and do nothing else",
        title=_OTHER,
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
