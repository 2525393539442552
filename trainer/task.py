"""Entry point of a training job: flags in, exit code out."""

import sys

from trainer import config as config_lib
from trainer.command import quiet_tensorflow, report_errors
from trainer.stop_signal import StopSignal


def main():
    """Runs a training job; the console script `vae-train`.

    Returns:
        The exit code: 0 done, 2 wrong flags or config, 75 interrupted with
        its state saved (run it again), 1 failed.
    """
    stop = StopSignal()
    stop.install()
    with report_errors() as outcome:
        config = config_lib.parse_flags(sys.argv[1:])
        if config is not None:
            with quiet_tensorflow():
                from trainer.train import train_and_evaluate
            stop.check()
            train_and_evaluate(config, stop=stop)
    stop.retire()
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
