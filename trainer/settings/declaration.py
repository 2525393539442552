"""How a setting is declared: once, with all that is derived from it."""

import dataclasses
import math

from trainer.errors import ConfigError

# Who may have a setting otherwise than a job has recorded it.
ROLES = {
    "mathematics": "nobody: the state after a step depends on it",
    "length": "a resume, unless the learning rate depends on the last step",
    "run": "a resume, but not one worker among several",
    "worker": "a resume, and each worker",
}
# The titles of `--help`, in its order.
GROUPS = (
    "Data",
    "Length",
    "Model and objective",
    "Optimizer",
    "Precision and speed",
    "Devices",
    "Job directory",
    "Checkpoints and logs",
)
_TYPES = (bool, int, float, str)
# What an int of TensorFlow holds.
MOST = 2**63 - 1
# Of a shape in TensorFlow's operations for random numbers, and of a count of
# steps in one call: an int32.
MOST_IN_SHAPE = 2**31 - 1
# Why no search may tune a setting that makes the loss another one.
OTHER_LOSS = "trials could not be compared by their test loss"


def setting(
    default,
    text,
    *,
    group,
    role,
    not_tuned=None,
    unit="",
    choices=(),
    minimum=None,
    maximum=None,
    above=None,
    common=False,
):
    """Returns the dataclass field of a setting.

    Args:
        default: bool, int, float or str.
        text: str, what the setting means.
        group: str, one of `GROUPS`.
        role: str, one of `ROLES`.
        not_tuned: str, why no search may tune it; empty if one may. May be
            left out where the role says it: of `run` and `worker`.
        unit: str, what its value counts or is, such as steps or a folder;
            empty where that says nothing.
        choices: tuple of str, all that it may be; empty for any.
        minimum: the least that it may be; None for any.
        maximum: the most that it may be; None for `MOST` of an int, and for
            any of another type.
        above: what it must be more than; None for any.
        common: bool, whether people use it first.
    """
    if not_tuned is None and role in ("run", "worker"):
        not_tuned = "the test loss does not depend on it"
    return dataclasses.field(
        default=default,
        metadata={
            "help": text,
            "group": group,
            "role": role,
            "not_tuned": not_tuned,
            "unit": unit,
            "choices": choices,
            "minimum": minimum,
            "maximum": maximum,
            "above": above,
            "common": common,
        },
    )


def declared(cls):
    """Makes a frozen dataclass of a class all of whose fields are settings.

    Raises:
        TypeError: a field is not declared in full.
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    for field in dataclasses.fields(cls):
        if not field.metadata:
            raise TypeError(f"{field.name} is not declared with setting().")
        group, role, not_tuned = (
            field.metadata[name] for name in ("group", "role", "not_tuned")
        )
        for what, value, known in (
            ("type", field.type, _TYPES),
            ("group", group, GROUPS),
            ("role", role, tuple(ROLES)),
        ):
            if value not in known:
                raise TypeError(
                    f"{field.name} has the {what} {value!r}; use one of "
                    f"{', '.join(map(repr, known))}."
                )
        if not_tuned is None:
            raise TypeError(
                f"{field.name} does not say whether a search may tune it; "
                'give not_tuned="" or the reason.'
            )
    return cls


def check_value(name, kind, value, limits):
    """Refuses a value that a flag or a setting may not have.

    Args:
        name: str, of the flag.
        kind: bool, int, float or str.
        value: anything.
        limits: a mapping with `choices`, `minimum`, `maximum` and `above`, as
            `setting` takes them.

    Raises:
        ConfigError: the message says what is expected.
    """
    choices, minimum, maximum, above = (
        limits[limit] for limit in ("choices", "minimum", "maximum", "above")
    )
    if kind is int and maximum is None:
        maximum = MOST
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or (
        isinstance(value, bool) and kind is not bool
    ):
        raise ConfigError(
            f"--{name}={value!r} is a {type(value).__name__}; expected "
            f"{kind.__name__}."
        )
    if choices and value not in choices:
        raise ConfigError(
            f"--{name}={value} is not one of {', '.join(choices)}."
        )
    if kind is float and not _is_finite(value):
        raise ConfigError(f"--{name}={value} is not a finite number.")
    if minimum is not None and value < minimum:
        raise ConfigError(
            f"--{name}={value} is too small; the least is {minimum}."
        )
    if maximum is not None and value > maximum:
        raise ConfigError(
            f"--{name}={value} is too large; the most is {maximum}."
        )
    if above is not None and value <= above:
        raise ConfigError(f"--{name}={value} must be above {above}.")


def _is_finite(value):
    """Whether a number is one that a float can be."""
    try:
        return math.isfinite(value)
    except OverflowError:  # An int.
        return False
