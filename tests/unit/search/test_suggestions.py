"""What Optuna is asked: a function of the outcomes, and of nothing else."""

import sys

import pytest

from tests.tools.commands import run_command
from trainer.search import space, suggestions
from trainer.search.suggestions import Outcome, stops_after, suggest

TEXTS = ("latent_dim=2..200:log", "learning_rate=1e-4..1e-2:log")


def parameters(*texts):
    return tuple(space.parse(texts, "--search", (), lambda *flags: None))


def run(searched, count, loss, seed=0):
    """Returns what is tried by a search whose trials have such losses."""
    outcomes = []
    for _ in range(count):
        values = suggest(searched, outcomes, seed)
        outcomes.append(Outcome(values, "complete", ((1, loss(values)),)))
    return [outcome.parameters for outcome in outcomes]


def test_suggestions_depend_on_the_seed_and_the_outcomes_alone():
    searched = parameters(*TEXTS)

    def loss(values):
        return values["latent_dim"]

    tried = run(searched, 8, loss)
    assert run(searched, 8, loss) == tried
    assert all(
        parameter.has(values[parameter.name])
        for parameter in searched
        for values in tried
    )
    assert run(searched, 1, loss, seed=1) != tried[:1]
    other = run(searched, 8, lambda values: -values["latent_dim"])
    # Those at random are the same, and then the losses count.
    startup = suggestions.STARTUP_TRIALS
    assert other[:startup] == tried[:startup]
    assert other[startup:] != tried[startup:]


def test_all_combinations_are_tried_once_and_then_there_is_nothing_left():
    searched = parameters("latent_dim=2..4", "free_bits=0,0.5")
    tried = run(searched, 6, lambda values: values["latent_dim"])
    assert len({tuple(values.items()) for values in tried}) == 6
    outcomes = [Outcome(values, "failed") for values in tried]
    assert suggest(searched, outcomes, 0) is None


def test_a_failed_and_a_pruned_trial_are_no_reason_to_stop():
    searched = parameters(*TEXTS)
    values = {"latent_dim": 2, "learning_rate": 1e-3}
    outcomes = [Outcome(values, "failed")] * 7
    outcomes += [Outcome(values, "pruned", ((1, 50.0),))] * 7
    assert suggest(searched, outcomes, 0).keys() == values.keys()


@pytest.mark.parametrize(
    ("losses", "warmup", "expected"),
    [
        # The median of the five is 32 at epoch 1, and 22 at epoch 2.
        ([(1, 31.0), (2, 21.0)], 0, None),
        ([(1, 33.0)], 0, 1),
        ([(1, 31.0), (2, 23.0)], 0, 2),
        ([(1, 33.0), (2, 21.0)], 1.5, None),
        ([(1, 33.0), (2, 23.0)], 1.5, 2),
        ([(1, 20.0), (2, 50.0)], 0, None),
        ([], 0, None),
    ],
)
def test_a_trial_stops_where_it_is_worse_than_the_median(
    losses, warmup, expected
):
    complete = [
        Outcome({}, "complete", ((1, 30.0 + n), (2, 20.0 + n)))
        for n in range(suggestions.STARTUP_TRIALS)
    ]
    others = [Outcome({}, "pruned", ((1, 1.0),)), Outcome({}, "failed")]
    assert stops_after(losses, complete + others, warmup) == expected
    # Too few are complete.
    assert stops_after(losses, complete[1:] + others, warmup) is None


def test_a_missing_optuna_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, out, err = run_command(
        "vae-tune",
        f"--study_dir={tmp_path / 'search'}",
        "--search=latent_dim=2,20",
    )
    assert (code, out) == (2, "")
    assert err == (
        "ERROR: vae-tune needs Optuna, which is not installed; install it "
        'with `pip install "vae-trainer[tune]"`.\n'
    )
    assert not (tmp_path / "search").exists()
