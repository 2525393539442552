"""Several processes at once on what they share, round after round.

Jobs that start with an empty cache, jobs whose data in a bucket has changed,
exports, and all commands beside the end of a training: in each round all
processes start together, and none may fail.
"""

import argparse
import collections
import contextlib
import functools
import http.server
import io
import itertools
import multiprocessing
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import traceback
from unittest import mock

from tests.fakes import gcs
from tests.tools.commands import run_command
from tests.tools.idx import known_as, published, write_idx_folder
from tests.tools.small_jobs import SMALL
from trainer import files
from trainer.named_datasets import DEFAULT, NAMED
from trainer.runtime.command import report_errors
from trainer.runtime.stop_signal import StopSignal

_SECONDS = 600
_COMMANDS = (
    ("vae-export",),
    ("vae-generate", "--rows=4"),
    ("vae-gallery",),
    ("vae-evaluate", "--importance_samples=0"),
)


def load_data(environment, settings, images, md5=None):
    """Loads a dataset; returns what went wrong, or nothing.

    Args:
        environment: dict of variables, which say where the caches are.
        settings: dict, those of the config.
        images: int, how many training images there must be.
        md5: what the real dataset is taken to have.
    """
    from trainer.config import TrainConfig
    from trainer.data import sources

    files = published(md5) if md5 else NAMED[DEFAULT].files
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as err,
        mock.patch.dict("os.environ", environment),
        known_as(DEFAULT, files=files),
        report_errors() as outcome,
    ):
        config = TrainConfig(**settings)
        data = sources.load(config, outcome.console, StopSignal())
        if len(data.train_images) != images:
            return f"{len(data.train_images)} images instead of {images}"
    return err.getvalue() if outcome.exit_code else ""


def run(name, *words):
    """Runs a command; returns what went wrong, or nothing."""
    exit_code, _, err = run_command(name, *words)
    return f"{name}: exit code {exit_code}: {err}" if exit_code else ""


def work(inbox, outbox, barrier):
    """The life of a process: calls, each begun together with the others."""
    while (call := inbox.get()) is not None:
        barrier.wait(_SECONDS)
        try:
            outbox.put(call())
        except BaseException:
            outbox.put(traceback.format_exc())


class Processes:
    """Processes that call functions at the same time.

    Args:
        count: int, how many.
    """

    def __init__(self, count):
        context = multiprocessing.get_context("spawn")
        # Kept: those who start late would not find it any more.
        self._barrier = context.Barrier(count)
        self._outbox = context.Queue()
        self._inboxes = [context.Queue() for _ in range(count)]
        self._processes = [
            context.Process(
                target=work,
                args=(inbox, self._outbox, self._barrier),
                daemon=True,
            )
            for inbox in self._inboxes
        ]
        for process in self._processes:
            process.start()

    def call(self, functions):
        """Calls a function in each process, in turns.

        Returns:
            A list of what went wrong.
        """
        for inbox, function in zip(
            self._inboxes, itertools.cycle(functions), strict=False
        ):
            inbox.put(function)
        answers = [self._outbox.get(timeout=_SECONDS) for _ in self._inboxes]
        return [answer for answer in answers if answer]

    def end(self):
        for inbox in self._inboxes:
            inbox.put(None)
        for process in self._processes:
            process.join(_SECONDS)


def leftovers(folder):
    """Names what a writer has left in a folder that it had not finished."""
    return [
        f"left behind: {path.relative_to(folder)}"
        for path in sorted(folder.rglob(f"{files.TEMPORARY_PREFIX}*"))
    ]


def plant(folder):
    """Leaves there what a killed writer would."""
    folder.mkdir(parents=True)
    (folder / f"{files.TEMPORARY_PREFIX}killed").write_bytes(b"half")


@contextlib.contextmanager
def serve_files(folder):
    """Serves a folder; yields its address, and counts requests by path."""
    requests = collections.Counter()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests[self.path] += 1

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


