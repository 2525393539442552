"""Gated layers and residual blocks by name; sizes of a convolutional model."""

import dataclasses

import keras

from trainer.model import layers
from trainer.model.group_normalization import GroupNormalization

_LEAST_SIDE = 8
_SMALLEST = 4
# A size has twice the channels of the one above, up to so many times width.
_MOST_TIMES = 4
_CHANNELS_OF_A_GROUP = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """The sizes that a model goes through.

    It halves the sides until the shorter one has 4 to 7 pixels. Sides that
    cannot be halved so often get margins of zeros first.

    Attributes:
        image_shape: (height, width, channels).
        margins: zeros ((above, below), (left, right)) of an image.
        widths: list of channels, from the full size down to the smallest.
        smallest: (height, width) of that.
    """

    image_shape: tuple
    margins: tuple
    widths: list
    smallest: tuple

    @classmethod
    def of(cls, image_shape, width, model):
        """Returns the plan of a model.

        Args:
            image_shape: (height, width, channels).
            width: int, channels at half the size of the image.
            model: str, what `--model` says.

        Raises:
            ValueError: no such model can be.
        """
        *sides, _ = image_shape
        if width % (2 * _CHANNELS_OF_A_GROUP):
            raise ValueError(
                f"width={width} of --model={model} is no multiple of "
                f"{2 * _CHANNELS_OF_A_GROUP}."
            )
        if min(sides) < _LEAST_SIDE:
            raise ValueError(
                f"--model={model} takes images of {_LEAST_SIDE}x{_LEAST_SIDE} "
                f"pixels or more, not {sides[0]}x{sides[1]}."
            )
        halvings = (min(sides) // _SMALLEST).bit_length() - 1
        smallest = tuple(-(-side // 2**halvings) for side in sides)
        missing = [
            small * 2**halvings - side
            for small, side in zip(smallest, sides, strict=True)
        ]
        return cls(
            tuple(image_shape),
            tuple((zeros // 2, zeros - zeros // 2) for zeros in missing),
            [width // 2]
            + [width * min(2**i, _MOST_TIMES) for i in range(halvings)],
            smallest,
        )

    @property
    def has_margins(self):
        """Whether an image gets margins."""
        return any(map(any, self.margins))


class Blocks:
    """Layers by name, whose first weights are a function of seed and name.

    A name that comes again is the same layer, with the same weights.

    Args:
        seed: int, of the model.
    """

    def __init__(self, seed):
        self._seed = seed
        self._layers = {}

    def layer(self, kind, x, name, *arguments, **settings):
        """Returns what the layer of a name makes of x.

        Args:
            kind: class of the layer.
            x: tensor, or list of tensors.
            name: str.
            *arguments: of the class.
            **settings: of the class.
        """
        if name not in self._layers:
            self._layers[name] = kind(*arguments, name=name, **settings)
        return self._layers[name](x)

    def convolution(self, x, channels, size, name, **settings):
        """A convolution of same padding: see `keras.layers.Conv2D`."""
        settings.setdefault(
            "kernel_initializer", layers.glorot(self._seed, name)
        )
        return self.layer(
            keras.layers.Conv2D,
            x,
            name,
            channels,
            size,
            padding="same",
            **settings,
        )

    def dense(self, x, units, name, **settings):
        """A dense layer."""
        settings.setdefault(
            "kernel_initializer", layers.glorot(self._seed, name)
        )
        return self.layer(keras.layers.Dense, x, name, units, **settings)

    def gated(self, x, units, name):
        """A gated layer: (x W + b) * sigmoid(x V + c), see `mlp`."""
        both = self.dense(
            x,
            2 * units,
            name,
            kernel_initializer=layers.glorot_of_gates(
                x.shape[-1], units, self._seed, name
            ),
        )
        return keras.activations.glu(both)

    def normalised(self, x, name):
        """GroupNormalization and SiLU."""
        groups = x.shape[-1] // _CHANNELS_OF_A_GROUP
        x = self.layer(GroupNormalization, x, f"{name}_norm", groups)
        return self.layer(keras.layers.Activation, x, f"{name}_silu", "silu")

    def residual(self, x, depth, name, label=None):
        """Residual blocks: He et al. 2016, "Identity mappings", figure 4 (e).

        Args:
            x: tensor of shape (batch, height, width, channels).
            depth: int, how many.
            name: str, what their names begin with.
            label: tensor of shape (batch, classes), one-hot, of which each
                block makes a bias for each channel; None without.
        """
        for number in range(1, depth + 1):
            block = f"{name}_block_{number}"
            y = self.normalised(x, f"{block}_1")
            y = self.convolution(y, x.shape[-1], 3, f"{block}_1")
            if label is not None:
                y = self._biased(y, label, f"{block}_label")
            y = self.layer(
                keras.layers.Activation, y, f"{block}_2_silu", "silu"
            )
            # A block that begins as nothing lets a deep model begin as a
            # shallow one (Goyal et al. 2017, section 5.1).
            y = self.convolution(
                y, x.shape[-1], 3, f"{block}_2", kernel_initializer="zeros"
            )
            x = self.layer(keras.layers.Add, [x, y], f"{block}_sum")
        return x

    def _biased(self, x, label, name):
        """Adds to each channel what a dense layer makes of the label."""
        channels = x.shape[-1]
        bias = self.dense(label, channels, name, use_bias=False)
        shape = (1, 1, channels)
        bias = self.layer(keras.layers.Reshape, bias, f"{name}_shape", shape)
        return self.layer(keras.layers.Add, [x, bias], f"{name}_sum")

    def shrunk(self, images, plan, depth, label=None):
        """Takes images to the smallest size of a plan.

        Args:
            images: tensor of shape (batch, height, width, channels).
            plan: a `Plan`.
            depth: int, residual blocks at each size but the first.
            label: as of `residual`.

        Returns:
            Tensor of shape (batch, *plan.smallest, plan.widths[-1]).
        """
        x = images
        if plan.has_margins:
            x = self.layer(
                keras.layers.ZeroPadding2D, x, "encoder_margins", plan.margins
            )
        first, *others = plan.widths
        x = self.convolution(x, first, 3, "encoder_first")
        for number, channels in enumerate(others, 1):
            name = f"encoder_halve_{number}"
            x = self.normalised(x, name)
            x = self.convolution(x, channels, 3, name, strides=2)
            x = self.residual(x, depth, f"encoder_{number}", label)
        return self.normalised(x, "encoder_last")

    def grown(self, x, plan, depth, output_channels, label=None):
        """Takes the smallest size of a plan to the parameters of pixels.

        Args:
            x: tensor of shape (batch, *plan.smallest, plan.widths[-1]).
            plan: a `Plan`.
            depth: int, residual blocks at each size but the last.
            output_channels: int, of the result.
            label: as of `residual`.
        """
        for number in range(len(plan.widths) - 1, 0, -1):
            x = self.residual(x, depth, f"decoder_{number}", label)
            # Each pixel becomes four alike, and convolutions of stride 1 tell
            # them apart, so that nothing favours every second pixel (Odena,
            # Dumoulin & Olah 2016, "Deconvolution and checkerboard
            # artifacts").
            name = f"decoder_double_{number}"
            x = self.convolution(x, plan.widths[number - 1], 1, name)
            x = self.layer(keras.layers.UpSampling2D, x, f"{name}_sides", 2)
        x = self.normalised(x, "decoder_full_1")
        x = self.convolution(x, plan.widths[0], 3, "decoder_full")
        x = self.normalised(x, "decoder_full_2")
        x = self.convolution(x, output_channels, 3, "decoder_conv")
        if plan.has_margins:
            x = self.layer(
                keras.layers.Cropping2D, x, "decoder_margins", plan.margins
            )
        return layers.pixels(x, plan.image_shape)
