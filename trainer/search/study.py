"""A search on disk: `study.json`, and where its trials lie.

`study.json` holds only what no job directory can tell: what is searched for,
which values each trial got, and which trials have failed. It appears whole or
not at all, so that no kill can tear it; results are read from the jobs.
"""

import dataclasses

from trainer import __version__, files, stored
from trainer.config import TrainConfig, names_of
from trainer.errors import ConfigError, JobDirError
from trainer.job_dir import layout
from trainer.search.space import Parameter

FILE = "study.json"
FORMAT = 1
_SETTINGS = {field.name: field for field in dataclasses.fields(TrainConfig)}
# What each machine may have otherwise, and what no loss depends on. Other
# data would make trials incomparable.
_MAY_DIFFER = {
    name
    for name in names_of("worker")
    if _SETTINGS[name].metadata["group"] != "Data"
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
    """What makes a search the one that it is.

    Attributes:
        parameters: tuple of `Parameter`.
        settings: dict, all settings of the training that do not vary.
        flags: tuple of str, the flags that give the training those.
        seed: int, of the suggestions.
        pruning: bool, whether trials are stopped early.
    """

    parameters: tuple[Parameter, ...]
    settings: dict
    flags: tuple[str, ...]
    seed: int
    pruning: bool

    @classmethod
    def of(cls, parameters, config, flags, seed, pruning):
        """Returns the definition of a command line.

        Args:
            parameters: list of `Parameter`, in any order.
            config: a `TrainConfig` of one of the trials.
            flags: list of str, as `expand_flags` returns them.
            seed: int.
            pruning: bool.
        """
        varied = {parameter.name for parameter in parameters}
        return cls(
            parameters=tuple(
                sorted(parameters, key=lambda parameter: parameter.name)
            ),
            settings={
                name: value
                for name, value in config.to_json().items()
                if name not in varied | _MAY_DIFFER
            },
            flags=tuple(flags),
            seed=seed,
            pruning=pruning,
        )

    def to_json(self):
        """Returns what `study.json` says of it, a dict of JSON values."""
        return {
            "search": [parameter.text for parameter in self.parameters],
            "settings": self.settings,
            "seed": self.seed,
            "pruning": self.pruning,
        }


@dataclasses.dataclass
class Entry:
    """What is recorded of a trial.

    Attributes:
        parameters: dict of int, float or str by name.
        failure: str, why it has failed; "" if it has not.
    """

    parameters: dict
    failure: str = ""


class Study:
    """A search on disk, held by this process.

    Args:
        root: `pathlib.Path` of its folder.
        definition: a `Definition`.
        is_lost: as from `lock.hold`.

    Attributes:
        root, definition: as given.
        entries: list of `Entry`; that of trial 1 is the first.

    Raises:
        ConfigError: the folder holds another search, or something else.
        JobDirError: `study.json` cannot be read.
    """

    def __init__(self, root, definition, is_lost):
        self.root = root
        self.definition = definition
        self._path = root / FILE
        self._is_lost = is_lost
        is_new = not stored.is_there(self._path)
        if is_new:
            self._refuse_others()
        self.entries = [] if is_new else self._read()
        files.remove_unfinished(root)
        if is_new:
            self._write()

    def folder(self, number):
        """Returns the job directory of a trial, a `pathlib.Path`."""
        return self.root / "trials" / f"{number:04d}"

    def output(self, number):
        """Returns the file with what a trial has printed."""
        return self.root / "output" / f"{number:04d}.txt"

    def add(self, parameters):
        """Records the values that the next trial tries."""
        self.entries.append(Entry(parameters))
        self._write()

    def fail(self, number, reason):
        """Records that a trial has failed."""
        self.entries[number - 1].failure = reason
        self._write()

    def _write(self):
        if self._is_lost():
            raise JobDirError(
                f"{self.root} was deleted or replaced while the search ran; "
                "restore it and run the same command again, or give another "
                "--study_dir."
            )
        record = {
            "format": FORMAT,
            "version": __version__,
            **self.definition.to_json(),
            "trials": [dataclasses.asdict(entry) for entry in self.entries],
        }
        files.write_json(self._path, record)

    def _refuse_others(self):
        for path in self.root.iterdir():
            # A search may have been killed while it wrote its first record.
            if path.name != layout.LOCK and not (
                path.name.startswith(files.TEMPORARY_PREFIX)
                and path.name.endswith(FILE)
            ):
                raise ConfigError(
                    f"--study_dir={self.root} holds {path.name} but no "
                    f"{FILE}, so it is no search; give another --study_dir."
                )

    def _read(self):
        try:
            record = stored.read_json(self._path)
        except stored.UnreadableError as error:
            raise self._damaged(error) from error
        if not isinstance(record, dict) or not stored.is_count(
            record.get("format"), least=1
        ):
            raise self._damaged('has no "format"')
        if record["format"] > FORMAT:
            raise ConfigError(
                f"{self._path} has format {record['format']}; this is "
                f"vae-trainer {__version__}, which reads up to format "
                f"{FORMAT}. Install a newer one, or give another --study_dir."
            )
        recorded = {
            name: record.get(name) for name in self.definition.to_json()
        }
        if not (
            isinstance(recorded["search"], list)
            and isinstance(recorded["settings"], dict)
        ):
            raise self._damaged('has no "search" or no "settings"')
        if differences := list(self._differences(recorded)):
            raise ConfigError(
                f"{self.root} holds another search: {'; '.join(differences)}. "
                "Give the flags that it began with, or another --study_dir."
            )
        trials = record.get("trials")
        if not isinstance(trials, list) or not all(map(self._is_entry, trials)):
            raise self._damaged('has "trials" that are none of this search')
        return [Entry(**trial) for trial in trials]

    def _differences(self, recorded):
        """Yields a phrase for each thing that is not as it was recorded."""
        ours = self.definition.to_json()
        if recorded["search"] != ours["search"]:
            yield (
                f"it varies {_listed(recorded['search'])}, not "
                f"{_listed(ours['search'])}"
            )
        varied = {
            str(text).partition("=")[0]
            for text in recorded["search"] + ours["search"]
        }
        names = recorded["settings"].keys() | ours["settings"].keys()
        for name in sorted(names - varied - _MAY_DIFFER):
            # A setting that its version did not have had the default.
            default = _SETTINGS[name].default if name in _SETTINGS else None
            before, now = (
                each["settings"].get(name, default) for each in (recorded, ours)
            )
            if before != now:
                yield f"it has --{name}={before}, not {now}"
        if recorded["seed"] != ours["seed"]:
            yield (
                f"it has --seed={recorded['seed']} before --, not "
                f"{ours['seed']}"
            )
        if recorded["pruning"] is not ours["pruning"]:
            yield (
                "it stops the worse trials early, and --no_pruning was given"
                if recorded["pruning"]
                else "it began with --no_pruning"
            )

    def _is_entry(self, value):
        if not isinstance(value, dict) or value.keys() != {
            "parameters",
            "failure",
        }:
            return False
        values, failure = value["parameters"], value["failure"]
        searched = {each.name: each for each in self.definition.parameters}
        return (
            isinstance(failure, str)
            and isinstance(values, dict)
            and values.keys() == searched.keys()
            and all(searched[name].has(values[name]) for name in values)
        )

    def _damaged(self, reason):
        return JobDirError(
            f"{self._path} {reason}; restore it, or give another --study_dir."
        )


def _listed(values):
    return ", ".join(map(str, values)) or "nothing"
