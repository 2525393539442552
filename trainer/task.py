"""Entry point of a training job: flags in, exit code out."""

import os
import pathlib
import sys

from trainer.distributed import topology as topology_lib
from trainer.doctor import first
from trainer.runtime import gpu_environment, platform, training_flags
from trainer.runtime.command import loading_tensorflow, run_command
from trainer.runtime.console import Console

_DOCTOR = (
    False,
    "first examine this machine as vae-doctor does, and train only if that "
    "finds no failure; of several machines each examines itself",
)


def main():
    """Runs a training job; the console script `vae-train`.

    Ends the process with the exit code: 0 done, 2 wrong flags or config, 75
    interrupted with its state saved (run it again), 1 failed. On Vertex AI 134
    takes the place of 75.
    """
    kept = []

    def train(parsed, stop, console):
        from trainer.job import train_and_evaluate
        from trainer.tracking.clock import Clock, process_age

        config, topology, is_examined = parsed
        unfit = None
        if is_examined:
            unfit = first.examine(config, stop, console)
        if unfit and topology is None:
            raise unfit
        train_and_evaluate(
            config,
            topology=topology,
            unfit=unfit,
            stop=stop,
            console=console,
            kept=kept,
            clock=Clock(process_age()),
        )

    exit_code = run_command(
        _parse, train, load=_load, make_console=_console, is_job=True
    )
    # All files are closed by now. Python's own end would free what is kept,
    # and wait for its threads; TensorFlow would wait for the peers, which have
    # left as well.
    _remove_traced_sources()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(platform.exit_code(exit_code))


def _remove_traced_sources():
    """Removes AutoGraph's files from the folder for temporary ones.

    It would remove them at Python's own end, their bytecode excepted.
    """
    for name, module in tuple(sys.modules.items()):
        if name.startswith("__autograph_generated_file"):
            for path in (module.__file__, module.__cached__):
                pathlib.Path(path).unlink(missing_ok=True)


def _parse(arguments):
    """Returns the `TrainConfig`, which machines take part, and --doctor."""
    config, values = training_flags.parse_with(
        arguments, training_flags.TRAIN, {"doctor": _DOCTOR}, _model_help
    )
    if config is None:
        return None
    gpu_environment.prepare(config)
    topology = topology_lib.find(os.environ, config.strategy)
    return config, topology, values["doctor"]


def _model_help(given):
    """Yields what `--help` says of the options of a model that was named."""
    if given["model"].present:
        name = given["model"].value
        with loading_tensorflow(Console()):
            from trainer.model import architectures, options

            architecture = architectures.find(name)
        yield (
            f"Options of --model={name}, for --model_options",
            options.help_lines(architecture.options),
        )


def _load():
    from trainer import job  # noqa: F401 - loaded quietly.


def _console(parsed):
    """Returns a console that says which of several workers this is."""
    config, topology, _ = parsed
    if topology is None:
        return Console(config.log_format)
    return Console(config.log_format, topology.name, topology.is_chief)


if __name__ == "__main__":
    main()
