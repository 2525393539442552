"""Images a second by batch size, and the matrix product, in one process.

It says one JSON object a line: first what the model and a matrix product of
the device are, then what each batch size reached.
"""

import dataclasses
import gc
import json
import sys

from benchmarks import matmul
from benchmarks.turns import reports_alone
from trainer.runtime import gpu_environment
from trainer.runtime.command import quiet_tensorflow
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.runtime.training_flags import parse_flags

# A batch twice as large has to be faster by that share.
GAIN = 0.05


def climb(measure, first, most):
    """Doubles the batch until that is hardly faster.

    Args:
        measure: function of a batch size; returns images a second, or None
            where it does not fit into the memory.
        first: int, the first batch size.
        most: int, the largest that there can be.

    Yields:
        (batch, images a second or None, why no larger one follows or "").
    """
    batch, best = first, 0.0
    while True:
        speed = measure(batch)
        if speed is None:
            why = "it does not fit into the memory"
        elif speed < best * (1 + GAIN):
            why = f"it is less than {GAIN:.0%} faster"
        elif 2 * batch > most:
            why = "the data has no larger batch"
        else:
            why = ""
        yield batch, speed, why
        if why:
            return
        batch, best = 2 * batch, max(best, speed)


def knee(speeds):
    """Returns the batch from which on a larger one is hardly faster.

    Args:
        speeds: dict of images a second by batch size, as `climb` gives them,
            without those that do not fit.

    Returns:
        int; None where none was measured.
    """
    best = None
    for batch, speed in sorted(speeds.items()):
        if best is None or speed >= speeds[best] * (1 + GAIN):
            best = batch
    return best


def main():
    """Measures by the settings.

    They are `flags` of the trainer, `first`, `most`, `seconds`, `product` (the
    size of the matrices) and `dtype`.
    """
    settings = json.loads(sys.argv[1])
    reports = reports_alone()

    def say(**values):
        print(json.dumps(values), file=reports, flush=True)

    config = parse_flags(settings["flags"])
    gpu_environment.prepare(config)
    with quiet_tensorflow():
        import tensorflow as tf

        from benchmarks import flops
        from trainer.doctor import pace
        from trainer.doctor.case import Case

    def case_of(batch):
        return Case(
            dataclasses.replace(config, batch_size=batch),
            None,
            StopSignal(),
            Console(),
        )

    first = case_of(settings["first"])
    kind = first.cluster.device_kind
    work = flops.of_config(config, tuple(first.facts.image_shape))
    say(
        parameters=work.parameters,
        step_flops=work.step_flops,
        product_flops=matmul.flops_per_second(
            settings["product"], settings["dtype"], settings["seconds"]
        ),
    )
    memory = tf.config.experimental
    facts = {}

    def measure(batch):
        gc.collect()  # The model of the batch before.
        facts.clear()
        if kind == "GPU":
            memory.reset_memory_stats("GPU:0")
        try:
            found = pace.measure(case_of(batch), settings["seconds"])
        except tf.errors.ResourceExhaustedError:
            return None
        facts["first_seconds"] = found.first_seconds
        if kind == "GPU":
            facts["peak_bytes"] = memory.get_memory_info("GPU:0")["peak"]
        return batch / found.step_seconds

    for batch, speed, why in climb(
        measure, settings["first"], settings["most"]
    ):
        say(batch=batch, images_per_second=speed, last=why, **facts)


if __name__ == "__main__":
    main()
