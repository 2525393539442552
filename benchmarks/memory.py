"""Peak memory of a job by part: VmHWM of Linux, reset after each part."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from benchmarks.contenders import ROOT, ContenderError
from trainer.runtime.command import quiet_tensorflow
from trainer.runtime.training_flags import parse_flags

_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def measure(setup):
    """Prints the table of a short job; returns no figures.

    Args:
        setup: a `setup.Setup`.
    """
    say = setup.console.line
    if not _CLEAR.exists():
        say("Peak memory by part can be had on Linux only.")
        return []
    folder = tempfile.mkdtemp(dir=setup.folder)
    flags = [
        f"--job_dir={folder}/job",
        f"--max_steps={setup.steps}",
        *setup.data_flags,
        *setup.job_flags,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", json.dumps(flags)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ContenderError(f"The job failed:\n{done.stderr}")
    say("part                            peak MB   at its end")
    for name, peak, resident in json.loads(done.stdout.splitlines()[-1]):
        say(f"{name:30s} {peak:8,.0f}   {resident:10,.0f}")
    return []


class _Peaks:
    """Notes peaks: (part, peak, resident at its end), in MB."""

    def __init__(self):
        self.peaks = []
        _CLEAR.write_text(_RESET_PEAK)

    def end(self, name):
        """Ends a part of the job."""
        status = _STATUS.read_text()
        peak, resident = (
            int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024 / 1e6
            for field in ("VmHWM", "VmRSS")
        )
        self.peaks.append((name, peak, resident))
        _CLEAR.write_text(_RESET_PEAK)


class _PeaksConsole:
    """A `trainer.runtime.console.Console` that hears where the job is."""

    def __init__(self, peaks):
        self._peaks = peaks

    def line(self, text):
        """Ends the part that a line follows."""
        if text.startswith("Training on"):
            self._peaks.end("building the model")
        if text.startswith("Drawing"):
            self._peaks.end("TensorBoard images, checkpoint")

    warning = error = line

    @contextlib.contextmanager
    def image_bar(self, title, total, done=0):
        """Yields `advance(images, note="")`."""
        del total, done
        if title == "Evaluating":
            self._peaks.end("training")
            yield lambda images, note="": None
            self._peaks.end("evaluation")
            return
        if title != "Training":
            yield lambda images, note="": None
            return
        calls = []

        def advance(images, note=""):
            del images, note
            if not calls:
                self._peaks.end("tracing, first step")
            calls.append(1)

        yield advance


def main():
    """Runs a job with the flags given, and prints its peaks as JSON."""
    peaks = _Peaks()
    config = parse_flags(json.loads(sys.argv[1]))
    with quiet_tensorflow():
        from trainer import training
        from trainer.job import train_and_evaluate
    peaks.end("imports")
    load = training.Parts().load_data

    def load_and_end(*args, **kwargs):
        data = load(*args, **kwargs)
        peaks.end("reading the data")
        return data

    train_and_evaluate(
        config,
        console=_PeaksConsole(peaks),
        parts=training.Parts(load_data=load_and_end),
    )
    peaks.end("pictures and export")
    print(json.dumps(peaks.peaks))


if __name__ == "__main__":
    main()