def downloads(processes, rounds, folder):
    """Jobs with an empty cache: each file is downloaded once."""
    published = folder / "published"
    md5 = write_idx_folder(published, train=2000, side=28)
    with serve_files(published) as (address, requests):
        for number in range(rounds):
            requests.clear()
            home = folder / f"home-{number}"
            cache = home / "datasets" / "fashion-mnist"
            plant(cache)
            load = functools.partial(
                load_data,
                {"KERAS_HOME": str(home)},
                {"data_url": address},
                2000,
                md5,
            )
            found = processes.call([load])
            names = sorted(path.name for path in cache.iterdir())
            if names != sorted(f"{name}.gz" for name in md5):
                found.append(f"the cache holds {', '.join(names)}")
            if set(requests.values()) != {1}:
                found.append(f"downloads: {dict(requests)}")
            yield found


def buckets(processes, rounds, folder):
    """Jobs whose data lies in a bucket, where it is other data each time."""
    cache = folder / "cache"
    with gcs.serve(bucket="bucket") as server:
        for number in range(rounds):
            images = 100 + number
            data = folder / f"data-{number}"
            # Packed and not, in turns: the other file must go.
            write_idx_folder(data, train=images, compress=number % 2 == 0)
            for name in list(server.objects()):
                server.delete(name)
            for path in data.iterdir():
                server.write(f"data/{path.name}", path.read_bytes())
            load = functools.partial(
                load_data,
                {
                    "STORAGE_EMULATOR_HOST": server.address,
                    "XDG_CACHE_HOME": str(cache),
                },
                {"dataset": "idx", "data_dir": "gs://bucket/data"},
                images,
            )
            yield [*processes.call([load]), *leftovers(cache)]


def exports(processes, rounds, folder):
    """Exports of one job into its own folder."""
    job = folder / "job"
    first = run("vae-train", f"--job_dir={job}", *SMALL, "--max_steps=4")
    for _ in range(rounds):
        export = functools.partial(run, "vae-export", f"--job_dir={job}")
        found = [first, *processes.call([export]), *leftovers(job)]
        saved = job / "export" / "saved_model" / "1" / "saved_model.pb"
        if not saved.is_file():
            found.append("there is no SavedModel")
        yield list(filter(None, found))


def commands(processes, rounds, folder):
    """All commands on one job, beside its training and its end."""
    job = folder / "job"
    first = run("vae-train", f"--job_dir={job}", *SMALL, "--max_steps=4")
    for number in range(rounds):
        train = functools.partial(
            run,
            *("vae-train", f"--job_dir={job}"),
            *(*SMALL, f"--max_steps={6 + 2 * number}"),
        )
        others = [
            functools.partial(run, name, f"--job_dir={job}", *words)
            for name, *words in _COMMANDS
        ]
        # One training alone can hold the job.
        found = processes.call([train, *others, *others])
        yield [*filter(None, [first]), *found, *leftovers(job)]


SCENES = {
    scene.__name__: scene for scene in (downloads, buckets, exports, commands)
}


def race(scenes, rounds, processes):
    """Runs scenes; returns what went wrong, which is printed at once.

    Args:
        scenes: list of names of `SCENES`.
        rounds: int, of each scene.
        processes: `Processes`.
    """
    faults = []
    for name in scenes:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="race-"))
        started, before = time.monotonic(), len(faults)
        for number, found in enumerate(
            SCENES[name](processes, rounds, folder), start=1
        ):
            for fault in found:
                print(f"{name}, round {number}: {fault}", flush=True)
                faults.append(fault)
        print(
            f"{name}: {rounds} rounds in {time.monotonic() - started:.0f} s, "
            f"{len(faults) - before} faults",
            flush=True,
        )
        shutil.rmtree(folder)
    return faults


def main():
    """Runs a race from the command line; the exit code says whether it held."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--scenes", nargs="+", choices=SCENES, default=list(SCENES)
    )
    arguments = parser.parse_args()
    processes = Processes(arguments.processes)
    faults = race(arguments.scenes, arguments.rounds, processes)
    processes.end()
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
