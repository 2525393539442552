"""A `VAE` in a Keras file: its config, and the `VAE` that is built from it.

A built-in model is written down by its name and options: in a graph of layers,
those that encoder and decoder share would become two. Of any other model,
Keras writes down both parts.
"""

import contextlib
import dataclasses

import keras
import tensorflow as tf

from trainer.model import architectures, last_layer
from trainer.model.latents import Groups
from trainer.model_flags import GROUPED

_INSTEAD = "vae-export writes a SavedModel, which has all"


@dataclasses.dataclass(frozen=True)
class BuiltIn:
    """What the parts of a built-in model were built from.

    Attributes:
        model: str, as `--model` has it.
        options: dict, the values of its options.
        output_channels: int, as `Architecture.build` takes it.
    """

    model: str
    options: dict
    output_channels: int


def config_of(vae):
    """Returns what a `VAE` is built from, as JSON values.

    Raises:
        ValueError: Keras cannot write down its parts.
    """
    config = {
        "name": vae.name,
        "trainable": vae.trainable,
        "image_shape": list(vae.image_shape),
        "latent_dim": vae.latent_dim,
        "beta": float(vae.beta),
        **vae.settings,
    }
    config = {"settings": config, "dtype_policy": vae.dtype_policy.name}
    if vae.built_in is not None:
        return {**config, "built_in": dataclasses.asdict(vae.built_in)}
    parts = {"encoder": vae.encoder, "decoder": vae.decoder}
    _check_apart(vae)
    for role, part in parts.items():
        try:
            config[role] = keras.saving.serialize_keras_object(part)
        except NotImplementedError as error:
            raise ValueError(
                f"The {role} is a {type(part).__name__} that Keras cannot save "
                "without a get_config; define that (keras.Model.get_config "
                f"says how), or take another way: {_INSTEAD}."
            ) from error
    # An attribute, which Keras would lose.
    config["gives"] = last_layer.gives(vae.decoder)
    return config


def from_config(cls, config):
    """Returns the `VAE` of a config, with first weights.

    Args:
        cls: `VAE`.
        config: dict, as from `config_of`.
    """
    settings = config["settings"]
    image_shape = tuple(settings["image_shape"])
    latent_dim = settings["latent_dim"]
    with dtype_policy(config["dtype_policy"]):
        if "built_in" in config:
            built_in = BuiltIn(**config["built_in"])
            parts = architectures.find(built_in.model).build(
                image_shape,
                latent_dim,
                0,
                built_in.output_channels,
                built_in.options,
                settings.get("classes", 0),
            )
        else:
            built_in = None
            parts = _deserialized(config, image_shape, latent_dim)
        vae = cls(*parts, **settings)
    vae.built_in = built_in
    return vae


@contextlib.contextmanager
def dtype_policy(name):
    """Makes a dtype policy Keras's own while the block runs."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(keras.dtype_policies.DTypePolicy(name))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _deserialized(config, image_shape, latent_dim):
    """Returns the encoder and the decoder, with weights."""
    encoder, decoder = (
        keras.saving.deserialize_keras_object(config[role])
        for role in ("encoder", "decoder")
    )
    if type(decoder) is keras.Sequential:
        # Keras calls its layers once more for each that it adds, and then
        # `last_layer` could not see through it.
        decoder = keras.models.clone_model(decoder)
    if config["gives"] is not None:
        decoder.gives = config["gives"]
    # A subclass has weights once it was called.
    for part, shape in ((encoder, image_shape), (decoder, [latent_dim])):
        values = tf.zeros([1, *shape], part.variable_dtype)
        has_labels = config["settings"].get("classes", 0)
        part([values, tf.zeros([1], tf.int32)] if has_labels else values)
    return encoder, decoder


def _check_apart(vae):
    """Refuses parts that two graphs of layers are not enough for."""
    if isinstance(getattr(vae.encoder, "latents", None), Groups):
        raise ValueError(
            "The latent units come in groups, which a Keras file has of "
            f"--model={' and '.join(GROUPED)} alone, and of a model that "
            f"trainer.load gave; {_INSTEAD}."
        )
    of_encoder = {id(weight) for weight in vae.encoder.weights}
    if of_encoder & {id(weight) for weight in vae.decoder.weights}:
        raise ValueError(
            "The encoder and the decoder share weights, which would be two "
            f"after a Keras file; {_INSTEAD}."
        )
