"""Entry point of a training job: flags in, exit code out."""

import contextlib
import os
import sys

from trainer import config as config_lib
from trainer.distributed import topology as topology_lib
from trainer.runtime import platform
from trainer.runtime.command import quiet_tensorflow, report_errors
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal


def main():
    """Runs a training job; the console script `vae-train`.

    Ends the process with the exit code: 0 done, 2 wrong flags or config, 75
    interrupted with its state saved (run it again), 1 failed. On Vertex AI 134
    takes the place of 75.
    """
    stop = StopSignal()
    stop.install()
    kept = []
    with report_errors() as outcome:
        config = config_lib.parse_flags(sys.argv[1:])
        if config is not None:
            topology = topology_lib.find(os.environ, config.strategy)
            outcome.console = (
                Console(config.log_format, topology.name, topology.is_chief)
                if topology
                else Console(config.log_format)
            )
            with quiet_tensorflow():
                from trainer.job import train_and_evaluate
            stop.check()
            train_and_evaluate(
                config,
                topology=topology,
                stop=stop,
                console=outcome.console,
                kept=kept,
            )
    stop.retire()
    # All files are closed by now. Python's own end would free what is kept,
    # and wait for its threads; TensorFlow would wait for the peers, which have
    # left as well.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # Its reader has gone.
            stream.flush()
    os._exit(platform.exit_code(outcome.exit_code))


if __name__ == "__main__":
    main()
