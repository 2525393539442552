"""Changes the files of a job directory, and runs every command on it.

    python -m tests.tools.fuzz_job_dir --inputs=5000 --seed=0

Each input is a copy of a small job with one thing changed: a value, a key or
some bytes of a file, or a folder, a link or a FIFO in its place. One command
runs on it, whose training and drawing are left out, but for every hundredth.
It must end with an exit code and a sentence. A command that refuses leaves
the job as it was, and none changes what is outside of it.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import types
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trainer
from tests.tools import mutations
from tests.tools.commands import Outcome, run_command
from tests.tools.idx import write_idx_folder
from tests.tools.small_jobs import small_job
from trainer import job as job_lib, training as training_lib
from trainer.data import named
from trainer.distributed import devices
from trainer.errors import InterruptedJobError, TrainerError
from trainer.evaluation import report
from trainer.job_dir import checkpoint as checkpoint_lib
from trainer.model import build, export, trained
from trainer.pictures import album
from trainer.runtime.command import report_errors

COMMANDS = (
    "vae-train",
    "vae-compare",
    "vae-evaluate",
    "vae-export",
    "vae-gallery",
    "vae-generate",
    "trainer.load",
)
# What a training would go on with; the job has done 2 of 3 epochs.
EPOCHS, MORE_EPOCHS = 2, 3
WHOLE_EVERY = 100
HANG_SECONDS = 60
_DEFECT = "defect of vae-trainer"
# A start writes in it who holds the job.
_LOCK = "claim.lock"


class HangError(BaseException):
    """A command took too long."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of an input.

    Attributes:
        command, file, kind: str, what ran on what.
        outcome: the `Outcome` of the command.
        faults: list of str, what must not be.
    """

    command: str
    file: str
    kind: str
    outcome: Outcome
    faults: list


class Fuzzer:
    """A small job, and what runs on its changed copies.

    Args:
        folder: an empty `pathlib.Path`.
    """

    def __init__(self, folder):
        self._folder = folder
        self._base, self._job = folder / "base", folder / "copy" / "job"
        self._outside = folder / "outside"
        self._outside.mkdir()
        (self._outside / "precious").write_text("precious")
        write_idx_folder(folder / "data", train=32, test=8, side=4)
        config = small_job(**self._settings(self._base), epochs=EPOCHS)
        job_lib.train_and_evaluate(config)
        words = ("--importance_samples=1", "--importance_repeats=1")
        run_command("vae-evaluate", f"--job_dir={self._base}", *words)
        shutil.rmtree(self._base / "export")
        self._figures = json.loads((self._base / "evaluation.json").read_text())
        self._before = _content_of(folder, without=self._job.parent)
        self._models = {}

    def _settings(self, job_dir):
        return {
            "job_dir": str(job_dir),
            "dataset": "idx",
            "data_dir": str(self._folder / "data"),
            "train_examples": 0,
            "test_examples": 0,
            "batch_size": 16,
            "latent_dim": 2,
            "summary_steps": 1,
            "checkpoint_steps": 1,
            "keep_checkpoints": 100,
        }

    def run(self, rng, whole=False):
        """Returns the `Result` of an input.

        Args:
            rng: a `random.Random`, which decides everything.
            whole: whether the command leaves nothing out.
        """
        shutil.rmtree(self._job.parent, ignore_errors=True)
        shutil.copytree(
            self._base, self._job, symlinks=True, copy_function=_copy
        )
        command = rng.choice(COMMANDS)
        file, kind = mutations.change(self._job, rng, self._outside)
        before = _content_of(self._job)
        with _alarm(), self._shortened(whole):
            outcome = self._run(command, rng)
        faults = list(self._faults(command, outcome, before))
        return Result(command, file, kind, outcome, faults)

    def untouched(self):
        """Whether the job that is copied, and its data, are as they were."""
        return self._before == _content_of(
            self._folder, without=self._job.parent
        )

    def _run(self, command, rng):
        try:
            if command == "trainer.load":
                return self._load()
            if command == "vae-compare":
                form = rng.choice(("table", "md", "csv", "json", "html"))
                return run_command(command, self._job, f"--format={form}")
            words = [f"--job_dir={self._job}"]
            if command == "vae-train":
                words += [
                    f"--{name}={value}"
                    for name, value in self._settings(self._job).items()
                    if name != "job_dir"
                ]
                words.append(f"--epochs={rng.choice((EPOCHS, MORE_EPOCHS))}")
            elif rng.random() < 0.3:
                words.append("--checkpoint=best")
            return run_command(command, *words)
        except HangError:
            return Outcome(-1, "", "hang")

    def _load(self):
        """As a notebook does; its errors are those of a command."""
        with report_errors() as outcome:
            outcome.console = mock.Mock(is_json=True)
            trainer.load(self._job)
        said = [str(call.args[0]) for call in outcome.console.error.mock_calls]
        return Outcome(outcome.exit_code, "", "".join(said))

    @contextlib.contextmanager
    def _shortened(self, whole):
        """Leaves out what takes long and reads nothing of a job."""
        with contextlib.ExitStack() as stack:

            def put(owner, name, value):
                stack.enter_context(mock.patch.object(owner, name, value))

            # No mutation of a setting may reach for a network.
            put(named, "download", _no_network)
            if not whole:
                put(devices, "connect", lambda *_: devices.Cluster(None, "CPU"))
                put(training_lib, "build", self._build)
                put(training_lib, "run", _end_early)
                put(job_lib, "Recorder", _Recorder)
                put(devices.Cluster, "describe", lambda _: "1 CPU replica")
                put(trained, "build_vae", self._model)
                put(report, "figures", lambda *_: self._figures)
                put(export, "save_models", _save_models)
                put(album, "draw", lambda *_: album.Album({}, []))
            yield

    def _build(
        self, session, cluster, data, jit_compile, arithmetic, start, model_for,
        initial=None,
    ):  # fmt: skip
        """As `training.build`, with a model that is built once."""
        vae = self._model(session.config, data.image_shape)
        if start.variables is not None:
            checkpoint_lib.assign(
                trained.variables_of(vae, None), start.variables, "the job"
            )
        return training_lib.Training(
            config=session.config,
            cluster=cluster,
            data=data,
            jit_compile=jit_compile,
            arithmetic=arithmetic,
            schedule=job_lib.Schedule.of(
                session.config, len(data.train_images)
            ),
            vae=vae,
            # One that averages no weights.
            optimizer=types.SimpleNamespace(moments=dict),
        )

    def _model(self, config, image_shape, arithmetic=None, classes=0):
        del arithmetic  # Nothing here is computed from it.
        names = ("latent_dim", "precision", "mixed_precision", "beta")
        names += ("initial_units", "reconstruction_loss", "model")
        key = image_shape, classes, *(getattr(config, name) for name in names)
        if key not in self._models:
            self._models[key] = build.build_vae(
                config, image_shape, classes=classes
            )
        return self._models[key]

    def _faults(self, command, outcome, before):
        """Yields what must not be."""
        if outcome.exit_code == -1:
            yield "hang"
        if outcome.exit_code not in (0, 1, 2, 75):
            yield f"exit code {outcome.exit_code}"
        if "Traceback" in outcome.err or _DEFECT in outcome.err:
            yield "traceback"
        if _content_of(self._outside) != {"precious": b"precious"}:
            yield "changed what is outside of the job"
            (self._outside / "precious").write_text("precious")
        after = _content_of(self._job)
        if outcome.exit_code in (1, 2):
            changed = before.items() ^ after.items()
            if names := {name for name, _ in changed} - {_LOCK}:
                yield f"a refused {command} changed {sorted(names)}"
        # Law 3: what was damaged is kept, and what was whole as well.
        for name in before:
            folder = name.rpartition("/")[0]
            if folder.startswith("checkpoints/step-") and name not in after:
                aside = name.replace("checkpoints/", "damaged/", 1)
                if after.get(aside) != before[name]:
                    yield f"{name} is lost"


class _Recorder:
    """In the place of the one that draws and saves."""

    def __init__(self, job, *_):
        job_lib.rows.read_rows(job.metrics_path)

    def wait(self):
        """There is nothing to wait for."""

    close = wait


def _end_early(*_):
    raise InterruptedJobError("It would train now.")


def _no_network(*_):
    raise TrainerError("There is no network here.")


def _save_models(vae, folder):
    folder.mkdir(parents=True, exist_ok=True)


def _copy(source, target):
    """Copies a file; one that nothing writes in place shares its bytes."""
    if source.endswith(".npz"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def _content_of(folder, without=None):
    """Returns what each name below a folder holds: bytes, or what it is."""
    content = {}
    for path in folder.rglob("*"):
        if without is not None and path.is_relative_to(without):
            continue
        name = str(path.relative_to(folder))
        if path.is_symlink():
            content[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            content[name] = path.read_bytes()
        elif not path.is_dir():
            content[name] = "special"
    return content


@contextlib.contextmanager
def _alarm():
    def ring(*_):
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(folder, inputs, seed):
    """Runs inputs; returns whether all went well, and a report."""
    begun = time.monotonic()
    fuzzer = Fuzzer(folder)
    counts = collections.defaultdict(collections.Counter)
    faults = []
    for number in range(inputs):
        rng = random.Random(f"{seed} {number}")
        result = fuzzer.run(rng, whole=number % WHOLE_EVERY == 0)
        for name in ("command", "file", "kind"):
            counts[name][getattr(result, name)] += 1
        counts["exit code"][result.outcome.exit_code] += 1
        for fault in result.faults:
            words = fault.split(" ")[:2]
            counts["fault"][" ".join(words)] += 1
            text = f"input {number}: {result.command}, {result.kind} of "
            text += f"{result.file}: {fault}\n{result.outcome.err[-3000:]}"
            faults.append(text)
            print(text, flush=True)
    if not fuzzer.untouched():
        faults.append("the job that is copied was changed")
    lines = [
        f"by {name}: "
        + ", ".join(f"{value} {n}" for value, n in of_name.most_common())
        for name, of_name in counts.items()
    ]
    seconds = time.monotonic() - begun
    lines.append(
        f"{inputs} inputs of seed {seed} in {seconds:.0f} s, of which "
        f"{-(-inputs // WHOLE_EVERY)} ran whole; {len(faults)} faults"
    )
    return not faults, "\n".join(lines)


def main():
    """Runs it from the command line; the exit code says whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        well, text = fuzz(
            pathlib.Path(folder), arguments.inputs, arguments.seed
        )
    print(text)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
