"""`--tune`: the search space of a Vertex AI HyperparameterTuningJob."""

import dataclasses
import itertools
import math

from trainer.config import TrainConfig, tunable
from trainer.errors import ConfigError

# The test loss, under the name that the trainer reports to Vertex AI.
METRIC = "total_loss"


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

    def spec(self):
        """Returns a `ParameterSpec` as a dict in JSON's names."""
        spec = {"parameterId": self.name}
        if not self.is_range:
            if self.kind is float:
                values = sorted(map(float, self.values))
                return {**spec, "discreteValueSpec": {"values": values}}
            # As categories, since Vertex AI writes discrete values as floats,
            # and an integer flag refuses 20.0 (kuds/mesozoic-labs#127).
            values = list(self.values)
            return {**spec, "categoricalValueSpec": {"values": values}}
        low, high = map(self.kind, self.values)
        form = "integerValueSpec" if self.kind is int else "doubleValueSpec"
        scale = "UNIT_LOG_SCALE" if self.is_log else "UNIT_LINEAR_SCALE"
        return {
            **spec,
            form: {"minValue": low, "maxValue": high},
            "scaleType": scale,
        }


def parse(texts, job):
    """Returns the parameters of `--tune` flags, checked.

    Args:
        texts: list of str, `NAME=LOW..HIGH`, with `:log` or without, or
            `NAME=A,B,C`.
        job: a `Job`, which must be able to train with every candidate.

    Returns:
        A list of `Parameter`.

    Raises:
        ConfigError: a flag cannot be tuned, or the training would refuse a
            value of it.
    """
    parameters = [_parse(text) for text in texts]
    names = [parameter.name for parameter in parameters]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--tune={name} is given twice; give it once.")
        if any(flag.startswith(f"--{name}=") for flag in job.train_flags):
            raise ConfigError(
                f"--{name} is tuned, and given after --; leave one of them out."
            )
    for parameter in parameters:
        if parameter.name == "batch_size" and parameter.is_range:
            _refuse_sizes_between(parameter, job)
    _try_out(parameters, job)
    for parameter in parameters:
        if parameter.is_range:
            _check_range(parameter)
    return parameters


def _parse(text):
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
            f"--tune={text}: {name} cannot be tuned, since {reason}; use "
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
            f"--tune={text} is neither a range nor a list of different values; "
            f"write {name}=LOW..HIGH, {name}=LOW..HIGH:log or {name}=A,B,C."
        )
    return Parameter(
        name=name,
        kind=kind,
        values=values,
        is_range=bool(is_range),
        is_log=bool(is_log),
    )


def _try_out(parameters, job):
    """Has the trainer check every value, and every pair of values.

    No rule of `TrainConfig` is about more than two settings.
    """
    for pair in itertools.combinations(parameters, min(2, len(parameters))):
        chosen = {
            parameter.name: parameter.values[:1] for parameter in parameters
        }
        chosen |= {parameter.name: parameter.values for parameter in pair}
        for values in itertools.product(*chosen.values()):
            job.train_config(
                *(
                    f"--{name}={value}"
                    for name, value in zip(chosen, values, strict=True)
                )
            )


def _refuse_sizes_between(batch_size, job):
    if job.replica_count > 1:
        sizes = ",".join(str(job.replica_count * n) for n in (16, 32, 64))
        raise ConfigError(
            f"--tune=batch_size={'..'.join(batch_size.values)} has sizes that "
            f"cannot be split among {job.replica_count} replicas; write a "
            f"list, for instance batch_size={sizes}."
        )


def _check_range(parameter):
    low, high = map(parameter.kind, parameter.values)
    text = f"{parameter.name}={'..'.join(parameter.values)}"
    if low >= high:
        raise ConfigError(f"--tune={text} is empty; write the smaller first.")
    if parameter.is_log and low <= 0:
        raise ConfigError(
            f"--tune={text}:log has no logarithm at {low}; begin above 0."
        )


def study(parameters, trials, parallel_trials, trial_job_spec):
    """Returns the part of a HyperparameterTuningJob that is about the search.

    Args:
        parameters: list of `Parameter`.
        trials: int, jobs in all.
        parallel_trials: int, at a time.
        trial_job_spec: dict, the `CustomJobSpec` of a trial.
    """
    return {
        "studySpec": {
            "metrics": [{"metricId": METRIC, "goal": "MINIMIZE"}],
            "parameters": [parameter.spec() for parameter in parameters],
        },
        "maxTrialCount": trials,
        "parallelTrialCount": parallel_trials,
        # Some corners diverge, which is an answer; when half of the trials
        # fail, something else is wrong.
        "maxFailedTrialCount": math.ceil(trials / 2),
        "trialJobSpec": trial_job_spec,
    }
