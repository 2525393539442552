"""A trained model as files that need no trainer: SavedModel and Keras files."""

import keras

from trainer import files
from trainer.model.group_normalization import GroupNormalization
from trainer.model.saved_model import save_saved_model

# TensorFlow Serving looks for folders named by versions, and serves the
# highest.
_SAVED_MODEL, _VERSION = "saved_model", "1"


def save_models(vae, folder):
    """Writes `encoder.keras`, `decoder.keras` and `saved_model/1`.

    None of them needs this package. Each replaces what was there, and is
    there whole or not at all; several processes may do so at once. A subclass
    without `get_config` has no Keras file.

    Args:
        vae: a `trainer.model.vae.VAE`.
        folder: a `pathlib.Path`; made if it is not there.
    """
    versions = folder / _SAVED_MODEL
    versions.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(folder)
    files.remove_unfinished(versions)
    for role, part in _parts(vae):
        path = folder / f"{role}.keras"
        # Keras wants a name that ends in .keras, and writes in place.
        with files.unfinished_folder(path) as aside:
            part.save(aside / path.name)
            files.publish(aside / path.name, path)
    with files.new_folder(versions / _VERSION) as unfinished:
        save_saved_model(vae, unfinished)


def save_model_for_vertex(vae, folder):
    """Writes what Vertex AI takes as the model of a training job.

    Its TensorFlow containers want the SavedModel at the top of the folder.
    https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts
    The Keras files stand beside it.

    Args:
        vae: a `trainer.model.vae.VAE`.
        folder: a `pathlib.Path`, replaced as a whole.
    """
    with files.new_folder(folder) as unfinished:
        save_saved_model(vae, unfinished)
        for role, part in _parts(vae):
            part.save(unfinished / f"{role}.keras")


def left_out(vae):
    """Returns what to say of the Keras files that there are not, or ""."""
    saved = dict(_parts(vae))
    missing = [role for role in ("encoder", "decoder") if role not in saved]
    if not missing:
        return ""
    return (
        f"No Keras file of the {' and the '.join(missing)}: a subclass needs a "
        "get_config for that. The SavedModel has all."
    )


def _parts(vae):
    """Yields the parts that Keras can save, each with its role."""
    for role, part in (("encoder", vae.encoder), ("decoder", vae.decoder)):
        try:
            part.get_config()
        except NotImplementedError:  # A subclass that has not defined it.
            continue
        yield role, _of_keras_alone(part)


def _of_keras_alone(part):
    """Returns a model without layers of this package, with equal weights."""
    if not any(isinstance(each, GroupNormalization) for each in part.layers):
        return part
    plain = keras.models.clone_model(
        part,
        clone_function=lambda layer: (
            layer.plain()
            if isinstance(layer, GroupNormalization)
            else type(layer).from_config(layer.get_config())
        ),
    )
    plain.set_weights(part.get_weights())
    return plain
