"""Kills jobs at random moments and compares them with untouched ones.

    python -m tests.tools.soak --kills=100
    python -m tests.tools.soak --kills=40 --bucket
    python -m tests.tools.soak --kills=40 --workers=2
    python -m tests.tools.soak --kills=100 --replicas 4 --signals SIGTERM
    python -m tests.tools.soak --kills=40 --dataset=data/photos
    python -m tests.tools.soak --flags="--model=conv --model_options=width=16"

A run is started, killed (SIGKILL or SIGTERM), restarted, killed again, some
times over, and then left to end. It must then equal the run that nobody
touched: weights bit for bit in every checkpoint, metrics.jsonl row for row,
TensorBoard's own reader step for step, pictures byte for byte. In a bucket,
objects of others lie among those of the job, and every other job is in a
prefix below that of one before it, on the same machine: none of theirs may be
touched. Differences are printed, and make the exit code 1.

With `--dataset` the jobs train on what `vae-data prepare` made. Those that are
killed read it from the disk at each step, and have fetched it from the bucket
if there is one; the untouched ones hold it in memory.

`--flags` are more flags of all jobs, for another model or loss. A model of
your own needs PYTHONPATH, as it does for a training.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import logging
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import tqdm
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.util import tensor_util

from tests.fakes import gcs
from tests.tools import deadline
from tests.tools.job_places import BucketPlace, LocalPlace
from tests.tools.project import ROOT
from tests.tools.small_jobs import TIME_FIELDS
from tests.tools.workers import free_hosts, tf_config
from trainer.runtime.command import quiet_tensorflow

STEPS_PER_EPOCH = 20
CHECKPOINT_STEPS, KEPT = 7, 3
# The run that nobody touches keeps the state of every step, to compare all
# checkpoints of the others with, whenever a signal had them saved.
EVERY_STEP = ("--checkpoint_steps=1", "--keep_checkpoints=1000")
FLAGS = (
    "--train_examples=640",
    "--test_examples=400",
    "--batch_size=32",
    "--epochs=4",
    "--summary_steps=3",
    f"--checkpoint_steps={CHECKPOINT_STEPS}",
    f"--keep_checkpoints={KEPT}",
    "--steps_per_call=2",
    "--cluster_timeout_seconds=30",
)
DRAWN = ("--dataset=synthetic",)
# The modules that train: with images in memory, and on the disk.
IN_MEMORY, ON_DISK = "trainer.task", "tests.tools.disk_job"
SAME_FILES = (
    "plots/generated.png",
    "plots/reconstructions.png",
    "plots/losses.png",
)
SETTINGS_TAG = "job/settings"
PROJECTOR_FILES = (
    "projector_config.pbtxt",
    "projector/metadata.tsv",
    "projector/posterior_means.bytes",
    "projector/sprite.png",
)
STOP_SECONDS = 30
# Of several workers, when one is lost: until all have ended.
LOST_SECONDS = 60
INTERRUPTED = 75
# Start-up takes longer than all the rest of these small jobs, so most kills
# wait until it is over: the share of kills that wait for what, and then how
# many seconds at most.
WAITS = {"nothing": (0.2, 8.0), "training": (0.2, 4.0), "a row": (0.6, 5.0)}
KILLS_PER_RUN = 5
EARLY = ("start-up", "meeting")
PHASES = (
    "start-up", "meeting", "tracing", "training", "evaluation",
    "images", "saving", "pictures", "ending",
)  # fmt: skip
SIGNALS = ("SIGKILL", "SIGTERM")


@dataclasses.dataclass
class Tally:
    """What happened, over all runs.

    Attributes:
        kills: how many, by phase, signal and worker.
        slowest_seconds: until all had ended, at most, by signal.
        slowest_stops: the same of SIGTERM alone, by phase and replicas.
    """

    kills: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    restarts: int = 0
    runs: int = 0
    slowest_seconds: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    slowest_stops: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    differences: list = dataclasses.field(default_factory=list)


class Life:
    """The processes of a job, one a worker, from their start to their end.

    Args:
        place: a `LocalPlace` or a `BucketPlace`.
        command: tuple of str, the module that trains and its flags.
        workers: how many processes.
    """

    def __init__(self, place, command, workers):
        module, *flags = command
        self._job_dir = place.folder
        self._lines = []
        self._trains = threading.Event()
        hosts = free_hosts(workers)
        self._processes, self._readers = [], []
        for index in range(workers):
            variables = (
                {"TF_CONFIG": tf_config(hosts, index)} if workers > 1 else {}
            )
            # Only the chief may look at the job directory.
            location = f"/dev/null/{index}" if index else place.location
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", module),
                    *(f"--job_dir={location}", *flags),
                ],
                cwd=ROOT,
                env=os.environ | place.environment | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            reader = threading.Thread(
                target=self._read, args=(process.stdout,), daemon=True
            )
            reader.start()
            self._processes.append(process)
            self._readers.append(reader)

    def _read(self, lines):
        for line in lines:
            self._lines.append(line)
            if "Training on" in line:
                self._trains.set()
        lines.close()
        self._trains.set()  # It ended: nobody should wait any longer.

    def wait_for(self, what):
        """Waits for nothing, for training to start, or for a new row."""
        if what == "nothing":
            return
        self._trains.wait()
        rows = len(metrics_of(self._job_dir))
        while (
            what == "a row"
            and all(process.poll() is None for process in self._processes)
            and len(metrics_of(self._job_dir)) <= rows
        ):
            time.sleep(0.02)

    def wait(self, seconds):
        """Waits for the end of all; returns their exit codes, or None."""
        end = None if seconds is None else time.monotonic() + seconds
        try:
            codes = [
                process.wait(end and max(end - time.monotonic(), 0))
                for process in self._processes
            ]
        except subprocess.TimeoutExpired:
            return None
        for reader in self._readers:
            reader.join()
        return codes

    def kill(self, number, victim, patience):
        """Sends a signal to one of the workers.

        Args:
            number: the `signal.Signals`.
            victim: the index of the worker.
            patience: what the seconds that an end may take are times.

        Returns:
            The exit codes of all, None for one that had to be killed, and
            the seconds until all had ended.
        """
        sent = time.monotonic()
        self._processes[victim].send_signal(number)
        alone = len(self._processes) == 1
        codes = self.wait(patience * (STOP_SECONDS if alone else LOST_SECONDS))
        seconds = time.monotonic() - sent
        if codes is None:
            codes = [process.poll() for process in self._processes]
            for process in self._processes:
                process.kill()
            self.wait(None)
        return codes, seconds

    @property
    def output(self):
        return "".join(self._lines)

    def phase(self):
        """Says what the job is doing, from what it shows of itself."""
        said = self.output
        if "Finished" in said:
            return "ending"
        if "Drawing" in said:
            return "pictures"
        if "Training on" in said:
            if (self._job_dir / "unfinished").exists():
                return "saving"
            start = int(re.search(r"step (\d+) to", said)[1])
            rows = metrics_of(self._job_dir)
            if not rows or rows[-1]["step"] <= start:
                return "tracing"
            last = rows[-1]
            if last["step"] % STEPS_PER_EPOCH == 0:
                return "evaluation" if last["split"] == "train" else "images"
            return "training"
        if "Waiting for" in said:
            return "meeting"
        return "start-up"


def metrics_of(job_dir):
    """The whole rows of a job that may be running."""
    path = job_dir / "metrics.jsonl"
    if not path.exists():
        return []
    return [
        {k: v for k, v in json.loads(line).items() if k not in TIME_FIELDS}
        for line in path.read_text().split("\n")[:-1]
    ]


def curves_of(folder):
    """What TensorBoard's own reader sees: (step, value) by tag."""
    reader = plugin_event_accumulator.EventAccumulator(
        str(folder),
        tensor_size_guidance={"scalars": 0, "images": 0, "histograms": 0},
    )
    reader.Reload()
    return {
        tag: [
            (event.step, tensor_util.make_ndarray(event.tensor_proto).tolist())
            for event in reader.Tensors(tag)
        ]
        for tag in reader.Tags()["tensors"]
        if tag.rpartition("/")[2] not in TIME_FIELDS
    }


