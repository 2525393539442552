"""Opens a job directory: to write for one process alone, or to read.

One in a bucket is worked on in a staging folder of this machine, which a
mirror publishes, and read in a temporary copy. The client library of buckets
takes most of a second to import, so that comes late.
"""

import contextlib
import pathlib
import uuid

from trainer import files, places, stored
from trainer.errors import JobDirError
from trainer.job_dir import layout, lock
from trainer.job_dir.bucket import staging
from trainer.job_dir.record import Record

_FINISHED_BYTES = 2**16
_NOT_CONTENT = (layout.LOCK, staging.MACHINE_FILE, staging.MIRROR_FILE)


class JobDir:
    """A job directory: its paths, and what is recorded of the job.

    Args:
        root: `pathlib.Path` of the folder on this machine.
        location: str, what the user calls it; None for `root`.
        new_id: str, the id that a new job here gets; None for one of its own.
        mirror: the `Mirror` that publishes it; None if there is none.
        store: the `ObjectStore` of its bucket; None where it is local.
        is_lost: as from `lock.hold`; None where nothing is held.

    Attributes:
        root, location, store, is_lost: as given.
        config_path, metrics_path, finished_path, evaluation_path,
            pruned_path, goodput_path, checkpoints, damaged, unfinished, logs,
            train_logs, plots, export, model, hangs: each a `pathlib.Path`; see
            `layout`.
    """

    def __init__(
        self,
        root,
        location=None,
        *,
        new_id=None,
        mirror=None,
        store=None,
        is_lost=None,
    ):
        self.root = pathlib.Path(root)
        self.location = location or str(root)
        self.store = store
        self.is_lost = is_lost
        self.config_path = self.root / layout.CONFIG
        self.metrics_path = self.root / layout.METRICS
        self.finished_path = self.root / layout.FINISHED
        self.evaluation_path = self.root / layout.EVALUATION
        self.pruned_path = self.root / layout.PRUNED
        self.goodput_path = self.root / layout.GOODPUT
        self.checkpoints = self.root / layout.CHECKPOINTS
        self.damaged = self.root / layout.DAMAGED
        self.unfinished = self.root / layout.UNFINISHED
        self.logs = self.root / layout.LOGS
        self.train_logs = self.root / layout.TRAIN_LOGS
        self.plots = self.root / layout.PLOTS
        self.export = self.root / layout.EXPORT
        self.model = self.root / layout.MODEL
        self.hangs = self.root / layout.HANGS
        self._mirror = mirror
        self._record = Record(
            self.config_path, self.location, new_id or uuid.uuid4().hex
        )

    def checkpoint(self, step):
        """Returns the folder of a step's checkpoint."""
        return self.checkpoints / layout.checkpoint_name(step)

    @property
    def exists(self):
        """Whether a job has been recorded here."""
        return self._record.exists

    def record(self):
        """As `Record.read`."""
        return self._record.read()

    def of_data(self, name):
        """As `Record.of_data`."""
        return self._record.of_data(name)

    def id(self):
        """As `Record.id`."""
        return self._record.id()

    def arithmetic(self):
        """As `Record.arithmetic`."""
        return self._record.arithmetic()

    def config(self):
        """As `Record.config`."""
        return self._record.config()

    def check_settings(self, config):
        """As `Record.check_settings`."""
        return self._record.check_settings(config)

    def check_resume(self, data, jit_compile):
        """As `Record.check_resume`."""
        self._record.check_resume(data, jit_compile)

    def check_exact(self, gpu, required):
        """As `Record.check_exact`."""
        return self._record.check_exact(gpu, required)

    def check_data(self, data):
        """As `Record.check_data`."""
        self._record.check_data(data)

    def check_model(self, model):
        """As `Record.check_model`."""
        self._record.check_model(model)

    def initial_weights(self):
        """As `Record.initial_weights`."""
        return self._record.initial_weights()

    def classes(self):
        """As `Record.classes`."""
        return self._record.classes()

    def write_record(self, *args):
        """As `Record.write`."""
        self._record.write(*args)

    def finished(self):
        """Returns what `finished.json` says; None where there is none.

        Returns:
            dict, the attributes of a `Result`; what a later version has added
            is left out.

        Raises:
            JobDirError: it is not what the end of a job wrote.
        """
        path = self.finished_path
        try:
            finished = stored.read_json(path, _FINISHED_BYTES)
        except FileNotFoundError:
            return None
        except stored.UnreadableError as error:
            raise self._not_finished(error) from error
        metrics = isinstance(finished, dict) and finished.get("test_metrics")
        if not (
            isinstance(metrics, dict)
            and stored.is_count(metrics.get("step"), least=1)
            and stored.is_number(metrics.get("total_loss"))
        ):
            raise self._not_finished('has no "test_metrics"')
        is_right = {
            "step": stored.is_count(finished.get("step"), least=1),
            "test_metrics": True,
            "collapsed": isinstance(finished.get("collapsed"), bool),
            "seconds": stored.is_number(finished.get("seconds")),
            "checkpoint_blocked_seconds": stored.is_number(
                finished.get("checkpoint_blocked_seconds")
            ),
        }
        for name, right in is_right.items():
            if not right:
                raise self._not_finished(f'has no "{name}"')
        return {name: finished[name] for name in is_right}

    def _not_finished(self, reason):
        return JobDirError(
            f"{self.finished_path} {reason}, and does not say how the job "
            "ended; restore it, or remove it, and the same command ends the "
            "job once more."
        )

    def is_empty(self):
        """Whether nothing of a job lies here."""
        if self._mirror is not None and self._mirror.others:
            return False
        return not any(
            path.name not in _NOT_CONTENT for path in self.root.iterdir()
        )

    def check_folders(self):
        """Refuses what lies where the folders of a job are made.

        Raises:
            JobDirError: it is no folder.
        """
        for path in (
            self.checkpoints,
            self.damaged,
            self.logs,
            *map(self.root.joinpath, layout.RUNS),
            self.plots,
            self.export,
        ):
            if stored.is_there(path) and not path.is_dir():
                raise JobDirError(
                    f"{path} is no folder, and the job makes one of that name; "
                    "move it away, or give another --job_dir."
                )
        # Its folder was removed by now.
        if stored.is_there(self.unfinished):
            raise JobDirError(
                f"{self.unfinished} cannot be removed, and the job makes a "
                "folder of that name; move it away, or give another --job_dir."
            )

    def start_publishing(self):
        """From now on, what is written here appears in the bucket."""
        if self._mirror is not None:
            self._mirror.start()

    def abandon(self, seconds, console):
        """Publishes what is there, for a process that ends without an end.

        Args:
            seconds: how long that may take.
            console: a `Console`.

        Raises:
            TrainerError: something is not in the bucket.
        """
        if self._mirror is not None:
            self._mirror.abandon(seconds, console)

    def check(self):
        """Raises what keeps this job directory from being published.

        Raises:
            JobDirError: as `check_held`.
        """
        self.check_held()
        if self._mirror is not None:
            self._mirror.check()

    def check_held(self):
        """Raises `JobDirError` if this folder is not the one that was claimed.

        It was deleted, and another job may have made it anew.
        """
        if self.is_lost is not None and self.is_lost():
            raise JobDirError(
                f"{self.root} was deleted or replaced while the job ran, and "
                "nothing more is written there; give another --job_dir, or "
                "restore it and run the same command again."
            )


