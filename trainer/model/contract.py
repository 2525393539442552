"""What a model has to keep, so that the laws of the trainer hold for it.

A model is an encoder, a `keras.Model` from images to [z_mean, z_log_var], and
a decoder, one from z to the parameters of pixels (`likelihoods`). With classes
the first takes [images, labels] and the second [z, labels]. Each image is
computed by itself, and each result is a function of weights and inputs alone:
docs/own_models.md.
"""

import re

import keras
import numpy as np
import tensorflow as tf

from trainer.model import last_layer, users_code

_RANDOM = "it draws random numbers of its own; leave it out"
# Why a layer cannot be in a model, and what to use instead.
_REFUSED = {
    keras.layers.BatchNormalization: "it looks at all images of a replica's "
    "batch; use GroupNormalization or LayerNormalization",
    keras.layers.SpectralNormalization: "it keeps a state that each step "
    "changes; use a constraint or weight decay",
}
# What layers call how much they drop, or how far they move a value.
_AMOUNTS = ("rate", "stddev", "dropout", "recurrent_dropout")
# A last bit or two: where a batch begins shows in them.
_TOLERANCE = 1e-3
_PROBES = 3
# Types of operations: those that call Python, and those that draw numbers from
# a state, as `tf.random.normal` does.
_IN_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_DRAWING = re.compile(
    "Random|Multinomial|(Parameterized)?TruncatedNormal|"
    "Stateful(Random|StandardNormal|TruncatedNormal|Uniform)"
)


class BrokenError(Exception):
    """A model does not keep the contract; the message is one sentence."""


def check(models, image_shape, latent_dim, likelihood, classes=0):
    """Refuses a model that does not keep the contract.

    Args:
        models: what a build function returned: (encoder, decoder).
        image_shape: (height, width, channels).
        latent_dim: int, number of latent units.
        likelihood: the `Likelihood` that its pixels get.
        classes: int, of a model that takes labels; else 0.

    Raises:
        BrokenError: the message says what it does, what was expected, and what
            to use instead.
    """
    images, z = call(models, image_shape, latent_dim, likelihood, classes)
    encoder, decoder = models
    for part, role, inputs in (
        (encoder, "encoder", images),
        (decoder, "decoder", z),
    ):
        _check_layers(part, role)
        _check_variables(part, role)
        if part.losses:
            raise BrokenError(
                f"The {role} has a loss of its own (a regularizer or "
                "add_loss), but what is minimised is --reconstruction_loss and "
                "the KL alone; leave it out."
            )
        _check_function(part, role, inputs)
        _check_graph(part, role, inputs)
    _check_gradients(models, images, z)
    if likelihood.from_logits and last_layer.gives(decoder) is None:
        raise BrokenError(
            "The decoder ends neither in a linear layer nor in a sigmoid, so "
            "that --reconstruction_loss=bce cannot know whether it gives "
            "logits or probabilities; set decoder.gives to one of these words."
        )


def call(models, image_shape, latent_dim, likelihood, classes=0):
    """Calls a model once, so that it has weights, and looks at what it gives.

    Args:
        models: as of `check`.
        image_shape: as of `check`.
        latent_dim: as of `check`.
        likelihood: as of `check`.
        classes: as of `check`.

    Returns:
        (images, z): what it was called on; with classes, lists of these and
        labels.

    Raises:
        BrokenError: as `check`.
    """
    if not isinstance(models, (tuple, list)) or len(models) != 2:
        raise BrokenError(
            f"The function returns a {type(models).__name__}, not (encoder, "
            "decoder)."
        )
    encoder, decoder = models
    for part, role in ((encoder, "encoder"), (decoder, "decoder")):
        if not isinstance(part, keras.Model):
            raise BrokenError(
                f"The {role} is a {type(part).__name__}, not a keras.Model; "
                "the function has to return (encoder, decoder)."
            )
    if classes:
        _check_inputs(encoder, "encoder", "images")
        _check_inputs(decoder, "decoder", "z")
    generator = np.random.default_rng(0)
    dtype = encoder.variable_dtype
    images = tf.constant(generator.uniform(size=(_PROBES, *image_shape)), dtype)
    z = tf.constant(generator.normal(size=(_PROBES, latent_dim)), dtype)
    if classes:
        labels = tf.range(_PROBES, dtype=tf.int32) % classes
        images, z = [images, labels], [z, labels]
    _check_encoder(_called(encoder, "encoder", images), latent_dim)
    _check_decoder(_called(decoder, "decoder", z), image_shape, likelihood)
    return images, z


