"""The job directory: its layout, its claim and its record of the job.

A job directory in a bucket is worked on in a staging folder of this machine,
which `mirror.py` publishes.
"""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import platform
import shutil
import socket
import uuid

from trainer import __version__, arithmetic, files, places
from trainer.config import TrainConfig, names_of
from trainer.errors import ConfigError, DataError, JobDirError

# 2: the arithmetic is in the record, and a version that does not know that
# would train with its own.
FORMAT = 2
# What lies in a staging folder beside the job.
MACHINE_FILE, MIRROR_FILE = ".machine", ".mirror.json"
_NOT_CONTENT = ("claim.lock", MACHINE_FILE, MIRROR_FILE)


class JobDir:
    """Paths of a job directory, and what is recorded in it.

    `open_to_write` and `open_to_read` make one of a `--job_dir`.

    Attributes:
        root: `pathlib.Path` of the folder on this machine.
        location: str, what the user calls it.
        mirror: the `Mirror` that publishes it; None where it is local.
        store: the `ObjectStore` of its bucket; None where it is local.
        new_id: str, the id that a new job here gets.
    """

    def __init__(self, root, location=None):
        self.root = pathlib.Path(root)
        self.location = location or str(root)
        self.mirror = None
        self.store = None
        self.new_id = uuid.uuid4().hex
        self.config_path = self.root / "config.json"
        self.metrics_path = self.root / "metrics.jsonl"
        self.finished_path = self.root / "finished.json"
        self.evaluation_path = self.root / "evaluation.json"
        self.checkpoints = self.root / "checkpoints"
        self.damaged = self.root / "damaged"
        self.unfinished = self.root / "unfinished"
        self.logs = self.root / "logs"
        self.train_logs = self.logs / "train"
        self.plots = self.root / "plots"
        self.export = self.root / "export"
        self.model = self.root / "model"

    def checkpoint(self, step):
        """Returns the folder of a step's checkpoint."""
        return self.checkpoints / checkpoint_name(step)

    @property
    def exists(self):
        """Whether a job has been recorded here."""
        return self.config_path.exists()

    @contextlib.contextmanager
    def claim(self):
        """Holds the directory for this process while the block runs.

        The kernel releases a `flock` when its process ends, however it ends.

        Raises:
            JobDirError: another job holds it, or it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = open(self.root / "claim.lock", "a+", encoding="utf-8")
        except (FileExistsError, NotADirectoryError) as error:
            raise JobDirError(
                f"--job_dir={self.root} cannot be a folder: {error.filename} "
                "is a file. Give another --job_dir."
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise JobDirError(
                    f"{self.location} is in use by {lock.read().strip()}; wait "
                    "until that job has ended, or give another --job_dir."
                ) from error
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
            self._clean_up()
            yield self

    def is_empty(self):
        """Whether nothing of a job lies here."""
        if self.mirror is not None and self.mirror.others:
            return False
        return not any(
            path.name not in _NOT_CONTENT for path in self.root.iterdir()
        )

    def start_publishing(self):
        """From now on, what is written here appears in the bucket."""
        if self.mirror is not None:
            self.mirror.start()

    def check(self):
        """Raises what keeps this job directory from being published."""
        if self.mirror is not None:
            self.mirror.check()

    def _clean_up(self):
        files.remove_unfinished(self.root)
        shutil.rmtree(self.unfinished, ignore_errors=True)
        files.remove_unfinished(self.plots)
        for folder in self.checkpoints.glob("step-*"):
            files.remove_unfinished(folder)

    def record(self):
        """Returns what `config.json` says.

        Raises:
            JobDirError: it cannot be read.
            ConfigError: a newer version of this package wrote it.
        """
        try:
            record = json.loads(self.config_path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise JobDirError(
                f"{self.location} holds no job (there is no config.json); give "
                "the --job_dir of a training run."
            ) from error
        except ValueError as error:
            raise JobDirError(
                f"{self.config_path} is not JSON ({error}); restore it, or "
                "give another --job_dir."
            ) from error
        if not isinstance(record, dict) or "format" not in record:
            raise JobDirError(
                f"{self.config_path} is not the record of a job (it has no "
                '"format"); restore it, or give another --job_dir.'
            )
        if record["format"] > FORMAT:
            version = record.get("versions", {}).get("vae-trainer", "unknown")
            raise ConfigError(
                f"{self.config_path} has format {record['format']}, written "
                f"by vae-trainer {version}; this is vae-trainer "
                f"{__version__}, which reads up to format {FORMAT}. Install "
                "that version, or give another --job_dir."
            )
        return record

    def id(self):
        """Returns the id of the job: the recorded one, or that of a new job.

        Jobs of an earlier version have none.
        """
        recorded = self.record().get("id") if self.exists else None
        return recorded or self.new_id

    def arithmetic(self):
        """Returns the version of the job's arithmetic: see `arithmetic.py`.

        Raises:
            ConfigError: this version of the package does not know it.
        """
        if not self.exists:
            return arithmetic.NEWEST
        version = self.record().get("arithmetic", arithmetic.FIRST)
        known = range(arithmetic.FIRST, arithmetic.NEWEST + 1)
        if type(version) is not int or version not in known:
            raise ConfigError(
                f"{self.config_path} has the arithmetic {version!r}; this is "
                f"vae-trainer {__version__}, which knows those up to "
                f"{arithmetic.NEWEST}. Install a newer one, or give another "
                "--job_dir."
            )
        return version

    def finished(self):
        """Returns what `finished.json` says, the last test metrics."""
        return json.loads(self.finished_path.read_text(encoding="utf-8"))

    def config(self):
        """Returns the `TrainConfig` of the recorded job."""
        # A job may have been moved since; it is where it was found.
        return TrainConfig.from_json(
            {**self.record()["config"], "job_dir": self.location}
        )

    def check_settings(self, config):
        """Returns the recorded name of the data a resumed job trains on.

        Raises:
            ConfigError: the recorded job has other settings that matter.
        """
        recorded = self.record()
        # A job of an earlier version has the defaults of what this one added.
        before = self.config()
        names = names_of("mathematics")
        if config.learning_rate_schedule != "constant":
            names += names_of("length")
        differences = [
            f"--{name}={getattr(config, name)} (was {getattr(before, name)})"
            for name in names
            if getattr(config, name) != getattr(before, name)
        ]
        name = recorded["data"]["name"]
        if config.dataset not in (name, recorded["config"]["dataset"]):
            differences.append(f"--dataset={config.dataset} (was {name})")
        self._refuse(differences)
        return name

    def check_resume(self, data, jit_compile):
        """Refuses to go on with other data, or compiled in another way.

        Raises:
            ConfigError: the recorded job has other data or another jit.
        """
        recorded = self.record()
        differences = _other_data(recorded, data)
        if jit_compile != recorded["jit_compile"]:
            differences.append(
                f"--jit_compile={str(jit_compile).lower()} (was "
                f"{str(recorded['jit_compile']).lower()})"
            )
        self._refuse(differences)

    def check_data(self, data):
        """Refuses to judge a model by other data than it was trained on.

        Raises:
            DataError: the recorded job has other data.
        """
        if differences := _other_data(self.record(), data):
            folder = self.config().data_dir
            now = f"{folder} holds" if folder else "there is"
            raise DataError(
                f"{self.location} was trained on other data than {now} now: "
                f"{'; '.join(differences)}. Restore the data that its "
                "config.json records, or give another --job_dir."
            )

    def write_record(self, config, data, jit_compile, cluster):
        """Records a new job, or a new session of a recorded one."""
        now = datetime.datetime.now(datetime.timezone.utc)
        version = self.arithmetic()
        fresh = {
            "format": 1 if version == arithmetic.FIRST else FORMAT,
            "id": self.id(),
            "arithmetic": version,
            "config": config.to_json(),
            "data": data.description(),
            "jit_compile": jit_compile,
            "versions": versions(),
        }
        sessions = []
        if self.exists:
            sessions = self.record()["sessions"]
        fresh["sessions"] = [
            *sessions,
            {
                "started": now.isoformat(timespec="seconds"),
                "host": socket.gethostname(),
                "devices": cluster.describe(),
                "versions": versions(),
            },
        ]
        write_json(self.config_path, fresh)

    def _refuse(self, differences):
        if differences:
            raise ConfigError(
                f"{self.location} holds a job with other settings: "
                f"{'; '.join(differences)}. Use the recorded values to go on, "
                "or another --job_dir to start anew."
            )


@contextlib.contextmanager
def open_to_write(config, console, stop):
    """Claims the job directory of a config while the block runs.

    One in a bucket holds everything when the block has ended without an
    error, or with an `InterruptedJobError`.

    Args:
        config: a `TrainConfig`.
        console: a `progress.Console`.
        stop: a `StopSignal`.

    Yields:
        A `JobDir`.

    Raises:
        JobDirError: another job holds it, or it cannot be written.
        StorageUnavailableError: the bucket cannot be reached for now.
    """
    place = places.parse(config.job_dir)
    if place.in_bucket:
        with _bucket_job().open_to_write(config, console, stop) as job:
            yield job
    else:
        with JobDir(place.path).claim() as job:
            yield job


@contextlib.contextmanager
def open_to_read(location, console):
    """Gives a job directory, of a job that may be running, to read.

    Args:
        location: str or path, a folder or `gs://bucket/prefix`.
        console: a `progress.Console`.

    Yields:
        A `JobDir`. That of a bucket is a temporary copy.

    Raises:
        ConfigError: the location is none.
    """
    place = places.parse(location)
    if place.in_bucket:
        with _bucket_job().open_to_read(location, console) as job:
            yield job
    else:
        yield JobDir(place.path)


def publish_folder(job, folder):
    """Puts the files of a folder into the bucket of a job, if it has one.

    Args:
        job: a `JobDir` from `open_to_read`.
        folder: a `pathlib.Path` below `job.root`; folders in it count too.

    Raises:
        JobDirError: an object that is not of the job has such a name.
    """
    if job.store is not None:
        _bucket_job().publish_folder(job, folder)


def publish_file(job, path):
    """Puts a file into the bucket of a job, if it has one.

    Args:
        job: a `JobDir` from `open_to_read`.
        path: a `pathlib.Path` below `job.root`.

    Raises:
        JobDirError: as `publish_folder`.
    """
    if job.store is not None:
        _bucket_job().publish_file(job, path)


def cache_folder():
    """Returns where this machine keeps copies of what is in buckets."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "vae-trainer"


