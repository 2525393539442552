"""Images per second beside Keras `fit`, PyTorch and the machine's limit."""

import dataclasses
import importlib.util
import statistics

from benchmarks import contenders, flops
from benchmarks.contenders import Contender
from benchmarks.intervals import Estimate, Figure, Goal

# By name, whether XLA compiles the step.
FIT_MODES = {"fit": False, "fit, XLA": True}
PYTORCH_MODES = {
    "PyTorch, eager": {"channels_last": False, "compile": False},
    "PyTorch, channels_last": {"channels_last": True, "compile": False},
    "PyTorch, compile": {"channels_last": False, "compile": True},
    "PyTorch, compile, channels_last": {"channels_last": True, "compile": True},
}
TRAINER, MATMUL = "trainer", "matmul"
GOALS = {
    "fit": Goal(1.5, 1.15, more_is_better=True, form="{:.2f}x"),
    "PyTorch": Goal(2.0, 1.5, more_is_better=True, form="{:.2f}x"),
    "roofline": Goal(0.85, 0.70, more_is_better=True, form="{:.0%}"),
}
_TRIAL_ROUNDS = 3


def measure(setup):
    """Returns the `Figure`s of the throughput; prints a table.

    Args:
        setup: a `setup.Setup`.
    """
    model = Compared(flops.of_config(), setup.data_flags)
    return compare(setup, model, setup.job(TRAINER), GOALS)


@dataclasses.dataclass(frozen=True)
class Compared:
    """A model that all contenders train.

    Attributes:
        work: the `flops.Work` of the trainer's.
        flags: of the trainer, strings: the data, and what differs from the
            defaults.
        conv: dict of what `keras_conv` and `pytorch_conv` take; None for the
            notebook's model.
    """

    work: flops.Work
    flags: tuple
    conv: dict | None = None

    def fit(self, setup, policy="float32", executions=32):
        """Returns a `Contender` for each mode of `fit`.

        Args:
            setup: a `setup.Setup`.
            policy: str, of Keras: what is computed in.
            executions: int, steps of a call.
        """
        return [
            Contender(
                name if policy == "float32" else f"{name}, {policy}",
                "benchmarks.keras_fit",
                [
                    {
                        **self._settings(),
                        "policy": policy,
                        "jit_compile": jit_compile,
                        "steps_per_execution": executions,
                    }
                ],
                setup.threads,
            )
            for name, jit_compile in FIT_MODES.items()
        ]

    def pytorch(self, setup):
        """Returns a `Contender` for each mode of PyTorch, if it is there."""
        if importlib.util.find_spec("torch") is None:
            setup.console.line(
                "PyTorch is not installed (pip install torch), so it is left "
                "out of the comparison."
            )
            return []
        return [
            Contender(
                name,
                "benchmarks.pytorch",
                [{**self._settings(), "threads": setup.threads, **mode}],
                setup.threads,
            )
            for name, mode in PYTORCH_MODES.items()
        ]

    def _settings(self):
        return {
            "flags": list(self.flags),
            "conv": self.conv,
            "parameters": self.work.parameters,
        }


def compare(setup, model, trainer, goals, title="throughput", **of_fit):
    """Returns the `Figure`s of a model; prints a table.

    Args:
        setup: a `setup.Setup`.
        model: a `Compared`.
        trainer: the `Contender` of the trainer's job.
        goals: dict of `Goal`s, as `GOALS`.
        title: str, how the figures' names begin.
        **of_fit: of `Compared.fit`.
    """
    fit, pytorch = model.fit(setup, **of_fit), model.pytorch(setup)
    matmul = Contender(
        MATMUL,
        "benchmarks.matmul",
        [{"size": setup.matmul_size}],
        setup.threads,
    )
    all_of_them = [matmul, *fit, trainer, *pytorch]
    setup.console.line(f"Setting up {len(all_of_them)} contenders.")
    with contenders.started(*all_of_them):
        warm_up(all_of_them, setup)
        best_fit = best(fit, setup)
        best_pytorch = best(pytorch, setup)
        # The trainer's turn is next to each of those it is compared with.
        chosen = [matmul, *best_fit, trainer, *best_pytorch]
        turns = rounds(chosen, setup.rounds, setup, "Throughput")
        product_flops = matmul.facts["flops"]
    shares = _report(turns, model.work, product_flops, setup)
    return [
        *(
            Figure(
                f"{title} over {other.name}",
                ratio(turns, trainer, other),
                goals[key],
            )
            for key, group in (("fit", best_fit), ("PyTorch", best_pytorch))
            for other in group
        ),
        Figure(
            "share of the roofline"
            if title == "throughput"
            else f"{title}, share of the roofline",
            shares[TRAINER],
            goals["roofline"],
        ),
    ]