def check_same(models, others):
    """Refuses a model that two builds with one seed give other weights.

    Args:
        models: (encoder, decoder).
        others: (encoder, decoder) of another build.

    Raises:
        BrokenError: a weight differs.
    """
    for part, other in zip(models, others, strict=True):
        if len(part.weights) != len(other.weights):
            raise BrokenError(
                f"Two builds with the same seed have {len(part.weights)} and "
                f"{len(other.weights)} weights; a build has to be a function "
                "of its arguments."
            )
        for weight, twin in zip(part.weights, other.weights, strict=True):
            if not np.array_equal(weight.numpy(), twin.numpy()):
                raise BrokenError(
                    f"Two builds with the same seed gave {weight.path} other "
                    "values; make the first weights of initializers alone, "
                    "such as keras.initializers.GlorotUniform(seed=seed)."
                )


def _called(part, role, inputs):
    """Returns what a part of a model makes of inputs."""
    try:
        return part(inputs, training=False)
    except users_code.RAISED as error:
        if users_code.draws_numbers(error):
            raise _drawing(role) from error
        raise BrokenError(
            f"The {role} fails on {_of_shapes(inputs)} "
            f"({users_code.said(error)}); mend it."
        ) from error


def _check_inputs(part, role, values):
    """Refuses a graph of layers that has no place for labels.

    Keras would drop them with a warning.
    """
    inputs = getattr(part, "inputs", None)
    if inputs is not None and len(inputs) != 2:
        raise BrokenError(
            f"The {role} has {len(inputs)} inputs, but with --condition=labels "
            f"it has to take [{values}, labels]; make it "
            f"keras.Model([{values}, labels], ...)."
        )


def _of_shapes(inputs):
    """Returns what to say of inputs: a batch, or one with labels."""
    if not isinstance(inputs, list):
        return f"a batch of shape {tuple(inputs.shape)}"
    values, labels = (tuple(part.shape) for part in inputs)
    return f"a list of a batch of shape {values} and labels of shape {labels}"


def _check_encoder(posterior, latent_dim):
    expected = (_PROBES, latent_dim)
    found = (
        [tuple(getattr(part, "shape", ())) for part in posterior]
        if isinstance(posterior, (list, tuple))
        else tuple(getattr(posterior, "shape", ()))
    )
    if found != [expected] * 2:
        raise BrokenError(
            f"The encoder gives {_of_one(found)} for an image, not "
            "[z_mean, z_log_var] with --latent_dim="
            f"{latent_dim} values each."
        )
    kinds = [tf.as_dtype(part.dtype) for part in posterior]
    if not all(kind.is_floating for kind in kinds):
        raise BrokenError(
            f"The encoder gives {' and '.join(kind.name for kind in kinds)} "
            "values, not floats, which alone have a gradient."
        )


def _check_decoder(parameters, image_shape, likelihood):
    *sides, channels = image_shape
    allowed = [
        (*sides, channels * times)
        for times in range(1, likelihood.parameters_a_value + 1)
    ]
    found = tuple(getattr(parameters, "shape", ()))[1:]
    if found not in allowed:
        raise BrokenError(
            f"The decoder gives {found} for an image, but "
            f"--reconstruction_loss={likelihood.name} takes "
            f"{' or '.join(map(str, allowed))}."
        )


def _of_one(shapes):
    return (
        [shape[1:] for shape in shapes]
        if isinstance(shapes, list)
        else shapes[1:]
    )


def _check_layers(part, role):
    """Refuses layers by name that break a law."""
    for layer in part._flatten_layers(include_self=False):
        kind = type(layer).__name__
        reason = next(
            (
                reason
                for refused, reason in _REFUSED.items()
                if isinstance(layer, refused)
            ),
            None,
        )
        if reason is None and _is_random(layer):
            reason = _RANDOM
        if reason is None and any(
            not weight.trainable and layer.trainable
            for weight in layer._non_trainable_variables
        ):
            reason = (
                "it keeps a state that is not trained, which a step may change "
                "and no checkpoint has; leave it out, or set trainable=False "
                "on the layer if the state never changes"
            )
        if reason:
            raise BrokenError(
                f"The {role} has the layer {layer.name} ({kind}): {reason}."
            )


def _check_variables(part, role):
    """Refuses variables that Keras does not know, and so does not train."""
    for layer in part._flatten_layers(include_self=True):
        for name, value in vars(layer).items():
            if isinstance(value, tf.Variable):
                raise BrokenError(
                    f"The {role} has the tf.Variable {name} in {layer.name}, "
                    "which Keras neither trains nor saves; make it with "
                    "self.add_weight."
                )