def checkpoints_of(job_dir):
    """The folders of the checkpoints of a job, by step."""
    return {
        int(folder.name.removeprefix("step-")): folder
        for folder in sorted((job_dir / "checkpoints").iterdir())
    }


def state_of(folder):
    """What a checkpoint is: its manifest, and its arrays as bytes."""
    manifest = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / "state.npz", allow_pickle=False) as state:
        return (
            manifest["due"],
            manifest["test_loss"],
            {
                name: (state[name].dtype, state[name].tobytes())
                for name in state
            },
        )


def checkpoint_differences(one, other):
    """Names each checkpoint that is not that of the same step of the other."""
    ours, theirs = checkpoints_of(one), checkpoints_of(other)
    if max(ours) != max(theirs):
        return [f"checkpoint {max(theirs)}, not {max(ours)}"]
    return [
        f"checkpoint {step}"
        for step in sorted(ours.keys() & theirs.keys())
        if state_of(ours[step]) != state_of(theirs[step])
    ]


def missing_checkpoints(untouched, job_dir):
    """Names each way in which not the right checkpoints were kept.

    Args:
        untouched: folder of the run that keeps those of every step.
        job_dir: folder of a job of `FLAGS`.
    """
    losses = {
        row["step"]: row["total_loss"]
        for row in metrics_of(untouched)
        if row["split"] != "train"
    }
    best = min(losses, key=losses.get)
    found = set(checkpoints_of(job_dir))
    newest = set(sorted(found)[-KEPT:])
    due = {
        step
        for step in checkpoints_of(untouched)
        if step >= min(newest)
        and (step % CHECKPOINT_STEPS == 0 or step in (best, max(losses)))
    }
    return [
        *(f"missing: checkpoint {step}" for step in {best, *due} - found),
        *(f"left over: checkpoint {step}" for step in found - newest - {best}),
    ]


