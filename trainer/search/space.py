"""The search space: which flags of the training vary, and over what."""

import dataclasses
import itertools

from trainer.config import TrainConfig, tunable
from trainer.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One flag to search for.

    Attributes:
        name: str, of a flag of the training.
        kind: int, float or str, the type of the flag.
        values: tuple of str, the two ends of a range or the choices.
        is_range: whether all between the two ends are candidates.
        is_log: whether the range is searched by its logarithm.
    """

    name: str
    kind: type
    values: tuple[str, ...]
    is_range: bool
    is_log: bool

    @property
    def text(self):
        """What the user writes for it: `NAME=LOW..HIGH:log`, `NAME=A,B,C`."""
        if not self.is_range:
            return f"{self.name}={','.join(self.values)}"
        return f"{self.name}={'..'.join(self.values)}{':log' * self.is_log}"

    @property
    def candidates(self):
        """All values, as a range of ints or a tuple; None for a float range."""
        if not self.is_range:
            # 0.001 and 1e-3 are one value.
            return tuple(dict.fromkeys(map(self.kind, self.values)))
        if self.kind is not int:
            return None
        low, high = map(int, self.values)
        return range(low, high + 1)

    def has(self, value):
        """Whether a JSON value is one of the candidates."""
        if type(value) is not self.kind:
            return False
        if self.candidates is not None:
            return value in self.candidates
        low, high = map(float, self.values)
        return low <= value <= high


def parse(texts, flag, given, try_out, replica_count=1):
    """Returns the parameters of flags such as `--tune`, checked.

    Args:
        texts: list of str, `NAME=LOW..HIGH`, with `:log` or without, or
            `NAME=A,B,C`.
        flag: str, the flag that the user gave them with.
        given: tuple of str, the flags of the training that do not vary, as
            `expand_flags` returns them.
        try_out: function of flags of the training, which raises `ConfigError`
            for those that it would refuse.
        replica_count: int, replicas that each batch is split among.

    Returns:
        A list of `Parameter`.

    Raises:
        ConfigError: a flag cannot be tuned, or the training would refuse a
            value of it.
    """
    parameters = [_parse(text, flag) for text in texts]
    names = [parameter.name for parameter in parameters]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{flag}={name} is given twice; give it once.")
        if any(each.startswith(f"--{name}=") for each in given):
            raise ConfigError(
                f"--{name} is tuned, and given after --; leave one of them out."
            )
    for parameter in parameters:
        if parameter.name == "batch_size" and parameter.is_range:
            _refuse_sizes_between(parameter, flag, replica_count)
    _try_out(parameters, try_out)
    for parameter in parameters:
        if parameter.is_range:
            _check_range(parameter, flag)
    return parameters


def flags_of(values):
    """Returns the flags that give a training its values.

    Args:
        values: dict of int, float or str by the names of parameters.
    """
    # The shortest text that is read as the same number again.
    return [
        f"--{name}={value!r}" if type(value) is float else f"--{name}={value}"
        for name, value in values.items()
    ]


def _parse(text, flag):
    name, _, candidates = text.partition("=")
    settings = {field.name: field for field in dataclasses.fields(TrainConfig)}
    names = tunable()
    if name not in names:
        reason = (
            settings[name].metadata["not_tuned"]
            if name in settings
            else "it is no flag of the training"
        )
        raise ConfigError(
            f"{flag}={text}: {name} cannot be tuned, since {reason}; use "
            f"{', '.join(names)}."
        )
    kind = settings[name].type
    low, is_range, high = candidates.partition("..")
    high, is_log, rest = high.partition(":log")
    values = (low, high) if is_range else tuple(candidates.split(","))
    if (
        rest
        or "" in values
        or len(set(values)) < max(len(values), 2)
        or (is_range and kind is str)
    ):
        raise ConfigError(
            f"{flag}={text} is neither a range nor a list of different values; "
            f"write {name}=LOW..HIGH, {name}=LOW..HIGH:log or {name}=A,B,C."
        )
    return Parameter(
        name=name,
        kind=kind,
        values=values,
        is_range=bool(is_range),
        is_log=bool(is_log),
    )


def _try_out(parameters, try_out):
    """Has the trainer check every value, and every pair of values.

    No rule of `TrainConfig` is about more than two settings.
    """
    for pair in itertools.combinations(parameters, min(2, len(parameters))):
        chosen = {
            parameter.name: parameter.values[:1] for parameter in parameters
        }
        chosen |= {parameter.name: parameter.values for parameter in pair}
        for values in itertools.product(*chosen.values()):
            try_out(
                *(
                    f"--{name}={value}"
                    for name, value in zip(chosen, values, strict=True)
                )
            )


def _refuse_sizes_between(batch_size, flag, replica_count):
    if replica_count > 1:
        sizes = ",".join(str(replica_count * n) for n in (16, 32, 64))
        raise ConfigError(
            f"{flag}=batch_size={'..'.join(batch_size.values)} has sizes that "
            f"cannot be split among {replica_count} replicas; write a "
            f"list, for instance batch_size={sizes}."
        )


def _check_range(parameter, flag):
    low, high = map(parameter.kind, parameter.values)
    text = f"{parameter.name}={'..'.join(parameter.values)}"
    if low >= high:
        raise ConfigError(f"{flag}={text} is empty; write the smaller first.")
    if parameter.is_log and low <= 0:
        raise ConfigError(
            f"{flag}={text}:log has no logarithm at {low}; begin above 0."
        )
