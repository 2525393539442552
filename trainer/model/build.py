"""The `VAE` that a `TrainConfig` describes, with its first weights."""

import contextlib
import random
import threading

from trainer import arithmetic as arithmetic_lib
from trainer.errors import ConfigError
from trainer.model import (
    architectures,
    contract,
    keras_file,
    likelihoods,
    options,
    users_code,
)
from trainer.model.vae import VAE
from trainer.settings import contradictions


def find_model(config):
    """Returns the `Architecture` of a config, and the values of its options.

    Raises:
        ConfigError: there is no such model, or no such option of it, or it
            is given labels and takes none.
    """
    architecture = architectures.find(config.model)
    values = options.resolve(
        config.model_options, architecture.options, config.model
    )
    if config.initial_units and not architecture.silence:
        raise ConfigError(
            f"--initial_units={config.initial_units} is for --model=notebook; "
            f"leave it out with --model={config.model}."
        )
    if config.condition == "labels" and not architecture.takes_classes:
        raise ConfigError(
            f"--condition=labels is for {contradictions.conditional_models()}, "
            f"but --model={config.model} does not take classes; see "
            "docs/own_models.md, or leave --condition out."
        )
    if config.condition == "none" and architecture.needs_classes:
        raise ConfigError(
            f"--model={config.model} takes classes without a default; give "
            "--condition=labels, or build(..., classes=0) for a model without."
        )
    return architecture, values


def description(config):
    """Returns what a job records of its model, as JSON values.

    Raises:
        As `find_model`.
    """
    architecture, values = find_model(config)
    return {
        "name": architecture.name,
        "options": values,
        "source": architecture.source,
    }


def build_vae(config, image_shape, arithmetic=arithmetic_lib.NEWEST, classes=0):
    """Returns the `VAE` of a `TrainConfig`, built, with its first weights.

    Args:
        config: a `TrainConfig`.
        image_shape: (height, width, channels).
        arithmetic: int, the version of the job's.
        classes: int, how many the labels of `--condition=labels` have.

    Raises:
        ConfigError: there is no such model, or it breaks the contract.
        ValueError: it cannot be of such images.
    """
    architecture, values = find_model(config)
    likelihood = likelihoods.find(config.reconstruction_loss, arithmetic)
    policy = (
        config.precision
        if config.mixed_precision == "none"
        else f"mixed_{config.mixed_precision}"
    )
    image_shape = tuple(image_shape)
    output_channels = image_shape[-1] * likelihood.parameters_a_value

    def build():
        with _seeded(config.seed):
            return architecture.build(
                image_shape,
                config.latent_dim,
                config.seed,
                output_channels,
                values,
                classes,
            )

    with keras_file.dtype_policy(policy):
        if architecture.is_built_in:
            models = build()
        else:
            given = image_shape, config.latent_dim, likelihood, classes
            models = _of_a_user(architecture.name, build, given)
        vae = VAE(
            *models,
            reconstruction_loss=config.reconstruction_loss,
            beta=config.beta,
            arithmetic=arithmetic,
            image_shape=image_shape,
            latent_dim=config.latent_dim,
            prior_components=(
                config.prior_components if config.prior == "vamp" else 0
            ),
            classes=classes,
            name="vae",
        )
    if architecture.is_built_in:
        vae.built_in = keras_file.BuiltIn(
            architecture.name, values, output_channels
        )
    if config.initial_units:
        architecture.silence(vae.encoder, vae.decoder, config.initial_units)
    return vae


def _of_a_user(name, build, given):
    """Returns the encoder and the decoder of a function that is not ours.

    Args:
        name: str, what `--model` says.
        build: calls the function.
        given: what `contract.check` takes beside them.

    Raises:
        ConfigError: they break the contract, or the function fails.
    """
    try:
        models, again = build(), build()
        contract.check(models, *given)
        contract.call(again, *given)
        contract.check_same(models, again)
    except contract.BrokenError as error:
        raise ConfigError(f"--model={name}: {error}") from error
    except users_code.RAISED as error:
        if users_code.draws_numbers(error):
            raise ConfigError(
                f"--model={name}: it draws random numbers of its own, so that "
                "no run could be repeated; leave that out: the trainer draws "
                "the noise of z."
            ) from error
        raise ConfigError(
            f"--model={name}: it fails to build ({users_code.reason(error)}); "
            "mend it, and run the same command again."
        ) from error
    return models


@contextlib.contextmanager
def _seeded(seed):
    """Makes initializers that have no seed a function of this one.

    Keras asks `random.randint` for their seeds. Other threads draw from the
    same generator, such as a client of a bucket that waits before it tries
    again, so this thread is answered from a generator of its own.
    """
    builder, shared = threading.get_ident(), random.randint
    generator = random.Random(seed)  # noqa: S311 - of first weights.

    def randint(low, high):
        is_builder = threading.get_ident() == builder
        return (generator.randint if is_builder else shared)(low, high)

    random.randint = randint
    try:
        yield
    finally:
        random.randint = shared