def _bucket_job():
    # The client library takes most of a second to import.
    from trainer.job_dir.bucket import session as bucket_job

    return bucket_job


def checkpoint_name(step):
    """Returns the name of the folder of a step's checkpoint."""
    return f"step-{step:07d}"


def write_json(path, value):
    """Writes a JSON file, whole or not at all."""
    text = json.dumps(value, indent=2) + "\n"
    files.write_atomically(path, text.encode())


def versions():
    """Returns the versions that a result depends on, by package."""
    # Imported here: the record of a job can be read without TensorFlow.
    import keras
    import numpy
    import tensorflow

    return {
        "python": platform.python_version(),
        "tensorflow": tensorflow.__version__,
        "keras": keras.__version__,
        "numpy": numpy.__version__,
        "vae-trainer": __version__,
    }


def _other_data(recorded, data):
    """Returns a phrase for each difference of data from what a job recorded.

    An earlier version may have recorded less; what it did not say is no
    difference.
    """
    was, now = recorded["data"], data.description()
    was_md5, now_md5 = was.get("md5", now["md5"]), now.pop("md5")
    return [
        f"data {name} {value} (was {was[name]})"
        for name, value in now.items()
        if was.get(name, value) != value
    ] + [
        f"MD5 of {name} {now_md5.get(name, 'missing')} (was "
        f"{was_md5.get(name, 'missing')})"
        for name in sorted(now_md5.keys() | was_md5.keys())
        if now_md5.get(name) != was_md5.get(name)
    ]
