"""`--model=conv`: residual blocks, for pictures from 28x28 to 256x256.

An encoder halves the sides until the shorter one has 4 to 7 pixels, with
residual blocks at each size but the first, and a decoder doubles them again.
Sides that cannot be halved so often get margins of zeros first, and the
decoder cuts them off at the end.
"""

import dataclasses
from typing import Annotated

import keras

from trainer.model.group_normalization import GroupNormalization
from trainer.model.layers import convolution, dense, pixels
from trainer.model.options import Option

_LEAST_SIDE = 8
_SMALLEST = 4
# A size has twice the channels of the one above, up to so many times width.
_MOST_TIMES = 4
_CHANNELS_OF_A_GROUP = 8


def build(
    image_shape,
    latent_dim,
    seed,
    output_channels,
    *,
    width: Annotated[
        int,
        Option(
            "channels at half the size of the image, and half of them at the "
            "full size; a multiple of 16",
            least=16,
            most=2048,
        ),
    ] = 32,
    depth: Annotated[
        int, Option("residual blocks at each size", least=1, most=64)
    ] = 1,
):
    """Returns the encoder and the decoder, for images of sides from 8."""
    plan = _Plan.of(image_shape, width)
    return (
        _encoder(plan, latent_dim, depth, seed),
        _decoder(plan, latent_dim, output_channels, depth, seed),
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The sizes that a model goes through.

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
    def of(cls, image_shape, width):
        *sides, _ = image_shape
        if width % (2 * _CHANNELS_OF_A_GROUP):
            raise ValueError(
                f"width={width} of --model=conv is no multiple of "
                f"{2 * _CHANNELS_OF_A_GROUP}."
            )
        if min(sides) < _LEAST_SIDE:
            raise ValueError(
                f"--model=conv takes images of {_LEAST_SIDE}x{_LEAST_SIDE} "
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
        return any(map(any, self.margins))


def _encoder(plan, latent_dim, depth, seed):
    images = x = keras.Input(plan.image_shape, name="images")
    if plan.has_margins:
        x = keras.layers.ZeroPadding2D(plan.margins, name="encoder_margins")(x)
    first, *others = plan.widths
    x = convolution(x, first, 3, "encoder_first", seed)
    for number, channels in enumerate(others, 1):
        x = _normalised(x, f"encoder_halve_{number}")
        x = convolution(
            x, channels, 3, f"encoder_halve_{number}", seed, strides=2
        )
        x = _blocks(x, depth, f"encoder_{number}", seed)
    x = _normalised(x, "encoder_last")
    x = keras.layers.Flatten(name="encoder_flatten")(x)
    posterior = [
        dense(x, latent_dim, name, seed) for name in ("z_mean", "z_log_var")
    ]
    return keras.Model(images, posterior, name="encoder")


def _decoder(plan, latent_dim, output_channels, depth, seed):
    z = keras.Input((latent_dim,), name="z")
    height, width = plan.smallest
    channels = plan.widths[-1]
    x = dense(z, height * width * channels, "decoder_dense", seed)
    x = keras.layers.Reshape((height, width, channels), name="decoder_image")(x)
    for number in range(len(plan.widths) - 1, 0, -1):
        x = _blocks(x, depth, f"decoder_{number}", seed)
        # Each pixel becomes four alike, and convolutions of stride 1 tell them
        # apart, so that nothing favours every second pixel (Odena, Dumoulin &
        # Olah 2016, "Deconvolution and checkerboard artifacts").
        name = f"decoder_double_{number}"
        x = convolution(x, plan.widths[number - 1], 1, name, seed)
        x = keras.layers.UpSampling2D(2, name=f"{name}_sides")(x)
    x = _normalised(x, "decoder_full_1")
    x = convolution(x, plan.widths[0], 3, "decoder_full", seed)
    x = _normalised(x, "decoder_full_2")
    x = convolution(x, output_channels, 3, "decoder_conv", seed)
    if plan.has_margins:
        x = keras.layers.Cropping2D(plan.margins, name="decoder_margins")(x)
    return keras.Model(z, pixels(x, plan.image_shape), name="decoder")


def _blocks(x, depth, name, seed):
    """Residual blocks: He et al. 2016, "Identity mappings", figure 4 (e)."""
    for number in range(1, depth + 1):
        block = f"{name}_block_{number}"
        y = _normalised(x, f"{block}_1")
        y = convolution(y, x.shape[-1], 3, f"{block}_1", seed)
        y = keras.layers.Activation("silu", name=f"{block}_2_silu")(y)
        # A block that begins as nothing lets a deep model begin as a shallow
        # one (Goyal et al. 2017, section 5.1).
        y = convolution(
            y, x.shape[-1], 3, f"{block}_2", seed, kernel_initializer="zeros"
        )
        x = keras.layers.Add(name=f"{block}_sum")([x, y])
    return x


def _normalised(x, name):
    groups = x.shape[-1] // _CHANNELS_OF_A_GROUP
    x = GroupNormalization(groups, name=f"{name}_norm")(x)
    return keras.layers.Activation("silu", name=f"{name}_silu")(x)