def differences(one, other):
    """Names each way in which two finished jobs differ."""
    found = checkpoint_differences(one, other)
    if metrics_of(one) != metrics_of(other):
        found.append("metrics.jsonl")
    for split in sorted(path.name for path in (one / "logs").iterdir()):
        curves, other_curves = (
            curves_of(job / "logs" / split) for job in (one, other)
        )
        found += [
            f"TensorBoard: {split} {tag}"
            for tag in curves.keys() | other_curves.keys()
            if curves.get(tag) != other_curves.get(tag)
            # How often a job saves, say, is no difference in what came out.
            and tag != SETTINGS_TAG
        ]
    (held_out,) = {path.name for path in (one / "logs").iterdir()} - {"train"}
    same_files = SAME_FILES + tuple(
        f"logs/{held_out}/{name}" for name in PROJECTOR_FILES
    )
    found += [
        path
        for path in same_files
        if (one / path).read_bytes() != (other / path).read_bytes()
    ]
    leftovers = [
        str(path.relative_to(other))
        for pattern in ("unfinished", "**/.unfinished*", "damaged", "*.tail-*")
        for path in other.glob(pattern)
    ]
    return found + leftovers


def finish(place, command, workers):
    """Runs a job to its end.

    Raises:
        RuntimeError: it ended badly.
    """
    life = Life(place, command, workers)
    codes = life.wait(deadline.SECONDS)
    if codes != [0] * workers:
        raise RuntimeError(f"{place.name} exited {codes}:\n{life.output}")


def place_of(number, job_dir, server):
    """Returns where the run of a number is.

    Of each two runs in a bucket the second is in a prefix below the first, and
    the two share their machines.
    """
    if server is None:
        return LocalPlace(job_dir)
    pair = number // 2
    place = BucketPlace(
        server,
        job_dir,
        f"pair-{pair}/below" if number % 2 else f"pair-{pair}",
        job_dir.parent / f"machines-of-pair-{pair}",
    )
    place.put_strangers()
    return place