@contextlib.contextmanager
def open_to_write(config, console, stop):
    """Claims the job directory of a config while the block runs.

    One in a bucket holds everything when the block has ended without an
    error, or with an `InterruptedJobError`. A block that fails and has
    written nothing leaves nothing behind that was not there before.

    Args:
        config: a `TrainConfig`.
        console: a `Console`.
        stop: a `StopSignal`.

    Yields:
        A `JobDir`.

    Raises:
        JobDirError: another job holds it, or it cannot be written.
        StorageUnavailableError: the bucket cannot be reached for now.
    """
    place = places.parse(config.job_dir)
    if place.in_bucket:
        with _open_staged(place, config, console, stop) as job:
            yield job
    else:
        with _claimed(place.path) as job:
            yield job


@contextlib.contextmanager
def open_to_read(location, console, stop=None, also=()):
    """Gives a job directory, of a job that may be running, to read.

    Args:
        location: str or path, a folder or `gs://bucket/prefix`.
        console: a `Console`.
        stop: a `StopSignal`, which ends the download and what is put into
            the bucket later; None: none does.
        also: names of files below the job directory that the copy of a
            bucket's has beside what all commands read.

    Yields:
        A `JobDir`. That of a bucket is a temporary copy.

    Raises:
        ConfigError: the location is none.
        InterruptedJobError: the stop signal came.
    """
    place = places.parse(location)
    if place.in_bucket:
        from trainer.job_dir.bucket import session

        def is_read(name):
            return session.is_read(name) or name in also

        with session.copied(location, console, stop, is_read) as (root, store):
            yield JobDir(root, store.url, store=store)
    else:
        yield JobDir(place.path)


