"""TrainConfig: every setting of a job, once. Flags and JSON derive from it."""

import dataclasses
import math

from absl import flags

from trainer import places
from trainer.errors import ConfigError
from trainer.runtime import platform

# What each worker of a job may have otherwise.
_OF_EACH_WORKER = (
    "job_dir",
    "resume",
    "data_dir",
    "data_url",
    "dataset_fallback",
    "cluster_timeout_seconds",
    "storage_timeout_seconds",
    "log_format",
)
DATASETS = ("fashion_mnist", "synthetic", "idx")


def _setting(default, text, *, choices=None, minimum=None, above=None):
    return dataclasses.field(
        default=default,
        metadata={
            "help": text,
            "choices": choices,
            "minimum": minimum,
            "above": above,
        },
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training job; see `README.md` for the table.

    Raises:
        ConfigError: a value is out of range, or two values contradict.
    """

    job_dir: str = _setting(
        "runs/vae",
        "folder of the job, local or gs://bucket/folder: checkpoints, logs "
        "and pictures; on Vertex AI its base output directory if not given",
    )
    resume: str = _setting(
        "auto",
        "auto: go on where an existing job directory stopped; never: refuse "
        "one that is not empty; must: refuse an empty one",
        choices=("auto", "never", "must"),
    )
    dataset: str = _setting(
        "fashion_mnist",
        "what to train on; synthetic is drawn by the program and needs "
        "nothing, idx is any folder of IDX files",
        choices=DATASETS,
    )
    data_dir: str = _setting(
        "",
        "folder of the IDX files, local or gs://; if given, only it is looked "
        "at, else the Keras cache, else download",
    )
    data_url: str = _setting(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "where Fashion-MNIST is downloaded from",
    )
    dataset_fallback: str = _setting(
        "none",
        "what a new job without data_dir trains on when the data cannot be had",
        choices=("none", "synthetic"),
    )
    train_examples: int = _setting(
        0, "use the first N training images; 0 = all", minimum=0
    )
    test_examples: int = _setting(
        0, "use the first N test images; 0 = all", minimum=0
    )
    epochs: int = _setting(100, "passes over the training images", minimum=1)
    max_steps: int = _setting(
        0, "stop after this many steps if epochs has not; 0 = no", minimum=0
    )
    batch_size: int = _setting(
        128, "global batch size: all replicas together", minimum=1
    )
    latent_dim: int = _setting(200, "number of latent units", minimum=1)
    initial_units: int = _setting(
        0,
        "latent units that the training starts with; the weights of the others "
        "start at zero; 0 = all",
        minimum=0,
    )
    reconstruction_loss: str = _setting(
        "mse",
        "mse: squared error summed over pixels; bce: Bernoulli; gaussian: "
        "with one learned variance",
        choices=("mse", "bce", "gaussian"),
    )
    binarize: str = _setting(
        "none",
        "dynamic: pixels are 0 or 1, drawn anew at each step; needs "
        "reconstruction_loss=bce, and evaluates on a sixth of the training "
        "images",
        choices=("none", "dynamic"),
    )
    beta: float = _setting(1.0, "weight of the KL divergence", minimum=0)
    kl_warmup_epochs: float = _setting(
        2.0,
        "epochs over which the KL weight rises from 0 to beta; 0 = none, "
        "which is the seed notebook's recipe, and collapses",
        minimum=0,
    )
    free_bits: float = _setting(
        0.0, "nats per latent unit that the KL does not penalise", minimum=0
    )
    learning_rate: float = _setting(0.001, "of Adam", above=0)
    adam_epsilon: float = _setting(
        1e-7,
        "of Adam: weights whose gradients are smaller take smaller steps",
        above=0,
    )
    learning_rate_schedule: str = _setting(
        "constant",
        "cosine: the learning rate falls to 0 at the last step",
        choices=("constant", "cosine"),
    )
    seed: int = _setting(
        0, "of the weights, the data order and the noise", minimum=0
    )
    strategy: str = _setting(
        "auto",
        "mirrored: all GPUs of this machine, or its CPU; none: its first "
        "device alone; multi_worker: all machines that TF_CONFIG, Slurm or "
        "Kubernetes names; auto: those, or mirrored if there are none",
        choices=("auto", "mirrored", "multi_worker", "none"),
    )
    virtual_devices: int = _setting(
        0, "split the CPU in N, to run N replicas without a GPU", minimum=0
    )
    cluster_timeout_seconds: float = _setting(
        600.0,
        "how long to wait for the other machines before the job stops, to be "
        "run again",
        above=0,
    )
    deterministic: bool = _setting(
        True, "the same weights, bit for bit, on the same kind of machine"
    )
    steps_per_call: int = _setting(
        0,
        "training steps inside one tf.function call; 0 = as many as take "
        "about a second",
        minimum=0,
    )
    jit_compile: str = _setting(
        "auto",
        "XLA; auto: on GPU, not on CPU",
        choices=("auto", "true", "false"),
    )
    mixed_precision: str = _setting(
        "none",
        "bfloat16: compute in bfloat16, keep float32 weights",
        choices=("none", "bfloat16"),
    )
    precision: str = _setting(
        "float32",
        "of weights and losses; float64 shows that replicas agree",
        choices=("float32", "float64"),
    )
    checkpoint_steps: int = _setting(
        0, "steps between checkpoints; 0 = one epoch", minimum=0
    )
    keep_checkpoints: int = _setting(
        3, "newest checkpoints to keep, beside the best", minimum=1
    )
    summary_steps: int = _setting(
        50, "steps between rows of training losses", minimum=1
    )
    eval_epochs: int = _setting(
        1, "epochs between evaluations; 0 = only at the end", minimum=0
    )
    image_epochs: int = _setting(
        1, "epochs between TensorBoard images; 0 = only at the end", minimum=0
    )
    storage_timeout_seconds: float = _setting(
        120.0,
        "how long a bucket may be out of reach before the job stops, to be "
        "run again",
        above=0,
    )
    log_format: str = _setting(
        "auto",
        "json: one object a line with a severity, as Google Cloud's logs want "
        "it; auto: json on Vertex AI, else text",
        choices=("auto", "text", "json"),
    )
    profile_steps: str = _setting(
        "", "FIRST,LAST: a TensorBoard profile of these steps"
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_value(field, getattr(self, field.name))
        places.parse(self.job_dir, "--job_dir")
        if self.data_dir:
            places.parse(self.data_dir, "--data_dir")
        if self.dataset == "idx" and not self.data_dir:
            raise ConfigError("--dataset=idx needs --data_dir=FOLDER.")
        if self.dataset == "synthetic" and self.data_dir:
            raise ConfigError(
                "--dataset=synthetic reads no files, but --data_dir="
                f"{self.data_dir} was given; leave one of them out."
            )
        if self.binarize != "none" and self.reconstruction_loss != "bce":
            raise ConfigError(
                f"--binarize={self.binarize} makes pixels 0 or 1, but "
                f"--reconstruction_loss={self.reconstruction_loss} is not for "
                "such; use --reconstruction_loss=bce."
            )
        if self.initial_units > self.latent_dim:
            raise ConfigError(
                f"--initial_units={self.initial_units} is more than "
                f"--latent_dim={self.latent_dim}; give at most that, or 0 for "
                "all."
            )
        if self.strategy == "none" and self.virtual_devices > 1:
            raise ConfigError(
                "--strategy=none uses one device, but --virtual_devices="
                f"{self.virtual_devices} asks for {self.virtual_devices}; "
                "leave one of them out."
            )
        if self.mixed_precision != "none" and self.precision != "float32":
            raise ConfigError(
                f"--mixed_precision={self.mixed_precision} keeps float32 "
                f"weights, but --precision={self.precision} was given; leave "
                "one of them out."
            )
        if self.free_bits > 0 and self.jit_compile == "true":
            # The clamp needs an all-reduce in the middle of the step, and
            # XLA compiles only what lies between two all-reduces.
            raise ConfigError(
                f"--free_bits={self.free_bits} does not work with "
                "--jit_compile=true; use --jit_compile=auto."
            )
        self.profile_range()

    def profile_range(self):
        """Returns `(first, last)` steps to profile, or None."""
        if not self.profile_steps:
            return None
        try:
            first, last = (int(part) for part in self.profile_steps.split(","))
        except ValueError:
            first, last = 0, 0
        if not 1 <= first <= last:
            raise ConfigError(
                f"--profile_steps={self.profile_steps} is not FIRST,LAST with "
                "1 <= FIRST <= LAST, for instance 10,20."
            )
        return first, last

    def check_replicas(self, replica_count):
        """Refuses a batch that cannot be split evenly among the replicas.

        Raises:
            ConfigError: the message has the sizes and counts that would do.
        """
        if self.batch_size % replica_count == 0:
            return
        below = self.batch_size // replica_count * replica_count
        sizes = [size for size in (below, below + replica_count) if size]
        counts = [
            count
            for count in range(1, self.batch_size + 1)
            if self.batch_size % count == 0
        ]
        raise ConfigError(
            f"--batch_size={self.batch_size} cannot be split evenly among "
            f"{replica_count} replicas; use --batch_size="
            f"{' or '.join(map(str, sizes))}, or one of "
            f"{', '.join(map(str, counts))} replicas."
        )

    def shared(self):
        """Returns the settings that all workers of a job must share."""
        return {
            name: value
            for name, value in self.to_json().items()
            if name not in _OF_EACH_WORKER
        }

    def to_json(self):
        """Returns the settings as a dict of JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, settings):
        """Returns the config of a dict written by `to_json`."""
        return cls(**settings)


