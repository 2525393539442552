"""A model in numbers: its parameters and floating-point operations.

They are read from the built Keras models, so that they serve every model of
the trainer. A multiply-add counts as two operations. Only convolutions and
dense layers count; activations, normalisation, the loss and Adam are a few
operations a value. A window that hangs over the edge of the image counts in
full.
"""

import dataclasses
import functools
import math

from trainer.runtime.command import quiet_tensorflow

with quiet_tensorflow():
    import keras

    from trainer.config import TrainConfig
    from trainer.model.build import build_vae

_KINDS = (
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution, a transposed convolution or a dense layer.

    Attributes:
        name: the layer's name in its Keras model.
        positions: of the convolution's small side, at which its kernel is
            applied once: the output's of a convolution, the input's of a
            transposed one. 1 for a dense layer.
        taps: kernel positions; 1 for a dense layer.
        inputs: channels or units that it reads.
        outputs: channels or units that it gives.
        parameters: weights and biases.
        needs_data_gradient: whether anything before it is trained.
    """

    name: str
    positions: int
    taps: int
    inputs: int
    outputs: int
    parameters: int
    needs_data_gradient: bool = True

    @property
    def forward_flops(self):
        """Operations of one image, forward."""
        return 2 * self.positions * self.taps * self.inputs * self.outputs

    @property
    def step_flops(self):
        """Operations of one image in a training step.

        Forward, the gradient of the weights, and that of the data: as many
        multiply-adds each.
        """
        return self.forward_flops * (3 if self.needs_data_gradient else 2)


@dataclasses.dataclass(frozen=True)
class Work:
    """What a model computes.

    Attributes:
        layers: tuple of `Layer`s, in the model's order.
        parameters: int, of all layers, those of normalisation as well.
    """

    layers: tuple
    parameters: int

    @property
    def forward_flops(self):
        """Operations of one image, forward."""
        return sum(layer.forward_flops for layer in self.layers)

    @property
    def step_flops(self):
        """Operations of one image in a training step."""
        return sum(layer.step_flops for layer in self.layers)

    def text(self):
        """Returns a sentence of these numbers."""
        return (
            f"The model: {self.parameters:,} parameters, "
            f"{self.forward_flops / 1e6:.2f} MFLOP an image forward, "
            f"{self.step_flops / 1e6:.2f} MFLOP in a training step "
            "(a multiply-add is 2)."
        )


def of_models(encoder, decoder):
    """Returns the `Work` of an encoder and a decoder.

    Args:
        encoder: `keras.Model`, a graph of layers.
        decoder: the same.
    """
    return Work(
        layers=(
            # No gradient of the images is wanted, but one of z.
            *_layers(encoder, input_is_trained=False),
            *_layers(decoder, input_is_trained=True),
        ),
        parameters=sum(
            math.prod(weight.shape)
            for weight in {
                id(weight): weight
                for weight in (*encoder.weights, *decoder.weights)
            }.values()
        ),
    )


@functools.cache
def of_config(config=None, image_shape=(28, 28, 1)):
    """Returns the `Work` of the trainer's model.

    Args:
        config: a `TrainConfig`; None for the default one.
        image_shape: (height, width, channels).
    """
    vae = build_vae(config or TrainConfig(), image_shape)
    return of_models(vae.encoder, vae.decoder)


def _layers(model, input_is_trained):
    """Yields the `Layer`s of a graph of layers."""
    is_trained = {}
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            is_trained[operation] = input_is_trained
            continue
        node = _node_within(operation, is_trained)
        before = any(
            is_trained[value._keras_history.operation]
            for value in node.input_tensors
        )
        weights = getattr(operation, "trainable_weights", ())
        is_trained[operation] = before or bool(weights)
        if isinstance(operation, _KINDS):
            yield _of_layer(operation, node, needs_data_gradient=before)


def _node_within(operation, known):
    """Returns the call of an operation in a model, of which it may have many.

    Args:
        operation: a Keras operation.
        known: the operations of the model before it.
    """
    return next(
        node
        for node in operation._inbound_nodes
        if all(
            value._keras_history.operation in known
            for value in node.input_tensors
        )
    )


def _of_layer(layer, node, needs_data_gradient):
    positions, taps = 1, 1
    (taken,), (given,) = node.input_tensors, node.output_tensors
    inputs, outputs = taken.shape[-1], given.shape[-1]
    if not isinstance(layer, keras.layers.Dense):
        is_transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        small = taken if is_transposed else given
        positions = math.prod(small.shape[1:-1])
        taps = math.prod(layer.kernel_size)
    return Layer(
        name=layer.name,
        positions=positions,
        taps=taps,
        inputs=inputs,
        outputs=outputs,
        parameters=layer.count_params(),
        needs_data_gradient=needs_data_gradient,
    )
