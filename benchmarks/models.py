"""Other models than the default one, and other precisions."""

import dataclasses
import tempfile

from benchmarks import contenders, drawn, evaluating, flops, throughput
from benchmarks.intervals import Figure, Goal
from trainer.runtime.training_flags import parse_flags

SHAPE = (64, 64, 3)
# As `--model=conv --model_options=width=48` has it at that size.
CONV = {"side": 64, "channels": 3, "widths": [24, 48, 96, 192, 192]}
CONV_FLAGS = ("--model=conv", "--model_options=width=48", "--latent_dim=128")
CONV_GOALS = {
    "fit": Goal(1.15, 1.0, more_is_better=True, form="{:.2f}x"),
    "PyTorch": Goal(1.3, 1.0, more_is_better=True, form="{:.2f}x"),
    "roofline": Goal(0.70, 0.55, more_is_better=True, form="{:.0%}"),
}
BFLOAT16_GOALS = {
    "float32": Goal(1.8, 1.6, more_is_better=True, form="{:.2f}x"),
    "bfloat16": Goal(1.25, 1.1, more_is_better=True, form="{:.2f}x"),
}
CONV_BYTES = 48 << 20
_CONV_BATCH = 32
# A step of it takes as long as ten of the default model.
_TIMES_THE_STEP = 10


def measure(setup):
    """Returns the `Figure`s of other models; prints a table of each.

    Args:
        setup: a `setup.Setup`.
    """
    return [*conv(setup), *bfloat16(setup), evaluating.measure(setup)]


def conv(setup):
    """Returns the `Figure`s of `--model=conv` on pictures in colour."""
    dataset = setup.folder / "pictures of 64x64"
    drawn.write_dataset(dataset, SHAPE, CONV_BYTES, sparse=False)
    flags = (
        f"--data_dir={dataset}",
        f"--batch_size={_CONV_BATCH}",
        *CONV_FLAGS,
    )
    with tempfile.TemporaryDirectory() as unused:
        config = parse_flags([f"--job_dir={unused}", *flags])
    steps = max(1, setup.steps // _TIMES_THE_STEP)
    setup = dataclasses.replace(
        setup,
        batch_size=_CONV_BATCH,
        steps=steps,
        warm_up_steps=min(setup.warm_up_steps, steps),
    )
    return throughput.compare(
        setup,
        throughput.Compared(flops.of_config(config, SHAPE), flags, CONV),
        _job(setup, throughput.TRAINER, *flags),
        CONV_GOALS,
        title="conv",
        executions=steps,
    )


def bfloat16(setup):
    """Returns the `Figure`s of the notebook's model in bfloat16."""
    model = throughput.Compared(flops.of_config(), setup.data_flags)
    job, job_in_float32 = (
        _job(setup, f"trainer, {name}", *setup.data_flags, flag)
        for name, flag in (
            ("bfloat16", "--mixed_precision=bfloat16"),
            ("float32", "--mixed_precision=none"),
        )
    )
    modes = {
        "float32": model.fit(setup),
        "bfloat16": model.fit(setup, policy="mixed_bfloat16"),
    }
    everyone = [*modes["float32"], job, *modes["bfloat16"], job_in_float32]
    with contenders.started(*everyone):
        throughput.warm_up(everyone, setup)
        (in_float32,), (in_bfloat16,) = (
            throughput.best(each, setup) for each in modes.values()
        )
        turns = throughput.rounds(
            [in_float32, job, in_bfloat16, job_in_float32],
            setup.rounds,
            setup,
            "bfloat16",
        )
    throughput.say_speeds(turns, setup)
    own = throughput.ratio(turns, job, job_in_float32)
    setup.console.line(
        f"The trainer in bfloat16 over itself in float32: {own.text()}."
    )
    return [
        Figure(
            f"bfloat16 over {other.name}, {precision}"
            if precision == "float32"
            else f"bfloat16 over {other.name}",
            throughput.ratio(turns, job, other),
            BFLOAT16_GOALS[precision],
        )
        for precision, other in (
            ("float32", in_float32),
            ("bfloat16", in_bfloat16),
        )
    ]


def _job(setup, name, *flags):
    """Returns a job that neither evaluates nor draws."""
    return setup.whole_job(
        name,
        "--eval_epochs=0",
        "--image_epochs=0",
        *setup.job_flags,
        *flags,
        any_shape=True,
    )
