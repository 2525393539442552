"""TrainConfig: every setting of a job, declared once.

Flags and their help, JSON, what a resume or a worker may have otherwise and
what a search may tune are derived from the declarations.
"""

import dataclasses

from trainer import contradictions, model_flags, named_datasets, places
from trainer.declaration import (
    MOST,
    ROLES,
    check_value,
    declared,
    setting,
)
from trainer.errors import ConfigError

# Of a shape in TensorFlow's operations for random numbers, and of a count of
# steps in one call: an int32.
_MOST_IN_SHAPE = 2**31 - 1
# TensorFlow needs minutes to make as many devices of a CPU.
_MOST_VIRTUAL_DEVICES = 1024
# Numbers of replicas that a message looks for.
_MOST_PROPOSED = 4096
# Why a search for the least test loss leaves a setting alone.
_NOT_BETTER = "it decides how a result is computed, not how good it is"
_OTHER_DATA = "trials would be compared on other data"
_OTHER_LOSS = "trials could not be compared by their test loss"


@declared
class TrainConfig:
    """Settings of a training job.

    Raises:
        ConfigError: a value is out of range, or two values contradict.
    """

    job_dir: str = setting(
        "runs/vae",
        "folder of the job, local or gs://bucket/folder: checkpoints, logs "
        "and pictures; on Vertex AI its base output directory if not given",
        group="Job directory",
        role="worker",
        unit="folder",
        common=True,
    )
    resume: str = setting(
        "auto",
        "auto: go on where an existing job directory stopped; never: refuse "
        "one that is not empty; must: refuse an empty one",
        group="Job directory",
        role="worker",
        choices=("auto", "never", "must"),
    )
    # A resume may ask by another name for the data that it has; that it is
    # the same data is for `JobDir.check_settings` to say.
    dataset: str = setting(
        "auto",
        "what to train on; auto: what lies in --data_dir, or "
        f"{named_datasets.DEFAULT} if it is not given; prepared: what vae-data "
        "prepare made; idx: any folder of IDX files; synthetic: drawn by the "
        "program, needs nothing; others: the published dataset of that name",
        group="Data",
        role="run",
        not_tuned=_OTHER_DATA,
        choices=(
            "auto",
            *named_datasets.NAMED,
            "prepared",
            "idx",
            "synthetic",
        ),
        common=True,
    )
    data_dir: str = setting(
        "",
        "folder of the data, local or gs://; if given, only it is looked at, "
        "else the Keras cache, else download",
        group="Data",
        role="worker",
        not_tuned=_OTHER_DATA,
        unit="folder",
        common=True,
    )
    data_url: str = setting(
        "",
        "folder on the web that a dataset with a name is downloaded from; if "
        "not given, the address at which it is published",
        group="Data",
        role="worker",
        unit="url",
    )
    cache_gib: float = setting(
        0.0,
        "how much of this machine's disk a dataset in a bucket may take; 0: "
        "what is free",
        group="Data",
        role="worker",
        unit="gib",
        minimum=0,
    )
    dataset_fallback: str = setting(
        "none",
        "what a new job without --data_dir trains on when the data cannot be "
        "had",
        group="Data",
        role="worker",
        not_tuned=_OTHER_DATA,
        choices=("none", "synthetic"),
    )
    train_examples: int = setting(
        0,
        "how many training images to use, the first ones; 0: all",
        group="Data",
        role="mathematics",
        not_tuned=f"{_OTHER_DATA}: with --binarize=dynamic it decides which "
        "images are held out, and how the test set is drawn",
        unit="images",
        minimum=0,
    )
    test_examples: int = setting(
        0,
        "how many test images to use, the first ones; 0: all",
        group="Data",
        role="mathematics",
        not_tuned=_OTHER_DATA,
        unit="images",
        minimum=0,
    )
    validation_share: float = setting(
        0.0,
        "share of the training images that is held out, by what is in them: "
        "the best checkpoint is chosen on these, and the test set is for "
        "vae-evaluate alone; 0: none, unless the data has a validation set",
        group="Data",
        role="mathematics",
        not_tuned=_OTHER_DATA,
        minimum=0,
        maximum=0.9,
    )
    epochs: int = setting(
        100,
        "passes over the training images",
        group="Length",
        role="length",
        not_tuned="",
        unit="epochs",
        minimum=1,
        common=True,
    )
    max_steps: int = setting(
        0,
        "stop after this many steps if --epochs has not; 0: no such limit",
        group="Length",
        role="length",
        not_tuned="",
        unit="steps",
        minimum=0,
    )
    patience_epochs: int = setting(
        0,
        "end the training when the held-out loss has not been better for so "
        "many epochs; 0: never",
        group="Length",
        role="length",
        not_tuned="trials would end at other steps by luck",
        unit="epochs",
        minimum=0,
    )
    batch_size: int = setting(
        128,
        "images in a training step, over all replicas together",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        unit="images",
        minimum=1,
        maximum=_MOST_IN_SHAPE,
        common=True,
    )
    model: str = setting(
        "notebook",
        "notebook: two convolutions and 16 hidden units; mlp: gated dense "
        "layers; conv: residual blocks, for pictures; hierarchy: the same with "
        "groups of latent units; or a function of yours, "
        "package.module:function. With --help, its options are listed",
        group="Model and objective",
        role="mathematics",
        not_tuned="a search varies numbers, and models have options of their "
        "own",
        unit="name",
        common=True,
    )
    model_options: str = setting(
        "",
        "options of the model, for instance width=64,depth=2",
        group="Model and objective",
        role="mathematics",
        not_tuned="a search varies numbers, and this is a list",
        unit="name=value",
    )
    latent_dim: int = setting(
        200,
        "number of latent units",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="units",
        minimum=1,
        maximum=_MOST_IN_SHAPE,
        common=True,
    )
    # A resume may leave it out: that is for `JobDir.check_settings` to say.
    init_from: str = setting(
        "",
        "job whose weights a new job begins with, local or gs://: those that "
        "fit by name and shape. @last (if nothing is said), @best or @STEP "
        "names the checkpoint. A resume reads it no more, and may leave it out",
        group="Model and objective",
        role="mathematics",
        not_tuned="a search varies numbers, and this is a job",
        unit="folder[@checkpoint]",
    )
    initial_units: int = setting(
        0,
        "latent units that the training starts with; the weights of the others "
        "start at zero; 0: all",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="units",
        minimum=0,
    )
    reconstruction_loss: str = setting(
        "mse",
        "mse: squared error summed over pixels; bce: Bernoulli; gaussian: "
        "with one learned variance; gaussian_by_channel: with one a channel; "
        "laplace: with one learned scale; logistic: of 8-bit levels, for bits "
        "per dimension",
        group="Model and objective",
        role="mathematics",
        not_tuned=_OTHER_LOSS,
        choices=(
            "mse",
            "bce",
            "gaussian",
            "gaussian_by_channel",
            "laplace",
            "logistic",
        ),
        common=True,
    )
    binarize: str = setting(
        "none",
        "dynamic: pixels are 0 or 1, drawn anew at each step; needs "
        "--reconstruction_loss=bce, and evaluates on a sixth of the training "
        "images",
        group="Data",
        role="mathematics",
        not_tuned=_OTHER_LOSS,
        choices=("none", "dynamic"),
    )
    prior: str = setting(
        "standard",
        "standard: N(0, 1) in each latent unit; vamp: the mean posterior of "
        "--prior_components trained images (VampPrior), whose KL is estimated "
        "from one sample",
        group="Model and objective",
        role="mathematics",
        not_tuned="one KL is exact and the other an estimate; compare the best "
        "of each by log p(x), with vae-evaluate",
        choices=("standard", "vamp"),
    )
    prior_components: int = setting(
        contradictions.PRIOR_COMPONENTS,
        "pseudo-inputs of --prior=vamp; a step encodes them beside its batch",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        minimum=1,
        maximum=65536,
    )
    condition: str = setting(
        "none",
        "labels: the encoder and the decoder are given the class of an image, "
        "so that images of a class can be drawn; for --model=mlp, conv and "
        "those of yours that take classes, on data with labels",
        group="Model and objective",
        role="mathematics",
        not_tuned=_OTHER_LOSS,
        choices=("none", "labels"),
    )
    beta: float = setting(
        1.0,
        "weight of the KL divergence",
        group="Model and objective",
        role="mathematics",
        not_tuned=_OTHER_LOSS,
        minimum=0,
        common=True,
    )
    kl_warmup_epochs: float = setting(
        2.0,
        "time over which the weight of the KL divergence rises from 0 to "
        "--beta; 0: none, which is the notebook's recipe, and collapses",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="epochs",
        minimum=0,
    )
    free_bits: float = setting(
        0.0,
        "how much of the KL divergence is not penalised in each latent unit",
        group="Model and objective",
        role="mathematics",
        not_tuned="",
        unit="nats",
        minimum=0,
    )
    learning_rate: float = setting(
        0.001,
        "step size of Adam",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        above=0,
        common=True,
    )
    adam_epsilon: float = setting(
        1e-7,
        "epsilon of Adam: gradients smaller than it make smaller steps",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        above=0,
    )
    learning_rate_schedule: str = setting(
        "constant",
        "cosine: the learning rate falls to 0 at the last step",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        choices=("constant", "cosine"),
    )
    warmup_steps: int = setting(
        0,
        "steps over which the learning rate rises from 0 to --learning_rate",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        unit="steps",
        minimum=0,
    )
    clip_norm: float = setting(
        0.0,
        "longest gradient, over all weights together: a longer one is scaled "
        "down; 0: any length",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        minimum=0,
    )
    weight_decay: float = setting(
        0.0,
        "part of each kernel that a step takes away, times the learning rate "
        "(AdamW); biases and scales keep theirs",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        minimum=0,
    )
    ema: float = setting(
        0.0,
        "decay of an average of the weights, for instance 0.999, which is "
        "what is evaluated, drawn, exported and loaded; 0: no average",
        group="Optimizer",
        role="mathematics",
        not_tuned="",
        minimum=0,
        maximum=0.999999,
    )
    seed: int = setting(
        0,
        "seed of the weights, the data order and the noise",
        group="Model and objective",
        role="mathematics",
        not_tuned="the trial with the least test loss would be the luckiest, "
        "not the best; train the best again with other seeds",
        minimum=0,
        common=True,
    )
    strategy: str = setting(
        "auto",
        "mirrored: all GPUs of this machine, or its CPU; none: its first "
        "device alone; multi_worker: all machines that TF_CONFIG, Slurm or "
        "Kubernetes names; auto: those, or mirrored if there are none",
        group="Devices",
        role="run",
        choices=("auto", "mirrored", "multi_worker", "none"),
    )
    virtual_devices: int = setting(
        0,
        "split the CPU in N, to run N replicas without a GPU; where there is "
        "one GPU, split that, with --gpu_memory_limit_gib",
        group="Devices",
        role="run",
        minimum=0,
        maximum=_MOST_VIRTUAL_DEVICES,
    )
    gpu_memory_limit_gib: float = setting(
        0.0,
        "how much memory of each GPU the job takes at most; 0: what it needs",
        group="Devices",
        role="worker",
        unit="gib",
        minimum=0,
    )
    require_exact: bool = setting(
        False,
        "refuse to go on with a job on other GPUs, drivers or libraries than "
        "it was trained on, where the result would not be the same bit for bit",
        group="Devices",
        role="run",
    )
    cluster_timeout_seconds: float = setting(
        600.0,
        "how long to wait for the other machines before the job stops, to be "
        "run again",
        group="Devices",
        role="worker",
        unit="seconds",
        above=0,
    )
    cluster_secret: str = setting(
        "auto",
        "how the machines prove to each other that they belong to the job. "
        "none: by having the same flags, which keeps accidents out, not "
        "strangers; job_dir: by a secret that the chief leaves in the job "
        "directory while they meet, so all must read it; token_file: by that "
        "of --cluster_token_file; auto: that if it is given, else none",
        group="Devices",
        role="worker",
        choices=("auto", "none", "job_dir", "token_file"),
    )
    cluster_token_file: str = setting(
        "",
        "file with a secret of 16 bytes or more, the same on all machines",
        group="Devices",
        role="worker",
        unit="file",
    )
    hang_seconds: float = setting(
        0.0,
        "how long a call of training steps may take before the job says where "
        "it hangs and stops, to be run again; 0: 20 times as long as such a "
        "call usually takes, and 120 at least",
        group="Devices",
        role="worker",
        unit="seconds",
        minimum=0,
    )
    steps_per_call: int = setting(
        0,
        "training steps inside one tf.function call; 0: as many as take "
        "about a second",
        group="Precision and speed",
        role="run",
        unit="steps",
        minimum=0,
        maximum=_MOST_IN_SHAPE,
    )
    microbatches: int = setting(
        1,
        "equal slices of a replica's batch that are computed one after "
        "another, so that a step takes less memory; the result is the same up "
        "to rounding",
        group="Precision and speed",
        role="run",
        minimum=1,
        maximum=_MOST_IN_SHAPE,
    )
    # A resume may say in another word what came out of auto; that it comes
    # out the same is for `JobDir.check_resume` to say.
    jit_compile: str = setting(
        "auto",
        "XLA; auto: on GPU, not on CPU",
        group="Precision and speed",
        role="run",
        choices=("auto", "true", "false"),
    )
    precision: str = setting(
        "float32",
        "number type of weights and losses; float64 shows that replicas agree",
        group="Precision and speed",
        role="mathematics",
        not_tuned=_NOT_BETTER,
        choices=("float32", "float64"),
    )
    mixed_precision: str = setting(
        "none",
        "bfloat16: compute in bfloat16, keep float32 weights",
        group="Precision and speed",
        role="mathematics",
        not_tuned="",
        choices=("none", "bfloat16"),
    )
    deterministic: bool = setting(
        True,
        "end with the same weights, bit for bit, on the same kind of machine",
        group="Precision and speed",
        role="mathematics",
        not_tuned=_NOT_BETTER,
    )
    tf32: str = setting(
        "auto",
        "whether a GPU multiplies float32 numbers with 10 bits of mantissa "
        "(TensorFloat-32), which is faster; auto: only with "
        "--nodeterministic. A CPU never does, and vae-evaluate never",
        group="Precision and speed",
        role="mathematics",
        not_tuned=_NOT_BETTER,
        choices=("auto", "on", "off"),
    )
    checkpoint_steps: int = setting(
        0,
        "steps between checkpoints; 0: one epoch",
        group="Checkpoints and logs",
        role="run",
        unit="steps",
        minimum=0,
    )
    keep_checkpoints: int = setting(
        3,
        "newest checkpoints to keep, beside the best",
        group="Checkpoints and logs",
        role="run",
        minimum=1,
    )
    summary_steps: int = setting(
        50,
        "steps between rows of training losses",
        group="Checkpoints and logs",
        role="run",
        unit="steps",
        minimum=1,
    )
    eval_epochs: int = setting(
        1,
        "epochs between evaluations; 0: only at the end",
        group="Checkpoints and logs",
        role="run",
        unit="epochs",
        minimum=0,
    )
    image_epochs: int = setting(
        1,
        "epochs between TensorBoard images; 0: only at the end",
        group="Checkpoints and logs",
        role="run",
        unit="epochs",
        minimum=0,
    )
    storage_timeout_seconds: float = setting(
        120.0,
        "how long a bucket may be out of reach before the job stops, to be "
        "run again",
        group="Job directory",
        role="worker",
        unit="seconds",
        above=0,
    )
    log_format: str = setting(
        "auto",
        "json: one object a line with a severity, as Google Cloud's logs want "
        "it; auto: json on Vertex AI, else text",
        group="Checkpoints and logs",
        role="worker",
        choices=("auto", "text", "json"),
    )
    metrics_port: int = setting(
        0,
        "port at which a Prometheus server finds step, losses, speed and where "
        "the time goes; 0: none",
        group="Checkpoints and logs",
        role="worker",
        minimum=0,
        maximum=65535,
    )
    metrics_host: str = setting(
        "127.0.0.1",
        "address at which --metrics_port listens; 0.0.0.0: at all of this "
        "machine, so that whoever reaches it reads the metrics",
        group="Checkpoints and logs",
        role="worker",
        unit="address",
    )
    profile_steps: str = setting(
        "",
        "write a TensorBoard profile of these steps",
        group="Checkpoints and logs",
        role="run",
        unit="first,last",
    )

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
