"""Hidden units of an encoder that never fire: dead, whatever image comes.

A unit is one output of a layer that ends in a ReLU; of a convolution, a
channel, which fires if it does so anywhere.
"""

import keras
import tensorflow as tf


class HiddenUnits:
    """The units of an encoder that end in a ReLU.

    Args:
        encoder: `keras.Model`. One that is no graph of layers has none that
            could be seen from here.

    Attributes:
        layers: dict of the number of units, by the name of their layer, in the
            order of the encoder.
    """

    def __init__(self, encoder):
        seen = [layer for layer in _layers(encoder) if _ends_in_relu(layer)]
        self.layers = {layer.name: layer.output.shape[-1] for layer in seen}
        self._outputs = len(encoder.outputs) if seen else 0
        self._model = (
            keras.Model(
                encoder.inputs,
                [*encoder.outputs, *(layer.output for layer in seen)],
            )
            if seen
            else encoder
        )

    def __len__(self):
        return sum(self.layers.values())

    def encode(self, inputs):
        """Returns what the encoder does, and which units fired.

        Args:
            inputs: what the encoder takes: images, a tensor of shape (batch,
                height, width, channels), or a list of these and labels.

        Returns:
            ([z_mean, z_log_var], fired): bool tensor of shape (batch, units).
        """
        results = self._model(inputs)
        if not self.layers:
            count = tf.shape(tf.nest.flatten(inputs)[0])[0]
            return results, tf.zeros([count, 0], tf.bool)
        fired = []
        for values in results[self._outputs :]:
            inner = list(range(1, values.shape.rank - 1))
            fired.append(tf.reduce_any(values > 0, axis=inner))
        return results[: self._outputs], tf.concat(fired, axis=1)

    def dead(self, fired):
        """Returns how many units of each layer are dead, by its name.

        Args:
            fired: bool array of shape (units,): whether any image made it so.
        """
        dead, start = {}, 0
        for name, units in self.layers.items():
            dead[name] = int(units - fired[start : start + units].sum())
            start += units
        return dead


def _layers(encoder):
    return encoder.layers if getattr(encoder, "outputs", None) else ()


def _ends_in_relu(layer):
    """Whether a layer's one output is that of a ReLU."""
    is_relu = (
        isinstance(layer, keras.layers.ReLU)
        or getattr(layer, "activation", None) is keras.activations.relu
    )
    return is_relu and len(layer._inbound_nodes) == 1
