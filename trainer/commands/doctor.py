"""Command: whether this machine can run a job, before it is paid for."""

import contextlib
import json
import os
import sys
import time

from trainer.distributed import topology as topology_lib
from trainer.runtime import gpu_environment, training_flags
from trainer.runtime.command import run_command
from trainer.runtime.flags import Usage

_USAGE = Usage(
    program="vae-doctor",
    about="Looks at this machine, and at what a job with these flags will "
    "need: software, devices, memory, disks, the bucket, the other machines, "
    "the data and the length of the job. Nothing of a job is changed. Exit "
    "code 0: no failure; 1: a failure; 2: wrong flags; 75: something could "
    "not be looked at for now.",
    example="vae-doctor --job_dir=gs://BUCKET/runs/vae --batch_size=4096",
)


def main():
    """Examines a machine; the console script `vae-doctor`.

    Returns:
        The exit code, as `run_command`, or that of the rows.
    """
    codes = []
    exit_code = run_command(
        _parse, lambda *args: codes.append(_examine(*args)), load=_load
    )
    return exit_code or sum(codes)


def _parse(arguments):
    config, values = training_flags.parse_with(
        arguments,
        _USAGE,
        {"json": (False, "print one JSON object in place of the table")},
    )
    if config is None:
        return None
    gpu_environment.prepare(config)
    return (
        config,
        topology_lib.find(os.environ, config.strategy),
        values["json"],
    )


def _load():
    from trainer.doctor import examination  # noqa: F401 - loaded quietly.


def _examine(parsed, stop, console):
    """Returns the exit code of the rows."""
    from trainer.doctor import examination, rows as rows_lib, table

    config, topology, as_json = parsed
    started = time.monotonic()
    rows, out = [], sys.stdout

    def tell(row):
        rows.append(row)
        if not as_json:
            for line in table.lines(row):
                print(line, file=out, flush=True)

    def conclude():
        seconds = time.monotonic() - started
        text = f"{table.summary(rows)} Looked for {seconds:.0f} s."
        if as_json:
            text = json.dumps(table.as_json(rows, seconds), indent=1)
        print(text, file=out, flush=True)

    def hung(row):
        # The main thread waits in what cannot be interrupted.
        tell(row)
        conclude()
        os._exit(1)

    # What a check prints on its way is no part of the one JSON object.
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        for row in examination.run(config, topology, stop, console, hung):
            tell(row)
    conclude()
    return rows_lib.exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
