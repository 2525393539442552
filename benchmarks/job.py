"""The contender: the trainer's own job, as the command runs it.

`train_and_evaluate` runs with a console that holds the training thread after
a call of steps until the next turn. The parts that it is put together from
are its own, with a clock around the steps; only with `constant_batches` one
of them is another.
"""

import contextlib
import dataclasses
import json
import sys
import time

from benchmarks import flops
from benchmarks.turns import BenchmarkOver, Turn, check_parameters
from trainer.runtime.command import quiet_tensorflow
from trainer.runtime.training_flags import parse_flags


class TurnConsole:
    """A `Console` of the job whose training bar waits for turns."""

    def __init__(self, turn, batch_size):
        self._turn = turn
        self._batch_size = batch_size

    def line(self, text):
        """Prints a line."""
        print(text, flush=True)

    warning = error = line

    @contextlib.contextmanager
    def image_bar(self, title, total, done=0):
        """Yields `advance(images, note="")`."""
        del total, done
        if title != "Training":
            yield lambda images, note="": None
            return
        self._turn.ready()
        yield lambda images, note="": self._turn.did(images // self._batch_size)


def main():
    """Runs the job of the settings.

    They are `flags`; `constant_batches`; `from_disk`, if the images are not to
    be kept in memory; and `any_shape`, if the model is not to be that of
    Fashion-MNIST.
    """
    settings = json.loads(sys.argv[1])
    turn = Turn()
    config = parse_flags(settings["flags"])
    with quiet_tensorflow():
        import tensorflow as tf

        from trainer.job import train_and_evaluate
        from trainer.training import Parts
    turn.finish = tf.test.experimental.sync_devices
    parts = Parts()
    parts = dataclasses.replace(
        parts,
        load_data=_from_disk(parts.load_data)
        if settings.get("from_disk")
        else parts.load_data,
        build_vae=parts.build_vae
        if settings.get("any_shape")
        else _checked(parts.build_vae),
        make_train_steps=_timed(parts.make_train_steps, turn),
        train_batches=_constant(parts.train_batches)
        if settings.get("constant_batches")
        else parts.train_batches,
    )
    with contextlib.suppress(BenchmarkOver):
        train_and_evaluate(
            config, console=TurnConsole(turn, config.batch_size), parts=parts
        )


def _checked(build_vae):
    def build(*args, **kwargs):
        vae = build_vae(*args, **kwargs)
        check_parameters(
            "The trainer's model",
            vae.encoder.count_params() + vae.decoder.count_params(),
            flops.of_config().parameters,
        )
        return vae

    return build


def _from_disk(load_data):
    """Has training images read when they are wanted, however few they are."""
    from trainer.data import images, records

    def load(config, *args, **kwargs):
        data = load_data(config, *args, **kwargs)
        split = records.open_dataset(config.data_dir).splits["train"]
        return dataclasses.replace(
            data, train_images=images.StoredImages(split)
        )

    return load


def _timed(make_train_steps, turn):
    """Adds up the time inside of the compiled calls."""

    def make(*args, **kwargs):
        train_steps = make_train_steps(*args, **kwargs)

        def timed(*step_args):
            started = time.perf_counter()
            try:
                return train_steps(*step_args)
            finally:
                turn.add("inside_seconds", time.perf_counter() - started)

        return timed

    return make


def _constant(train_batches):
    """Gives every step the same batch, which costs nothing to make."""
    import tensorflow as tf

    def batches(images, config, schedule, strategy, *first_step_and_version):
        first = next(
            iter(
                train_batches(
                    images, config, schedule, strategy, *first_step_and_version
                )
            )
        )
        return strategy.distribute_datasets_from_function(
            lambda context: tf.data.Dataset.from_tensors(first).repeat()
        )

    return batches


if __name__ == "__main__":
    main()
