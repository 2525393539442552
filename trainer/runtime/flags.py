"""The flags of a command: from a command line to values, and `--help`."""

import dataclasses
import textwrap

from absl import flags as absl_flags

from trainer import __version__
from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.runtime import flag_help
from trainer.settings.declaration import check_value

# The title in `--help` of what is no setting.
OTHER = "Other"
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
            flag_help.of_flag(name, default, text, unit, limits)
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
                    self._shown.setdefault(title, []).extend(
                        flag_help.entry(name, text)
                    )
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
            *flag_help.entry(
                "--flagfile=FILE", "read flags from a file, one a line"
            ),
            *self._shown.get(OTHER, ()),
            *flag_help.entry("--version", "print the version"),
            *flag_help.entry("--help", "print this"),
        ]
        lines = [
            f"usage: {usage.program} {usage.arguments}",
            "",
            textwrap.fill(usage.about, flag_help.COLUMNS),
            "",
            "Example:",
            textwrap.indent(usage.example, "  "),
        ]
        for title, shown in {**self._shown, OTHER: others}.items():
            lines += ["", f"{title or 'Flags'}:", *shown]
        return "\n".join(lines)


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