def torture(
    place, command, workers, replicas, signals, kills, rng, tally, lock,
    advance, patience,
):  # fmt: skip
    """Kills a job `kills` times, and then lets it end."""
    done = 0
    while done < kills:
        life = Life(place, command, workers)
        shares = [share for share, _ in WAITS.values()]
        (what,) = rng.choices(list(WAITS), shares)
        life.wait_for(what)
        codes = life.wait(rng.uniform(0, WAITS[what][1]))
        with lock:
            tally.restarts += 1
        if codes is not None:
            if codes != [0] * workers:
                raise RuntimeError(
                    f"{place.name} exited {codes}:\n{life.output}"
                )
            break  # It ended before the kill: the next run takes the rest.
        number = signal.Signals[rng.choice(signals)]
        victim = rng.randrange(workers)
        phase = life.phase()
        codes, seconds = life.kill(number, victim, patience)
        expected = {
            signal.SIGKILL: {-signal.SIGKILL, 0},
            # Before Python runs the program, a signal just ends it.
            signal.SIGTERM: {INTERRUPTED, 0}
            | ({-signal.SIGTERM} if phase in EARLY else set()),
        }[number]
        done += 1
        advance()
        place.move(rng)
        with lock:
            tally.kills[phase, number.name, victim] += 1
            slowest, stops = tally.slowest_seconds, tally.slowest_stops
            slowest[number.name] = max(slowest[number.name], seconds)
            if number == signal.SIGTERM:
                where = phase, replicas
                stops[where] = max(stops[where], seconds)
            if codes[victim] not in expected or any(
                code not in (INTERRUPTED, 0)
                for worker, code in enumerate(codes)
                if worker != victim
            ):
                tally.differences.append(
                    f"{place.name}: {number.name} to worker {victim} during "
                    f"{phase} ended in {codes} after {seconds:.1f} s:\n"
                    f"{life.output}"
                )
    finish(place, command, workers)
    return done


def commands_of(dataset, server):
    """Returns how to start untouched jobs, and those that are killed.

    Args:
        dataset: `pathlib.Path` of a prepared dataset; None for drawn images.
        server: the `gcs.Server` that gets a copy of it; None: none does.

    Returns:
        Two tuples of str: a module, and its flags for the data.
    """
    if dataset is None:
        return (IN_MEMORY, *DRAWN), (IN_MEMORY, *DRAWN)
    place = dataset
    if server is not None:
        for path in filter(pathlib.Path.is_file, dataset.rglob("*")):
            name = f"dataset/{path.relative_to(dataset)}"
            server.write(name, path.read_bytes())
        place = f"gs://{server.name}/dataset"
    return (
        (IN_MEMORY, "--dataset=prepared", f"--data_dir={dataset}"),
        (ON_DISK, "--dataset=prepared", f"--data_dir={place}"),
    )


def soak(
    kills,
    replica_counts,
    seed,
    folder,
    jobs=2,
    server=None,
    workers=1,
    signals=SIGNALS,
    patience=1,
    dataset=None,
    flags=(),
):
    """Kills jobs until enough kills have happened; returns a `Tally`.

    Args:
        kills: how many.
        replica_counts: list of int, for the runs in turn.
        seed: int, of the moments of the kills.
        folder: an empty `pathlib.Path`.
        jobs: runs at a time.
        server: the `gcs.Server` of a bucket for the job directories; None
            puts them into `folder`.
        workers: processes of each run.
        signals: names of those to kill with.
        patience: the seconds that an end may take are that many times as
            many; for a machine that others load as well.
        dataset: `pathlib.Path` of a prepared dataset to train on; None for
            drawn images.
        flags: of all jobs, beside `FLAGS`.
    """
    tally, lock = Tally(), threading.Lock()
    if workers > 1:
        # TensorFlow gives a worker on a CPU one replica.
        replica_counts = [1]
    flags_of = {
        count: (*flags, *FLAGS, f"--virtual_devices={count}")
        for count in replica_counts
    }
    untouched = {count: folder / f"untouched-{count}" for count in flags_of}
    calm, killed = commands_of(dataset, server)
    for count, job_dir in untouched.items():
        command = (*calm, *flags_of[count], *EVERY_STEP)
        finish(LocalPlace(job_dir), command, workers)
    numbers = iter(range(10**6))
    left = kills

    with tqdm.tqdm(total=kills, desc="Kills", disable=None) as bar:

        def lane():
            nonlocal left
            while True:
                with lock:
                    share = min(KILLS_PER_RUN, left)
                    if not share:
                        return
                    left -= share
                    number = next(numbers)
                count = replica_counts[number % len(replica_counts)]
                job_dir = folder / f"run-{number}-replicas-{count}"
                place = place_of(number, job_dir, server)
                done = torture(
                    place,
                    (*killed, *flags_of[count]),
                    workers,
                    workers * count,
                    signals,
                    share,
                    random.Random(f"{seed}-{number}"),
                    tally,
                    lock,
                    bar.update,
                    patience,
                )
                fetched = place.fetch()
                found = [
                    *differences(untouched[count], fetched),
                    *missing_checkpoints(untouched[count], fetched),
                    *place.touched(),
                ]
                with lock:
                    left += share - done
                    tally.runs += 1
                    tally.differences += [
                        f"{job_dir.name}: {difference}" for difference in found
                    ]
                if not found:
                    shutil.rmtree(job_dir)

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for future in [pool.submit(lane) for _ in range(jobs)]:
                future.result()
    return tally


