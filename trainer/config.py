"""TrainConfig: every setting of a job. `settings/` declares each of them once.

Flags and their help, JSON, what a resume or a worker may have otherwise and
what a search may tune are derived from the declarations.
"""

import dataclasses

from trainer import model_flags, places
from trainer.errors import ConfigError
from trainer.settings import contradictions
from trainer.settings.data import DataSettings
from trainer.settings.declaration import MOST, ROLES, check_value, declared
from trainer.settings.job_dir import JobDirSettings
from trainer.settings.learning import LearningSettings
from trainer.settings.logs import LogSettings
from trainer.settings.machines import MachineSettings
from trainer.settings.model import ModelSettings

# Numbers of replicas that a message looks for.
_MOST_PROPOSED = 4096


@declared
class TrainConfig(
    # Fields are those of the last class first.
    LogSettings,
    MachineSettings,
    LearningSettings,
    ModelSettings,
    DataSettings,
    JobDirSettings,
):
    """Settings of a training job.

    Raises:
        ConfigError: a value is out of range, or two values contradict.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            check_value(field.name, field.type, value, field.metadata)
        places.parse(self.job_dir, "--job_dir")
        if self.data_dir:
            places.parse(self.data_dir, "--data_dir")
        if self.init_from:
            places.split_checkpoint(self.init_from, "--init_from")
        model_flags.check_name(self.model)
        model_flags.split_options(self.model_options)
        contradictions.refuse(self)
        self.secret_kind()
        self.profile_range()

    def secret_kind(self):
        """Returns what `cluster_secret` comes to: `auto` is decided.

        Raises:
            ConfigError: it contradicts `cluster_token_file`.
        """
        kind, file = self.cluster_secret, self.cluster_token_file
        if kind == "auto":
            return "token_file" if file else "none"
        if (kind == "token_file") != bool(file):
            raise ConfigError(
                f"--cluster_secret={kind} and --cluster_token_file={file} "
                "contradict each other; give --cluster_secret=token_file and "
                "its file, or neither."
            )
        return kind

    @property
    def has_default_secret(self):
        """Whether nobody has chosen how the machines know each other."""
        default = {"cluster_secret": "auto", "cluster_token_file": ""}
        return default.items() <= self.to_json().items()

    def profile_range(self):
        """Returns `(first, last)` steps to profile, or None."""
        if not self.profile_steps:
            return None
        try:
            first, last = (int(part) for part in self.profile_steps.split(","))
        except ValueError:
            first, last = 0, 0
        if not 1 <= first <= last <= MOST:
            raise ConfigError(
                f"--profile_steps={self.profile_steps} is not FIRST,LAST with "
                "1 <= FIRST <= LAST, for instance 10,20."
            )
        return first, last

    def check_replicas(self, replica_count):
        """Refuses a batch that cannot be split evenly among the replicas.

        Nor may it be one whose part in a replica cannot be cut into
        `microbatches`.

        Raises:
            ConfigError: the message has the sizes and counts that would do.
        """
        if self.batch_size % replica_count == 0:
            self._check_microbatches(replica_count)
            return
        below = self.batch_size // replica_count * replica_count
        sizes = [size for size in (below, below + replica_count) if size]
        counts = [
            count
            for count in range(1, min(self.batch_size, _MOST_PROPOSED) + 1)
            if self.batch_size % count == 0
        ]
        raise ConfigError(
            f"--batch_size={self.batch_size} cannot be split evenly among "
            f"{replica_count} replicas; use --batch_size="
            f"{' or '.join(map(str, sizes))}, or one of "
            f"{', '.join(map(str, counts))} replicas."
        )

    def _check_microbatches(self, replica_count):
        images = self.batch_size // replica_count
        if images % self.microbatches == 0:
            return
        counts = [
            count
            for count in range(1, min(images, _MOST_PROPOSED) + 1)
            if images % count == 0
        ]
        raise ConfigError(
            f"--microbatches={self.microbatches} cannot cut the {images} "
            f"image{'s' * (images != 1)} that --batch_size={self.batch_size} "
            f"gives each of {replica_count} "
            f"replica{'s' * (replica_count != 1)} into equal slices; use one "
            f"of {', '.join(map(str, counts))}."
        )

    def check_batch(self):
        """Refuses a batch that these settings alone show cannot be had.

        The data and the devices may still turn out to be too few.

        Raises:
            ConfigError: as `check_replicas`, or for too few images.
        """
        if 0 < self.train_examples < self.batch_size:
            raise ConfigError(
                f"--batch_size={self.batch_size} is more than the "
                f"{self.train_examples} training images; use at most "
                f"--batch_size={self.train_examples}."
            )
        self.check_replicas(max(self.virtual_devices, 1))

    def shared(self):
        """Returns the settings that all workers of a job must share."""
        of_each = names_of("worker")
        return {
            name: value
            for name, value in self.to_json().items()
            if name not in of_each
        }

    def to_json(self):
        """Returns the settings as a dict of JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, settings):
        """Returns the config of a dict written by `to_json`."""
        return cls(**settings)


def names_of(role):
    """Returns the names of the settings of a role, in their order.

    Args:
        role: str, one of `trainer.declaration.ROLES`.
    """
    if role not in ROLES:
        raise ValueError(f"{role!r} is not one of {', '.join(ROLES)}.")
    return _names(lambda metadata: metadata["role"] == role)


def tunable():
    """Returns the names of the settings that a search may tune, sorted."""
    return tuple(sorted(_names(lambda metadata: not metadata["not_tuned"])))


def _names(wanted):
    fields = dataclasses.fields(TrainConfig)
    return tuple(field.name for field in fields if wanted(field.metadata))
