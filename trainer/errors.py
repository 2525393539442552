"""The ways a job can end other than well, each with its exit code."""


class TrainerError(Exception):
    """The job cannot go on. The message is one sentence for the user."""

    exit_code = 1


class ConfigError(TrainerError):
    """A flag, or a combination of flags, is wrong."""

    exit_code = 2


class DataError(TrainerError):
    """A data file is not what it should be."""


class DataUnavailableError(DataError):
    """The data is not where it was looked for and cannot be downloaded."""


class JobDirError(TrainerError):
    """The job directory cannot be used, or holds something unexpected."""


class NonFiniteError(TrainerError):
    """A loss or a weight became NaN or infinite."""


class InterruptedJobError(TrainerError):
    """The job was told to stop; run the same command again to go on."""

    exit_code = 75


class PeerLostError(TrainerError):
    """Another worker did not come, or is gone; run all of them again."""

    exit_code = 75


class PeerInterruptedError(PeerLostError):
    """Another worker was told to stop, and this one stops with it."""


class StorageUnavailableError(TrainerError):
    """The bucket cannot be reached for now; run the same command again."""

    exit_code = 75


class TrialStalledError(TrainerError):
    """A trial asks again and again to be run again; try it later."""

    exit_code = 75


class SubmitError(TrainerError):
    """The service that jobs are sent to said no."""


class ServiceUnavailableError(TrainerError):
    """That service cannot be reached for now; try the same command again."""

    exit_code = 75
