"""What to try next, and what to stop: Optuna, asked as a function.

Nothing of a sampler is kept: each question builds a study in memory from the
outcomes so far, and seeds the sampler by the number of the trial. So a search
that was killed asks for the same as one that nobody touched.
"""

import dataclasses
import itertools
import math

import numpy as np

from trainer.errors import ConfigError

# So many trials are drawn at random, and so many run to their end, before
# outcomes count.
STARTUP_TRIALS = 5
_ATTEMPTS = 20


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trial that is over, as the search sees it.

    Attributes:
        parameters: dict of int, float or str by name.
        state: str, complete, pruned or failed.
        losses: tuple of (epoch, loss) of the evaluations of held-out images;
            of a pruned trial up to the one at which it was to be stopped.
    """

    parameters: dict
    state: str
    losses: tuple = ()


def optuna():
    """Returns the module `optuna`, which writes no lines of its own.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ConfigError(
            "vae-tune needs Optuna, which is not installed; install it with "
            '`pip install "vae-trainer[tune]"`.'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def suggest(parameters, outcomes, seed):
    """Returns what the next trial tries: a function of its arguments.

    Two trials with the same values would be the same training, bit for bit,
    so none is suggested twice.

    Args:
        parameters: tuple of `space.Parameter`.
        outcomes: list of `Outcome`, one for each trial before.
        seed: int.

    Returns:
        dict of int, float or str by name; None if all has been tried.
    """
    names = [parameter.name for parameter in parameters]
    tried = {
        tuple(outcome.parameters[name] for name in names)
        for outcome in outcomes
    }
    candidates = [parameter.candidates for parameter in parameters]
    is_finite = None not in candidates
    if is_finite and math.prod(map(len, candidates)) <= len(tried):
        return None
    distributions = _distributions(parameters)
    for attempt in range(_ATTEMPTS):
        key = np.random.SeedSequence((seed, len(outcomes), attempt))
        sampler = optuna().samplers.TPESampler(
            seed=int(key.generate_state(1)[0]), n_startup_trials=STARTUP_TRIALS
        )
        trial = _study(outcomes, distributions, sampler).ask(distributions)
        values = tuple(
            _within(parameter, trial.params[parameter.name])
            for parameter in parameters
        )
        if values not in tried:
            return dict(zip(names, values, strict=True))
    # What the sampler likes has all been tried.
    return next(
        dict(zip(names, values, strict=True))
        for values in itertools.product(*candidates)
        if values not in tried
    )


def stops_after(losses, outcomes, warmup_epochs):
    """Returns after how many evaluations a trial is to be stopped.

    That is at the first one where its best loss so far is above the median of
    the losses that complete trials had at that epoch (Optuna's MedianPruner).

    Args:
        losses: list of (epoch, loss), of evaluations after which the trial
            would go on.
        outcomes: list of `Outcome`, one for each trial before.
        warmup_epochs: float. Before that the KL is not weighted in full, and
            its loss says little.

    Returns:
        int, from 1; None if it may go on.
    """
    trial = optuna().trial
    pruner = optuna().pruners.MedianPruner(
        n_startup_trials=STARTUP_TRIALS,
        n_warmup_steps=math.ceil(warmup_epochs),
    )
    study = _study(outcomes, {})
    for count in range(1, len(losses) + 1):
        running = trial.create_trial(
            state=trial.TrialState.RUNNING,
            intermediate_values=dict(losses[:count]),
        )
        if pruner.prune(study, running):
            return count
    return None


def _within(parameter, value):
    """Returns a value in the type of its flag, within its range."""
    if parameter.is_range:
        # The exponential of a logarithm is off by the last digit.
        low, high = map(parameter.kind, parameter.values)
        value = min(max(value, low), high)
    return parameter.kind(value)


def _distributions(parameters):
    return {
        parameter.name: _distribution(parameter) for parameter in parameters
    }


def _distribution(parameter):
    distributions = optuna().distributions
    if not parameter.is_range:
        return distributions.CategoricalDistribution(parameter.candidates)
    low, high = map(parameter.kind, parameter.values)
    if parameter.kind is int:
        return distributions.IntDistribution(low, high, log=parameter.is_log)
    return distributions.FloatDistribution(low, high, log=parameter.is_log)


def _study(outcomes, distributions, sampler=None):
    """Returns a study in memory that holds the outcomes as its trials."""
    study = optuna().create_study(sampler=sampler)
    study.add_trials(
        [_frozen_trial(outcome, distributions) for outcome in outcomes]
    )
    return study


def _frozen_trial(outcome, distributions):
    trial = optuna().trial
    state = {
        "complete": trial.TrialState.COMPLETE,
        "pruned": trial.TrialState.PRUNED,
        "failed": trial.TrialState.FAIL,
    }[outcome.state]
    value = None
    if outcome.state == "complete":
        value = min(loss for _, loss in outcome.losses)
    return trial.create_trial(
        state=state,
        params=outcome.parameters if distributions else {},
        distributions=distributions,
        intermediate_values=dict(outcome.losses),
        value=value,
    )
