"""One job, as every engine gets it: image, machines and training flags."""

import dataclasses
import pathlib
import re
import sys

from trainer import named_datasets, places
from trainer.data import synthetic
from trainer.errors import ConfigError
from trainer.runtime.flags import Flags, Usage
from trainer.runtime.training_flags import expand_flags, parse_flags
from trainer.submit import variables

TRAINING = Usage(
    program="vae-submit ENGINE [flags] --",
    about="What stands after -- are flags of the training. Its --job_dir goes "
    "before.",
    example="vae-submit slurm --job_dir=$PWD/runs/vae -- --epochs=20",
    arguments="[flags of the training]",
)
# More than any cluster has, or lets a job run: 100,000 hours are 11 years.
_MOST_MACHINES, _MOST_GPUS, _MOST_HOURS = 65_536, 1024, 100_000
_IMAGE = re.compile(
    r"[^/\s]*[.:][^/\s]*/[^:@\s]+(?::(?P<tag>[^/:@\s]+))?"
    r"(?P<digest>@sha256:[0-9a-f]{64})?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A training job before any engine has given it a form.

    Attributes:
        name: str, what people see.
        image: str, the container with the trainer as its entry point.
        job_dir: str, `--job_dir` of the training.
        workers: int, machines.
        gpus: int, on each machine; 0 is training on CPUs.
        accelerator: str, the engine's name of the GPU; empty without one.
        spot: bool, whether machines may be taken away at any time.
        timeout_hours: float, after which the job is stopped; 0 leaves that to
            the engine.
        env: dict of str, variables of the training's environment.
        train_flags: tuple of str, the other flags of the training, as
            `expand_flags` returns them.
        doctor: bool, whether each machine is examined before it trains.
    """

    name: str
    image: str
    job_dir: str
    workers: int
    gpus: int
    accelerator: str
    spot: bool
    timeout_hours: float
    env: dict[str, str]
    train_flags: tuple[str, ...]
    doctor: bool = False

    @property
    def arguments(self):
        """What the training is called with beside `--job_dir`, list of str."""
        return [*self.train_flags, *(["--doctor"] if self.doctor else [])]

    @property
    def replica_count(self):
        """Number of replicas on all machines together."""
        return self.workers * max(self.gpus, 1)

    def train_config(self, *more_flags, shares_files=False, mounts=()):
        """Returns the `TrainConfig` that the machines will work from.

        Args:
            *more_flags: str, flags in addition to `train_flags`.
            shares_files: bool, whether the machines of the job see the
                folders of this one.
            mounts: list of str, folders that the machines have of their own.

        Raises:
            ConfigError: the training would refuse its flags, or they cannot
                work on these machines.
        """
        try:
            config = parse_flags(
                [*self.train_flags, *more_flags, f"--job_dir={self.job_dir}"],
                TRAINING,
            )
            self._check_devices(config)
            if not shares_files:
                _check_data_place(config, mounts)
            _check_data_size(config)
        except ConfigError as error:
            raise ConfigError(f"After --: {error}") from error
        if config.resume == "never":
            raise ConfigError(
                "After --: --resume=never makes a job refuse its own restart "
                "after an interruption; leave it out, and give a new --job_dir."
            )
        return config

    def _check_devices(self, config):
        machines = f"--workers={self.workers} --gpus={self.gpus}"
        if config.strategy == "none" and self.replica_count > 1:
            raise ConfigError(
                f"--strategy=none uses one device, but {machines} asks for "
                f"{self.replica_count}; leave it out."
            )
        if config.strategy == "mirrored" and self.workers > 1:
            raise ConfigError(
                "--strategy=mirrored is for one machine, but --workers="
                f"{self.workers} asks for {self.workers}; leave it out."
            )
        if config.virtual_devices and (self.gpus or self.workers > 1):
            raise ConfigError(
                f"--virtual_devices={config.virtual_devices} splits the CPU of "
                f"one machine without a GPU, but {machines} was given; leave "
                "one of them out."
            )
        config.check_replicas(max(self.replica_count, config.virtual_devices))


def is_below(folder, mounts):
    """Whether a folder is one of some others, or below one."""
    return any(
        pathlib.PurePosixPath(folder).is_relative_to(mount) for mount in mounts
    )


def _check_data_place(config, mounts):
    for name in ("data_dir", "init_from"):
        folder = getattr(config, name)
        if (
            folder
            and not folder.startswith(("gs://", "/gcs/"))
            and not is_below(folder, mounts)
        ):
            raise ConfigError(
                f"--{name}={folder} is a folder of this machine, which the "
                f"job cannot see; copy it to a bucket and give --{name}="
                "gs://BUCKET/FOLDER."
            )


def _check_data_size(config):
    """Refuses a batch of more training images than there will be.

    Of a folder of one's own only the job can tell how many it holds.
    """
    there = _known_train_examples(config)
    wanted = config.train_examples
    if there and wanted > there:
        raise ConfigError(
            f"--train_examples={wanted} is more than the {there} training "
            "images that there are; give at most that, or 0 for all."
        )
    examples = wanted or there
    if examples and config.batch_size > examples:
        raise ConfigError(
            f"--batch_size={config.batch_size} is more than the {examples} "
            f"training images; use at most --batch_size={examples}."
        )


def _known_train_examples(config):
    """Returns how many training images the flags tell of; None: it is open."""
    name = config.dataset
    if name == "auto" and not config.data_dir:
        name = named_datasets.DEFAULT
    if name == "synthetic":
        return synthetic.TRAIN_EXAMPLES
    named = named_datasets.NAMED.get(name)
    return named and named.train_examples


def parse(words, usage, settings_type, add_flags, image=True, accelerator=True):
    """Returns what a command line of `vae-submit` asks for.

    Whether the training's flags work on its machines is for
    `Job.train_config` to say, since an engine may vary some of them.

    Args:
        words: list of str, the command line after the engine's name.
        usage: a `Usage`.
        settings_type: the dataclass of the engine's own flags; its fields are
            named as they are.
        add_flags: function that adds them to `Flags`.
        image: bool, whether the job cannot do without a container image.
        accelerator: bool, whether GPUs must be named.

    Returns:
        A `Job`, a `settings_type` and the parsed `Flags`; or None when the
        command line asked for the help or the version, which is printed.

    Raises:
        ConfigError: a flag is missing or wrong.
    """
    ours, after = words, []
    if "--" in words:
        cut = words.index("--")
        ours, after = words[:cut], words[cut + 1 :]
    flags = Flags(usage)
    _add_flags(flags)
    add_flags(flags)
    try:
        if not flags.parse(ours):
            return None
    except ConfigError as error:
        raise ConfigError(
            f"{str(error).rstrip('.')}; flags of the training go after --."
        ) from error
    job = _from_flags(flags, after, image, accelerator)
    if job is None:
        return None
    settings = settings_type(
        **{
            field.name: flags[field.name].value
            for field in dataclasses.fields(settings_type)
        }
    )
    return job, settings, flags


def _add_flags(flags):
    """Adds the flags that a job has on every engine."""
    title = "Job"
    flags.add(
        "job_dir",
        "",
        "the --job_dir of the training",
        title=title,
        unit="folder",
    )
    flags.add(
        "name",
        "",
        "what the job is called; the last part of --job_dir if not given",
        title=title,
    )
    flags.add(
        "image",
        "",
        "container image of the trainer, in a registry",
        title=title,
    )
    flags.add(
        "timeout_hours",
        0.0,
        "stop the job after this time; 0: the engine's own limit",
        title=title,
        unit="hours",
        minimum=0,
        maximum=_MOST_HOURS,
    )
    flags.add(
        "env",
        [],
        "a variable of the training's environment, for instance PYTHONPATH; "
        "may be repeated. Whoever sees the job can read it: no place for a "
        "secret",
        title=title,
        unit="name=value",
    )
    flags.add(
        "doctor",
        False,
        "have each machine examine itself first, as vae-doctor does with the "
        "flags of the training, at each start; a failure ends the job",
        title=title,
    )
    flags.add(
        "dry_run", False, "print what would be sent, send nothing", title=title
    )
    flags.add(
        "wait",
        False,
        "stay until the job has ended, say what changes, and end as it did; "
        "Ctrl-C ends the waiting alone",
        title=title,
    )
    title = "Machines"
    flags.add(
        "workers",
        1,
        "machines that train together",
        title=title,
        unit="machines",
        minimum=1,
        maximum=_MOST_MACHINES,
    )
    flags.add(
        "gpus",
        0,
        "GPUs on each machine; 0: train on CPUs",
        title=title,
        unit="gpus",
        minimum=0,
        maximum=_MOST_GPUS,
    )
    flags.add(
        "accelerator",
        "",
        "which GPU, by the name that the engine has for it",
        title=title,
        unit="name",
    )
    flags.add(
        "spot",
        False,
        "take cheaper machines, which may be taken away at any time",
        title=title,
    )


def _from_flags(flags, arguments, image, accelerator):
    if "--doctor" in arguments:
        raise ConfigError(
            "--doctor stands after --, where the settings of the training "
            "alone go; put it before."
        )
    try:
        train_flags = expand_flags(arguments, TRAINING)
    except ConfigError as error:
        raise ConfigError(f"After --: {error}") from error
    if train_flags is None:
        return None
    if any(flag.startswith("--job_dir=") for flag in train_flags):
        raise ConfigError(
            "--job_dir stands after --, where the flags of the training alone "
            "go; put it before."
        )
    given = {
        field.name: flags[field.name].value
        for field in dataclasses.fields(Job)
        if field.name != "train_flags"
    }
    for name in ("image", "job_dir"):
        if not given[name] and (image or name != "image"):
            raise ConfigError(f"--{name} is missing.")
    if accelerator and given["gpus"] and not given["accelerator"]:
        raise ConfigError(
            f"--gpus={given['gpus']} does not say which; give --accelerator."
        )
    if given["accelerator"] and not given["gpus"]:
        raise ConfigError(
            f"--accelerator={given['accelerator']} does not say how many; give "
            "--gpus."
        )
    given["env"] = variables.parse(given["env"])
    given["job_dir"] = str(places.parse(given["job_dir"])).rstrip("/")
    given["name"] = given["name"] or given["job_dir"].rpartition("/")[2]
    return Job(**given, train_flags=tuple(train_flags))


def image_warning(image):
    """Returns what is risky about an image in a registry, or None.

    Raises:
        ConfigError: no machine but this one could find the image.
    """
    match = _IMAGE.fullmatch(image)
    if not match or image.startswith(("localhost", "127.")):
        raise ConfigError(
            f"--image={image} names no registry that other machines can reach; "
            "push the image and give its full name, for instance us-central1-"
            "docker.pkg.dev/PROJECT/REPOSITORY/vae-trainer:1 (docker.io/… for "
            "Docker Hub)."
        )
    if match["digest"] or match["tag"] not in (None, "latest"):
        return None
    return (
        f"--image={image} can be another image when the job is restarted; "
        "better give a tag that stays, or a digest."
    )


def warn(sentence):
    """Prints a warning, if there is one, where it does not mix with a spec."""
    if sentence:
        print(f"WARNING: {sentence}", file=sys.stderr)
