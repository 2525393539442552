"""Options of a model: declared by its build function, given by a flag.

An option is an argument of the function that has a default:

    def build(image_shape, latent_dim, seed, width=64): ...

`Annotated` gives it a help text and bounds:

    width: Annotated[int, Option("channels", least=8, most=512)] = 64
"""

import dataclasses
import inspect
import typing

from trainer.errors import ConfigError
from trainer.model import users_code
from trainer.model_flags import split_options
from trainer.settings.declaration import check_value

# What the trainer gives to every build function, and what to those that take
# it.
NEEDED = ("image_shape", "latent_dim", "seed")
OUTPUT_CHANNELS, CLASSES = "output_channels", "classes"
_GIVEN = (*NEEDED, OUTPUT_CHANNELS, CLASSES)
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
_BOOLS = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True)
class Option:
    """What a build function says of an option.

    Attributes:
        help: str, what it means.
        least: the least that it may be; None for any.
        most: the most that it may be; None for any.
        choices: tuple of str, all that it may be; empty for any.
    """

    help: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple = ()


def declared(build, model):
    """Returns the options of a build function: {name: (default, Option)}.

    Args:
        build: a function.
        model: str, what `--model` says.

    Raises:
        ConfigError: an option has no default that a flag could give.
    """
    try:
        hints = typing.get_type_hints(build, include_extras=True)
    except users_code.RAISED as error:
        raise ConfigError(
            f"--model={model} has annotations that cannot be read "
            f"({users_code.reason(error)}); import what they name, or leave "
            "them out."
        ) from error
    found = {}
    for parameter in inspect.signature(build).parameters.values():
        name, default = parameter.name, parameter.default
        if name in _GIVEN or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        if type(default) not in _KINDS:
            raise ConfigError(
                f"--model={model} has the option {name} without a default that "
                "is a number, a text, True or False; give it one."
            )
        notes = getattr(hints.get(name), "__metadata__", ())
        option = next((n for n in notes if isinstance(n, Option)), Option())
        found[name] = default, option
    return found


def resolve(text, options, model):
    """Returns the value of each option, by name.

    Args:
        text: str, as `--model_options` has it: `width=64,depth=2`.
        options: dict, as `declared` gives it.
        model: str, what `--model` says.

    Raises:
        ConfigError: there is no such option, or it cannot have that value.
    """
    values = {name: default for name, (default, _) in options.items()}
    for name, value in split_options(text).items():
        if name not in options:
            known = ", ".join(options) or "none"
            raise ConfigError(
                f"--model={model} has no option {name}; its options: {known}."
            )
        values[name] = _value(name, value, *options[name])
    return values


def help_lines(options):
    """Yields (flag-like text, help) of each option."""
    for name, (default, option) in options.items():
        bounds = [f"default {_shown(default)}"]
        if option.choices:
            bounds.append(f"one of {', '.join(option.choices)}")
        if option.least is not None:
            bounds.append(f"at least {option.least}")
        if option.most is not None:
            bounds.append(f"at most {option.most}")
        yield f"{name}  ({', '.join(bounds)})", option.help


def _value(name, text, default, option):
    kind = type(default)
    try:
        value = _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"--model_options={name}={text} is not {_KINDS[kind]}, as its "
            f"default {_shown(default)} is."
        ) from error
    check_value(
        f"model_options={name}",
        kind,
        value,
        {
            "choices": option.choices,
            "minimum": option.least,
            "maximum": option.most,
            "above": None,
        },
    )
    return value


def _shown(value):
    return str(value).lower() if isinstance(value, bool) else str(value)