def warm_up(chosen, setup):
    """Lets contenders trace and compile what they compute."""
    for contender in chosen:
        contender.run(setup.steps_of(contender.name, setup.warm_up_steps))


def ratio(turns, over, under):
    """Returns the `Estimate` of how much faster a contender is than another."""
    return Estimate.of_ratios(
        *(
            [turn.per_second for turn in turns[one.name]]
            for one in (over, under)
        )
    )


def best(modes, setup):
    """Returns the fastest of some modes, in a list; ends the others.

    Args:
        modes: list of `Contender`s, warmed up.
        setup: a `setup.Setup`.
    """
    if len(modes) < 2:
        return modes
    turns = rounds(modes, _TRIAL_ROUNDS, setup, "Choosing the best mode")
    speeds = {
        mode.name: statistics.median(
            turn.per_second * setup.batch_size for turn in turns[mode.name]
        )
        for mode in modes
    }
    best = max(modes, key=lambda mode: speeds[mode.name])
    for mode in modes:
        setup.console.line(
            f"  {mode.name}: {speeds[mode.name]:,.0f} images/s"
            + (", the best" if mode is best else "")
        )
        if mode is not best:
            mode.close()
    return [best]


def rounds(chosen, count, setup, title):
    """Lets contenders take turns of so many steps, with a progress bar.

    Args:
        chosen: list of `Contender`s, warmed up.
        count: int, number of rounds.
        setup: a `setup.Setup`.
        title: str, of the bar.

    Returns:
        Dict by name of a list of `Measurement`s, one a round.
    """
    steps = {
        contender.name: setup.steps_of(contender.name, setup.steps)
        for contender in chosen
    }
    total = count * sum(steps[name] for name in steps if name != MATMUL)
    with setup.console.image_bar(title, total * setup.batch_size) as advance:
        return contenders.rounds(
            chosen,
            count,
            steps,
            lambda name, turn: advance(
                turn.steps * setup.batch_size * (name != MATMUL)
            ),
        )


def say_speeds(turns, setup, shares=None):
    """Prints images/s and CPU time of each contender.

    Args:
        turns: dict of `Measurement`s, as of `rounds`.
        setup: a `setup.Setup`.
        shares: dict by name of `Estimate`s of the roofline; None to say none.
    """
    for name, of_one in turns.items():
        speed = Estimate.of(
            turn.per_second * setup.batch_size for turn in of_one
        )
        cpu = Estimate.of(
            1e3 * turn.cpu_seconds / turn.steps for turn in of_one
        )
        share = (
            f"{shares[name].text('{:.0%}')} of the roofline, " if shares else ""
        )
        setup.console.line(
            f"  {name}: {speed.text('{:,.0f}')} images/s, {share}"
            f"{cpu.text('{:.1f}')} ms of CPU a step"
        )


def _report(turns, work, product_flops, setup):
    """Prints the table; returns each contender's share of the roofline."""
    say = setup.console.line
    turns = dict(turns)
    limits = [turn.per_second * product_flops for turn in turns.pop(MATMUL)]
    say(work.text())
    say(
        f"A {setup.matmul_size}^3 float32 matrix product: "
        f"{Estimate.of(limit / 1e9 for limit in limits).text('{:,.0f}')} "
        "GFLOP/s."
    )
    shares = {
        name: Estimate.of(
            turn.per_second * setup.batch_size * work.step_flops / limit
            for turn, limit in zip(of_one, limits, strict=True)
        )
        for name, of_one in turns.items()
    }
    say_speeds(turns, setup, shares)
    return shares
