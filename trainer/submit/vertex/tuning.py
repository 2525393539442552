"""`--tune`: the search of a Vertex AI HyperparameterTuningJob."""

import math

# The test loss, under the name that the trainer reports to Vertex AI.
METRIC = "total_loss"


def parameter_spec(parameter):
    """Returns a `ParameterSpec` as a dict in JSON's names.

    Args:
        parameter: a `search.space.Parameter`.
    """
    spec = {"parameterId": parameter.name}
    if not parameter.is_range:
        if parameter.kind is float:
            values = sorted(map(float, parameter.values))
            return {**spec, "discreteValueSpec": {"values": values}}
        # As categories, since Vertex AI writes discrete values as floats,
        # and an integer flag refuses 20.0 (kuds/mesozoic-labs#127).
        values = list(parameter.values)
        return {**spec, "categoricalValueSpec": {"values": values}}
    low, high = map(parameter.kind, parameter.values)
    form = "integerValueSpec" if parameter.kind is int else "doubleValueSpec"
    scale = "UNIT_LOG_SCALE" if parameter.is_log else "UNIT_LINEAR_SCALE"
    return {
        **spec,
        form: {"minValue": low, "maxValue": high},
        "scaleType": scale,
    }


def study(parameters, trials, parallel_trials, trial_job_spec):
    """Returns the part of a HyperparameterTuningJob that is about the search.

    Args:
        parameters: list of `search.space.Parameter`.
        trials: int, jobs in all.
        parallel_trials: int, at a time.
        trial_job_spec: dict, the `CustomJobSpec` of a trial.
    """
    return {
        "studySpec": {
            "metrics": [{"metricId": METRIC, "goal": "MINIMIZE"}],
            "parameters": [parameter_spec(each) for each in parameters],
        },
        "maxTrialCount": trials,
        "parallelTrialCount": parallel_trials,
        # Some corners diverge, which is an answer; when half of the trials
        # fail, something else is wrong.
        "maxFailedTrialCount": math.ceil(trials / 2),
        "trialJobSpec": trial_job_spec,
    }
