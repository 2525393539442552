"""The record of a job, `config.json`: what ran, on which data, with what."""

import dataclasses
import datetime
import platform
import socket

from trainer import __version__, arithmetic, files, stored
from trainer.config import TrainConfig, names_of
from trainer.errors import ConfigError, DataError, JobDirError
from trainer.job_dir import exactness, other_data, record_parts

# 2: the arithmetic is in the record, and a version that does not know that
# would train with its own.
FORMAT = 2


class Record:
    """The record of a job; a new job has none until `write`.

    Args:
        path: `pathlib.Path` of `config.json`.
        location: str, what the user calls the job directory.
        new_id: str, the id that a new job gets.
    """

    def __init__(self, path, location, new_id):
        self._path = path
        self._location = location
        self._new_id = new_id

    @property
    def exists(self):
        """Whether a job has been recorded."""
        return stored.is_there(self._path)

    def read(self):
        """Returns what `config.json` says, a dict.

        Raises:
            JobDirError: it cannot be read, or is not the record of a job.
            ConfigError: a newer version of this package wrote it.
        """
        try:
            record = stored.read_json(self._path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise JobDirError(
                f"{self._location} holds no job (there is no config.json); "
                "give the --job_dir of a training run."
            ) from error
        except stored.UnreadableError as error:
            raise JobDirError(
                f"{self._path} {error}; restore it, or give another --job_dir."
            ) from error
        if fault := record_parts.fault_of_format(record):
            raise self._no_record(fault)
        if record["format"] > FORMAT:
            raise ConfigError(
                f"{self._path} has format {record['format']}, written by "
                f"vae-trainer {_writer(record)}; this is vae-trainer "
                f"{__version__}, which reads up to format {FORMAT}. Install "
                "that version, or give another --job_dir."
            )
        if fault := record_parts.missing(record):
            raise self._no_record(fault)
        if unknown := record_parts.unknown(record):
            raise ConfigError(
                f"{self._path}, written by vae-trainer {_writer(record)}, has "
                f"{', '.join(map(ascii, unknown))}, which this vae-trainer "
                f"{__version__} does not know. Install that version, or give "
                "another --job_dir."
            )
        if fault := record_parts.fault_of(record):
            raise self._no_record(fault)
        return record

    def of_data(self, name):
        """Returns what the record says of the data by a name.

        Raises:
            JobDirError: it does not say that.
        """
        data = self.read()["data"]
        if name not in data:
            raise self._no_record(f'its "data" has no "{name}"')
        return data[name]

    def id(self):
        """Returns the id of the job: the recorded one, or that of a new job.

        Jobs of an earlier version have none.
        """
        recorded = self.read().get("id") if self.exists else None
        return recorded or self._new_id

    def arithmetic(self):
        """Returns the version of the job's arithmetic: see `arithmetic.py`.

        Raises:
            ConfigError: this version of the package does not know it.
        """
        if not self.exists:
            return arithmetic.NEWEST
        version = self.read().get("arithmetic", arithmetic.FIRST)
        known = range(arithmetic.FIRST, arithmetic.NEWEST + 1)
        if type(version) is not int or version not in known:
            raise ConfigError(
                f"{self._path} has the arithmetic {version!r}; this is "
                f"vae-trainer {__version__}, which knows those up to "
                f"{arithmetic.NEWEST}. Install a newer one, or give another "
                "--job_dir."
            )
        return version

    def config(self):
        """Returns the `TrainConfig` of the recorded job.

        A setting that the record does not have is one that its version did
        not have, and gets its default.

        Raises:
            ConfigError: it has a setting that this version of the package
                does not know, or a value that no setting can have.
        """
        record = self.read()
        settings = record["config"]
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        if unknown := sorted(settings.keys() - known):
            raise ConfigError(
                f"{self._path}, written by vae-trainer {_writer(record)}, has "
                f"{', '.join(unknown)} among its settings, which this "
                f"vae-trainer {__version__} does not know. Install that "
                "version, or give another --job_dir."
            )
        try:
            # A job may have been moved since; it is where it was found.
            return TrainConfig.from_json(
                {**settings, "job_dir": self._location}
            )
        except ConfigError as error:
            raise ConfigError(
                f"{self._path} records settings that cannot be: {error} "
                "Restore it, or give another --job_dir."
            ) from error

    def check_settings(self, config):
        """Returns the recorded name of the data a resumed job trains on.

        Raises:
            ConfigError: the recorded job has other settings that matter.
        """
        # A job of an earlier version has the defaults of what this one added.
        before = self.config()
        names = names_of("mathematics")
        if config.learning_rate_schedule != "constant":
            names += names_of("length")
        differences = [
            f"--{name}={getattr(config, name)} (was "
            f"{_said(getattr(before, name))})"
            for name in names
            if getattr(config, name) != getattr(before, name)
            # What a job began with, it has.
            and not (name == "init_from" and not config.init_from)
        ]
        name = self.read()["data"]["name"]
        # What lies there is for `check_resume` to compare.
        if config.dataset not in ("auto", name, before.dataset):
            differences.append(f"--dataset={config.dataset} (was {name})")
        self._refuse(differences)
        return name

    def check_model(self, model):
        """Refuses a model that is not the one that the job began with.

        Args:
            model: dict, what a job records of its model: its name, its
                options, and the SHA-256 of its source.

        Raises:
            ConfigError: the recorded job has another. One of before there was
                a choice does not say.
        """
        was = self.read().get("model")
        if was is None or was == model:
            return
        if was.get("source") != model["source"]:
            raise ConfigError(
                f"{self._location} was made with another source of "
                f"--model={model['name']} (SHA-256 {was.get('source')}) than "
                f"there is now ({model['source']}); restore it, or give "
                "another --job_dir."
            )
        self._refuse(
            [
                f"--model_options={name}={value} (was "
                f"{was.get('options', {}).get(name, 'not there')})"
                for name, value in model["options"].items()
                if was.get("options", {}).get(name) != value
            ]
            or [f"--model={model['name']} (was {was.get('name')})"]
        )

    def check_resume(self, data, jit_compile):
        """Refuses to go on with other data, or compiled in another way.

        Raises:
            ConfigError: the recorded job has other data or another jit.
        """
        record = self.read()
        self._refuse(
            other_data.phrases(record["data"], data.description()),
            "Give the data that its config.json records with --data_dir to go "
            "on",
        )
        differences = []
        if jit_compile != record["jit_compile"]:
            differences.append(
                f"--jit_compile={str(jit_compile).lower()} (was "
                f"{str(record['jit_compile']).lower()})"
            )
        self._refuse(differences)

    def check_exact(self, gpu, required):
        """As `exactness.check`, of the sessions up to now."""
        return exactness.check(
            self._location, self.read()["sessions"], gpu, required
        )

    def check_data(self, data):
        """Refuses to judge a model by other data than it was trained on.

        Raises:
            DataError: the recorded job has other data.
        """
        recorded = self.read()["data"]
        if differences := other_data.phrases(recorded, data.description()):
            folder = self.config().data_dir
            now = f"{folder} holds" if folder else "there is"
            raise DataError(
                f"{self._location} was trained on other data than {now} now: "
                f"{'; '.join(differences)}. Restore the data that its "
                "config.json records, or give another --job_dir."
            )

    def initial_weights(self):
        """Returns what is recorded of the weights of another job, or None.

        That is a dict of the `job` (str), the `step` and the `sha256` of its
        checkpoint's state file, with which this job began.
        """
        return self.read().get("initial_weights") if self.exists else None

    def classes(self):
        """Returns the names of the classes that the model is given, by label.

        Returns:
            A tuple of str, empty for a model that is given none.

        Raises:
            JobDirError: the record does not have them.
        """
        if self.config().condition == "none":
            return ()
        names = self.read().get("classes")
        if not names:
            raise self._no_record(
                'its "condition" is labels, but it has no "classes"'
            )
        return tuple(names)

    def write(
        self,
        config,
        model,
        data,
        jit_compile,
        cluster,
        initial_weights=None,
        classes=(),
    ):
        """Records a new job, or a new session of a recorded one.

        Args:
            config: the `TrainConfig`.
            model: dict, as for `check_model`.
            data: the `Dataset`.
            jit_compile: bool.
            cluster: the `Cluster`.
            initial_weights: dict, as from `initial_weights`, of a job that
                begins; None without any.
            classes: tuple of str, as from `classes`.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        version = self.arithmetic()
        settings = config.to_json()
        if self.exists:
            settings["init_from"] = self.config().init_from
        initial_weights = initial_weights or self.initial_weights()
        fresh = {
            "format": 1 if version == arithmetic.FIRST else FORMAT,
            "id": self.id(),
            "arithmetic": version,
            "config": settings,
            # That version could not go on with a part that it does not know.
            **({} if version == arithmetic.FIRST else {"model": model}),
            **({"initial_weights": initial_weights} if initial_weights else {}),
            **({"classes": list(classes)} if classes else {}),
            "data": data.description(),
            "jit_compile": jit_compile,
            "versions": versions(),
        }
        sessions = self.read()["sessions"] if self.exists else []
        fresh["sessions"] = [
            *sessions,
            {
                "started": now.isoformat(timespec="seconds"),
                "host": socket.gethostname(),
                "devices": cluster.describe(),
                **({"gpu": cluster.gpu} if cluster.gpu else {}),
                "versions": versions(),
            },
        ]
        files.write_json(self._path, fresh)

    def _no_record(self, reason):
        return JobDirError(
            f"{self._path} is not the record of a job ({reason}); restore it, "
            "or give another --job_dir."
        )

    def _refuse(self, differences, advice="Use the recorded values to go on"):
        if differences:
            raise ConfigError(
                f"{self._location} holds a job with other data or settings "
                f"that change the result: {'; '.join(differences)}. {advice}, "
                "or another --job_dir to start anew."
            )


def _said(value):
    """Returns the value of a setting for a message."""
    return "not given" if value == "" else value


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


def _writer(record):
    """Returns the version of this package that wrote a record last."""
    recorded = record.get("versions")
    if not isinstance(recorded, dict):
        return "unknown"
    version = recorded.get("vae-trainer", "unknown")
    return version if isinstance(version, str) else record_parts.shown(version)