def _check_value(field, value):
    kinds = (int, float) if field.type is float else field.type
    if not isinstance(value, kinds) or (
        isinstance(value, bool) and field.type is not bool
    ):
        raise ConfigError(
            f"--{field.name}={value!r} is a {type(value).__name__}; expected "
            f"{field.type.__name__}."
        )
    choices, minimum, above = (
        field.metadata[key] for key in ("choices", "minimum", "above")
    )
    if choices and value not in choices:
        raise ConfigError(
            f"--{field.name}={value} is not one of {', '.join(choices)}."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"--{field.name}={value} is not a finite number.")
    if minimum is not None and value < minimum:
        raise ConfigError(
            f"--{field.name}={value} is too small; the least is {minimum}."
        )
    if above is not None and value <= above:
        raise ConfigError(f"--{field.name}={value} must be above {above}.")


def define_flags(flag_values):
    """Defines one absl flag per setting in `flag_values`."""
    for field in dataclasses.fields(TrainConfig):
        text = field.metadata["help"]
        if field.metadata["choices"]:
            flags.DEFINE_enum(
                field.name,
                field.default,
                field.metadata["choices"],
                text,
                flag_values=flag_values,
            )
        else:
            define = {
                bool: flags.DEFINE_boolean,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                str: flags.DEFINE_string,
            }[field.type]
            define(field.name, field.default, text, flag_values=flag_values)