def publish_folder(job, folder, spared=()):
    """Puts the files of a folder into the bucket of a job, if it has one.

    Args:
        job: a `JobDir` from `open_to_read`.
        folder: a `pathlib.Path` below `job.root`; folders in it count too.
        spared: names of files that are not published where an object that is
            not of the job has their place.

    Returns:
        list of str, where those lie that were not.

    Raises:
        JobDirError: an object that is not of the job has such a name.
    """
    # A folder of this machine has nothing to publish, and other writers.
    if job.store is None:
        return []
    paths = sorted(filter(pathlib.Path.is_file, folder.rglob("*")))
    return _publish(job, paths, spared)


def publish_file(job, path):
    """Puts a file into the bucket of a job, if it has one.

    Args:
        job: a `JobDir` from `open_to_read`.
        path: a `pathlib.Path` below `job.root`.

    Raises:
        JobDirError: as `publish_folder`.
    """
    if job.store is not None:
        _publish(job, [path])


def _publish(job, paths, spared=()):
    from trainer.job_dir.bucket import session

    return session.publish(job.store, job.root, paths, spared)


@contextlib.contextmanager
def _open_staged(place, config, console, stop):
    """As `open_to_write`, of a place in a bucket."""
    from trainer.job_dir.bucket import object_store, session

    seconds = config.storage_timeout_seconds
    # What is published later, after the signal too, heeds none.
    store = object_store.ObjectStore(config.job_dir, seconds, stop)
    store = store.heeding(None)
    with _claimed(staging.folder(place), store.url) as staged:
        earlier = staging.earlier_folder(place)
        if staging.is_new(staged.root) and not staging.is_new(earlier):
            with _claimed(earlier, store.url):
                session.take_over(earlier, staged.root)
        with session.mirrored(
            store, staged.root, staged.id, seconds, console, stop
        ) as mirror:
            yield JobDir(
                staged.root,
                store.url,
                new_id=store.owner,
                mirror=mirror,
                store=store,
                is_lost=staged.is_lost,
            )


@contextlib.contextmanager
def _claimed(root, location=None):
    """Holds a folder of this machine, cleared of what a killed job left."""
    root = pathlib.Path(root)
    with lock.hold(root, location or str(root)) as is_lost:
        job = JobDir(root, location, is_lost=is_lost)
        files.remove_unfinished(job.root)
        # What is no folder is none of the job's: `check_folders` says so.
        if job.unfinished.is_dir() and not job.unfinished.is_symlink():
            files.remove(job.unfinished)
        files.remove_unfinished(job.plots)
        for folder in job.checkpoints.glob("step-*"):
            files.remove_unfinished(folder)
        yield job
