"""Images per second beside Keras `fit`, PyTorch and the machine's limit."""

import importlib.util
import statistics

from benchmarks import contenders, flops
from benchmarks.contenders import Contender
from benchmarks.intervals import Estimate, Figure, Goal

FIT_MODES = {
    "fit": {"jit_compile": False, "steps_per_execution": 32},
    "fit, XLA": {"jit_compile": True, "steps_per_execution": 32},
}
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
    say = setup.console.line
    fit, pytorch = _references(setup)
    if not pytorch:
        say(
            "PyTorch is not installed (pip install torch), so it is left out "
            "of the comparison."
        )
    trainer = setup.job(TRAINER)
    matmul = Contender(
        MATMUL,
        "benchmarks.matmul",
        [{"size": setup.matmul_size}],
        setup.threads,
    )
    all_of_them = [matmul, *fit, trainer, *pytorch]
    say(f"Setting up {len(all_of_them)} contenders.")
    with contenders.started(*all_of_them):
        for contender in all_of_them:
            contender.run(setup.steps_of(contender.name, setup.warm_up_steps))
        best_fit = _best(fit, setup)
        best_pytorch = _best(pytorch, setup)
        # The trainer's turn is next to each of those it is compared with.
        chosen = [matmul, *best_fit, trainer, *best_pytorch]
        turns = _rounds(chosen, setup.rounds, setup, "Throughput")
        product_flops = matmul.facts["flops"]
    return _report(turns, best_fit, best_pytorch, product_flops, setup)


def _references(setup):
    fit = [
        Contender(
            name,
            "benchmarks.keras_fit",
            [{"flags": list(setup.data_flags), **mode}],
            setup.threads,
        )
        for name, mode in FIT_MODES.items()
    ]
    if importlib.util.find_spec("torch") is None:
        return fit, []
    return fit, [
        Contender(
            name,
            "benchmarks.pytorch",
            [
                {
                    "flags": list(setup.data_flags),
                    "threads": setup.threads,
                    **mode,
                }
            ],
            setup.threads,
        )
        for name, mode in PYTORCH_MODES.items()
    ]


def _best(modes, setup):
    """Returns the fastest of some modes, in a list; ends the others."""
    if len(modes) < 2:
        return modes
    turns = _rounds(modes, _TRIAL_ROUNDS, setup, "Choosing the best mode")
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


def _rounds(chosen, count, setup, title):
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


def _report(turns, best_fit, best_pytorch, product_flops, setup):
    say = setup.console.line
    speeds = {
        name: [turn.per_second * setup.batch_size for turn in of_one]
        for name, of_one in turns.items()
        if name != MATMUL
    }
    limits = [turn.per_second * product_flops for turn in turns[MATMUL]]
    say(
        f"The model: {flops.PARAMETERS:,} parameters, "
        f"{flops.forward_flops() / 1e6:.2f} MFLOP an image forward, "
        f"{flops.step_flops() / 1e6:.2f} MFLOP in a training step "
        "(a multiply-add is 2)."
    )
    say(
        f"A {setup.matmul_size}^3 float32 matrix product: "
        f"{Estimate.of(limit / 1e9 for limit in limits).text('{:,.0f}')} "
        "GFLOP/s."
    )
    shares = {
        name: Estimate.of(
            speed * flops.step_flops() / limit
            for speed, limit in zip(of_one, limits, strict=True)
        )
        for name, of_one in speeds.items()
    }
    for name, of_one in speeds.items():
        cpu = Estimate.of(
            1e3 * turn.cpu_seconds / turn.steps for turn in turns[name]
        )
        say(
            f"  {name}: {Estimate.of(of_one).text('{:,.0f}')} images/s, "
            f"{shares[name].text('{:.0%}')} of the roofline, "
            f"{cpu.text('{:.1f}')} ms of CPU a step"
        )
    figures = [
        Figure(
            f"throughput over {other.name}",
            Estimate.of(
                ours / theirs
                for ours, theirs in zip(
                    speeds[TRAINER], speeds[other.name], strict=True
                )
            ),
            GOALS[key],
        )
        for key, group in (("fit", best_fit), ("PyTorch", best_pytorch))
        for other in group
    ]
    return [
        *figures,
        Figure("share of the roofline", shares[TRAINER], GOALS["roofline"]),
    ]
