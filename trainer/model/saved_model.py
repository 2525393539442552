"""The SavedModel of a trained VAE, for TensorFlow Serving and the like."""

import tensorflow as tf

from trainer import randomness
from trainer.model import inference


def save_saved_model(vae, folder):
    """Writes a model as a TensorFlow SavedModel.

    It loads with `tf.saved_model.load`, without this package and without
    Keras. Signatures, with their inputs and outputs by name:

    - `encode`: `images` -> `z_mean`, `z_log_var`, float32 (N, latent_dim). Of
      several groups of latent units each where those above are at their means.
    - `decode`: `z`, float32 (N, latent_dim) -> `images`, `pixels`.
    - `reconstruct`, which is also `serving_default`: `images` -> `images`,
      `pixels`, decoded from the posterior means.
    - `generate`: `count` and `seed`, int32 scalars -> `images`, `pixels`,
      decoded from draws from the prior: those that `vae-generate` decodes.

    A model of `--condition=labels` takes `labels` too, int32 of shape (N,), in
    every signature; `generate` may have one label for all images. Labels out
    of range are an error.

    Every result is a function of the inputs alone. `images` going in are
    uint8 from 0 to 255, as image files hold them; coming out they are
    float32 in [0, 1], and `pixels` are the same as uint8. Both are of shape
    (N, height, width, channels).

    Args:
        vae: a `trainer.model.vae.VAE`.
        folder: a `pathlib.Path`, empty or not there yet.
    """
    module = tf.Module()
    # The variables alone: with the Keras models, all their layers would be
    # saved once more, as objects that need Keras.
    module.weights = [
        variable.value
        for part in (vae.encoder, vae.decoder)
        for variable in part.weights
    ]
    signatures = _signatures(vae)
    signatures["serving_default"] = signatures["reconstruct"]
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _signatures(vae):
    """Returns a traced function for each signature, by name."""
    images_spec = tf.TensorSpec((None, *vae.image_shape), tf.uint8, "images")
    # As constants: a server need not encode the pseudo-inputs of a prior.
    components = [tf.constant(part.numpy()) for part in vae.components()]
    z_spec = tf.TensorSpec((None, vae.latent_dim), tf.float32, "z")
    count_spec = tf.TensorSpec((), tf.int32, "count")
    seed_spec = tf.TensorSpec((), tf.int32, "seed")
    labels_spec = tf.TensorSpec((None,), tf.int32, "labels")

    def decoded(z, labels):
        images = vae.decode(z, labels)
        return {
            "images": tf.cast(images, tf.float32),
            "pixels": inference.to_pixels(images),
        }

    def encode(images, labels=None):
        z_mean, z_log_var = vae.encode(images, labels)
        return {
            "z_mean": tf.cast(z_mean, tf.float32),
            "z_log_var": tf.cast(z_log_var, tf.float32),
        }

    def decode(z, labels=None):
        return decoded(z, labels)

    def reconstruct(images, labels=None):
        z_mean, _ = vae.encode(images, labels)
        return decoded(z_mean, labels)

    def generate(count, seed, labels=None):
        z = vae.prior.draw(
            tf.cast(seed, tf.int64),
            randomness.Tag.PICTURES,
            row=0,
            position=0,
            count=count,
            components=components,
        )
        return decoded(z, labels)

    inputs = {
        encode: [images_spec],
        decode: [z_spec],
        reconstruct: [images_spec],
        generate: [count_spec, seed_spec],
    }
    of_labels = [labels_spec] if vae.classes else []
    return {
        function.__name__: tf.function(
            function, input_signature=[*specs, *of_labels]
        ).get_concrete_function()
        for function, specs in inputs.items()
    }
