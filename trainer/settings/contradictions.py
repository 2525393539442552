"""Settings that cannot be together: each pair, and what to do about it."""

from trainer.errors import ConfigError
from trainer.model_flags import BUILT_IN, CONDITIONAL, GROUPED
from trainer.settings.model import PRIOR_COMPONENTS


def conditional_models():
    """Returns which models `--condition=labels` is for, as a message says."""
    built_in = ", ".join(f"--model={name}" for name in CONDITIONAL)
    return f"{built_in} and functions of yours that take classes"


def refuse(config):
    """Refuses a config whose settings contradict each other.

    Args:
        config: a `TrainConfig`, each of whose values can be by itself.

    Raises:
        ConfigError: the message says which of them, and what to leave out.
    """
    if config.dataset in ("idx", "prepared") and not config.data_dir:
        raise ConfigError(
            f"--dataset={config.dataset} needs --data_dir=FOLDER."
        )
    if config.dataset == "synthetic" and config.data_dir:
        raise ConfigError(
            "--dataset=synthetic reads no files, but --data_dir="
            f"{config.data_dir} was given; leave one of them out."
        )
    if config.binarize != "none" and config.reconstruction_loss != "bce":
        raise ConfigError(
            f"--binarize={config.binarize} makes pixels 0 or 1, but "
            f"--reconstruction_loss={config.reconstruction_loss} is not for "
            "such; use --reconstruction_loss=bce."
        )
    if config.initial_units > config.latent_dim:
        raise ConfigError(
            f"--initial_units={config.initial_units} is more than "
            f"--latent_dim={config.latent_dim}; give at most that, or 0 for "
            "all."
        )
    if config.initial_units and config.init_from:
        raise ConfigError(
            f"--initial_units={config.initial_units} begins with weights of "
            f"zero, but --init_from={config.init_from} with those of a job; "
            "leave one of them out."
        )
    if config.patience_epochs and not config.eval_epochs:
        raise ConfigError(
            f"--patience_epochs={config.patience_epochs} looks at the held-out "
            "loss, but --eval_epochs=0 evaluates only at the end; leave one of "
            "them out."
        )
    if config.strategy == "none" and config.virtual_devices > 1:
        raise ConfigError(
            "--strategy=none uses one device, but --virtual_devices="
            f"{config.virtual_devices} asks for {config.virtual_devices}; "
            "leave one of them out."
        )
    if config.mixed_precision != "none" and config.precision != "float32":
        raise ConfigError(
            f"--mixed_precision={config.mixed_precision} keeps float32 "
            f"weights, but --precision={config.precision} was given; leave "
            "one of them out."
        )
    if config.prior == "standard" and (
        config.prior_components != PRIOR_COMPONENTS
    ):
        raise ConfigError(
            f"--prior_components={config.prior_components} is for "
            "--prior=vamp; leave one of them out."
        )
    if config.prior == "vamp" and config.model in GROUPED:
        raise ConfigError(
            "--prior=vamp mixes the posteriors of one group of latent units, "
            f"but --model={config.model} has several, with priors of their "
            "own; leave one of them out."
        )
    if config.condition == "labels" and (
        config.model in BUILT_IN and config.model not in CONDITIONAL
    ):
        raise ConfigError(
            f"--condition=labels is for {conditional_models()}, but "
            f"--model={config.model} takes no labels; give one of those, or "
            "leave --condition out."
        )
    if config.condition == "labels" and config.prior == "vamp":
        raise ConfigError(
            "--prior=vamp mixes the posteriors of images without labels, but "
            "--condition=labels gives the encoder a label with each; leave one "
            "of them out."
        )
    if config.prior == "vamp" and config.free_bits > 0:
        raise ConfigError(
            f"--free_bits={config.free_bits} needs the KL of each latent unit, "
            "but --prior=vamp gives one of all units together; leave one of "
            "them out."
        )
    if config.free_bits > 0 and config.jit_compile == "true":
        # The clamp needs an all-reduce in the middle of the step, and
        # XLA compiles only what lies between two all-reduces.
        raise ConfigError(
            f"--free_bits={config.free_bits} does not work with "
            "--jit_compile=true; use --jit_compile=auto."
        )
    if config.free_bits > 0 and config.microbatches > 1:
        raise ConfigError(
            f"--free_bits={config.free_bits} looks at the KL of the whole "
            f"batch, but --microbatches={config.microbatches} never has all of "
            "it at once; leave one of them out."
        )