def _is_random(layer):
    """Whether a layer draws numbers.

    Attention and recurrent layers have a Dropout or a seed even where they are
    told to drop nothing.
    """
    amounts = [getattr(layer, name, None) for name in _AMOUNTS]
    if any(amount is not None for amount in amounts) and not any(amounts):
        return False
    generators = getattr(layer, "_seed_generators", ())
    return bool(generators) or isinstance(
        layer, (keras.layers.Dropout, keras.layers.GaussianNoise)
    )


def _check_function(part, role, inputs):
    """Refuses a part that is no function of its weights and one input."""
    together, again, alone = (
        _flat(part, batch)
        for batch in (
            inputs,
            inputs,
            tf.nest.map_structure(lambda values: values[:1], inputs),
        )
    )
    if not all(np.isfinite(values).all() for values in together):
        raise BrokenError(
            f"The {role} gives NaN or infinity with its first weights; look at "
            "its initializers, and at what it divides by."
        )
    if not all(map(np.array_equal, together, again)):
        raise BrokenError(
            f"The {role} gives other values each time that it is called, so no "
            "run could be repeated; leave out what draws random numbers in it: "
            "the trainer draws the noise of z."
        )
    for batch, one in zip(together, alone, strict=True):
        if not np.allclose(batch[:1], one, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise BrokenError(
                f"The {role} gives other values for an image in another "
                "batch, so the number of replicas would change the result; "
                "leave out what looks at several images, and normalise with "
                "GroupNormalization or LayerNormalization."
            )


def _check_graph(part, role, inputs):
    """Refuses a part that no graph can be made of, for batches of any size.

    A step is a graph, and so is an export.
    """
    batches = tf.nest.map_structure(
        lambda values: tf.TensorSpec([None, *values.shape[1:]], values.dtype),
        inputs,
    )
    # AutoGraph gets no further than `Model.__call__`, and would only add a
    # traceback to what is said.
    graph = tf.function(part, autograph=False)
    try:
        made = graph.get_concrete_function(batches, training=False)
    except users_code.RAISED as error:
        if users_code.draws_numbers(error):
            raise _drawing(role) from error
        raise BrokenError(
            f"The {role} works on numbers, but not as a graph for batches of "
            f"any size ({users_code.said(error)}); use keras.ops.where or "
            "keras.ops.cond for a Python if on a tensor, keras.ops in place of "
            "NumPy, and keras.ops.shape(x)[0] for the length of a batch."
        ) from error
    kinds = _kinds_of_operations(made.graph.as_graph_def())
    if kinds & _IN_PYTHON:
        raise BrokenError(
            f"The {role} calls Python out of its graph, as tf.py_function and "
            "tf.numpy_function do, so that no export could run without it; "
            "use keras.ops."
        )
    if any(map(_DRAWING.match, kinds)):
        raise _drawing(role)


def _drawing(role):
    return BrokenError(
        f"The {role} may draw random numbers of its own, so that no run could "
        "be repeated; leave that out: the trainer draws the noise of z."
    )


def _check_gradients(models, images, z):
    """Refuses weights that no gradient reaches: a step cannot train them."""
    encoder, decoder = models
    weights = [
        (role, weight)
        for part, role in ((encoder, "encoder"), (decoder, "decoder"))
        for weight in part.trainable_variables
    ]
    with tf.GradientTape() as tape:
        values = tf.add_n([*encoder(images, training=False)])
        inputs = [values, z[1]] if isinstance(z, list) else values
        loss = tf.reduce_sum(decoder(inputs, training=False))
    # Of a mirrored weight, the copy that was computed with.
    copies = tf.distribute.get_strategy().experimental_local_results
    gradients = tape.gradient(
        loss, [copies(weight.value)[0] for _, weight in weights]
    )
    for (role, weight), gradient in zip(weights, gradients, strict=True):
        if gradient is None:
            raise BrokenError(
                f"The loss does not depend on the weight {weight.path} of the "
                f"{role}, or its gradient is stopped, so no step could train "
                "it; leave it out, or set trainable=False on its layer."
            )


def _kinds_of_operations(graph):
    """Returns the types of all operations, also of those rarely computed."""
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes += function.node_def
    return {node.op for node in nodes}


def _flat(part, batch):
    return [
        np.asarray(tf.cast(value, tf.float64))
        for value in tf.nest.flatten(part(batch, training=True))
    ]