def parse_flags(arguments, program="vae-train"):
    """Returns the `TrainConfig` of a command line.

    Args:
        arguments: list of str, the command line without the program's name.
            absl's own `--flagfile=FILE` is understood.
        program: the name that usage text shows.

    Returns:
        A `TrainConfig`, or None when the command line asked for help.

    Raises:
        ConfigError: an unknown flag, a bad value, or a stray word.
    """
    flag_values = new_flags()
    define_flags(flag_values)
    if not parse_command(flag_values, arguments, program):
        return None
    settings = {
        field.name: flag_values[field.name].value
        for field in dataclasses.fields(TrainConfig)
    }
    if not flag_values["job_dir"].present:
        settings["job_dir"] = platform.job_dir() or settings["job_dir"]
    return TrainConfig(**settings)


def expand_flags(arguments, program="vae-train"):
    """Returns the flags that a command line gives, each with its value.

    What a `--flagfile` holds takes its place, so that the list means the same
    on a machine that does not have the file.

    Args:
        arguments: as for `parse_flags`, and no `--help` among them.
        program: the name that usage text shows.

    Returns:
        A list of str like `--name=value`, of a boolean `--name` or
        `--noname`, in the order of the settings.

    Raises:
        ConfigError: an unknown flag, a bad value, or a stray word.
    """
    flag_values = new_flags()
    define_flags(flag_values)
    parse_command(flag_values, arguments, program)
    given = (
        flag_values[field.name] for field in dataclasses.fields(TrainConfig)
    )
    return [flag.serialize() for flag in given if flag.present]


def new_flags():
    """Returns an empty set of absl flags with a `--help` of its own."""
    flag_values = flags.FlagValues()
    flags.DEFINE_boolean("help", False, "show this", flag_values=flag_values)
    return flag_values


def new_job_flags():
    """Returns the flags of a command that reads a checkpoint of a job."""
    flag_values = new_flags()
    flags.DEFINE_string(
        "job_dir",
        TrainConfig.job_dir,
        "the --job_dir of the training run",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "checkpoint",
        "last",
        "last, best (least test loss) or a step number",
        flag_values=flag_values,
    )
    return flag_values


def parse_command(flag_values, arguments, program):
    """Parses a command line strictly; False when it asked for help.

    absl's own `app.run` exits 1 on a bad flag, and accepts stray words.

    Raises:
        ConfigError: an unknown flag, a bad value, or a stray word.
    """
    try:
        _, *stray = flag_values([program, *arguments])
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    if flag_values["help"].value:
        print(f"usage: {program} [--flag=value ...]\n")
        print(flag_help(flag_values))
        return False
    if stray:
        raise ConfigError(
            f"{stray[0]!r} is not a flag; flags look like --epochs=3."
        )
    return True


def flag_help(flag_values):
    """Returns a line or two of help for each flag."""
    lines = ["--flagfile=FILE\n    read flags from a file, one a line"]
    for name in flag_values:
        flag = flag_values[name]
        values = ""
        if getattr(flag.parser, "enum_values", None):
            values = "|".join(flag.parser.enum_values) + ", "
        lines.append(
            f"--{name} ({values}default {flag.default_as_str})\n    {flag.help}"
        )
    return "\n".join(lines)