def report(tally):
    """Returns the tables of a soak."""
    victims = sorted({victim for _, _, victim in tally.kills})
    columns = [(name, victim) for victim in victims for name in SIGNALS]
    head = "".join(f"{f'{name} {victim}':>11}" for name, victim in columns)
    lines = [f"{'phase, worker':<14}{head}"]
    for phase in PHASES:
        counts = [tally.kills[phase, name, victim] for name, victim in columns]
        lines.append(f"{phase:<14}" + "".join(f"{n:>11}" for n in counts))
    lines += [
        f"{sum(tally.kills.values())} kills, {tally.restarts} starts, "
        f"{tally.runs} runs compared; all had ended "
        f"{tally.slowest_seconds['SIGTERM']:.1f} s after a SIGTERM, "
        f"{tally.slowest_seconds['SIGKILL']:.1f} s after a SIGKILL",
        *_slowest_stops(tally),
        *tally.differences,
        f"{len(tally.differences)} differences",
    ]
    return "\n".join(lines)


def _slowest_stops(tally):
    """Returns the lines of a table: the slowest SIGTERM of each phase."""
    stops = tally.slowest_stops
    counts = sorted({replicas for _, replicas in stops})
    lines = [
        "seconds after the slowest SIGTERM:",
        f"{'phase, replicas':<16}" + "".join(f"{n:>7}" for n in counts),
    ]
    for phase in PHASES:
        cells = [
            f"{stops[phase, count]:.1f}" if (phase, count) in stops else "-"
            for count in counts
        ]
        lines.append(f"{phase:<16}" + "".join(f"{cell:>7}" for cell in cells))
    return lines


def _more_flags(text):
    """Returns the flags of `--flags`, none of which is set here as well.

    Raises:
        argparse.ArgumentTypeError: one is.
    """
    flags = shlex.split(text)
    ours = {flag.partition("=")[0] for flag in (*FLAGS, *EVERY_STEP, *DRAWN)}
    ours |= {"--virtual_devices", "--data_dir", "--job_dir"}
    for flag in flags:
        if flag.partition("=")[0] in ours:
            raise argparse.ArgumentTypeError(
                f"{flag} is set by this tool, on which its comparison rests; "
                "leave it out."
            )
    return tuple(flags)


def main():
    """Runs a soak from the command line; the exit code says whether it held."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument(
        "--bucket", action="store_true", help="job directories in a bucket"
    )
    parser.add_argument("--workers", type=int, default=1, help="of each run")
    parser.add_argument(
        "--signals", nargs="+", choices=SIGNALS, default=SIGNALS
    )
    parser.add_argument(
        "--dataset", type=pathlib.Path, help="what vae-data prepare made"
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=1,
        help="an end may take so many times as long: others load the machine",
    )
    parser.add_argument(
        "--flags",
        type=_more_flags,
        default=(),
        help='of all jobs, in one text: --flags="--model=mlp --seed=1"',
    )
    arguments = parser.parse_args()
    # Its reader warns of each restart that it finds in the events.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    with quiet_tensorflow():
        import tensorflow  # noqa: F401 - TensorBoard's reader would load it.
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        gcs.serve(bucket="bucket") as server,
    ):
        tally = soak(
            arguments.kills,
            arguments.replicas,
            arguments.seed,
            pathlib.Path(folder),
            arguments.jobs,
            server if arguments.bucket else None,
            arguments.workers,
            arguments.signals,
            arguments.patience,
            dataset=arguments.dataset and arguments.dataset.resolve(),
            flags=arguments.flags,
        )
    print(report(tally))
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
