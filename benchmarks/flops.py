"""The model's layers in numbers: parameters and floating-point operations.

A multiply-add counts as two operations. Only convolutions and dense layers
count; activations, the loss and Adam are a few operations a value. A window
that hangs over the edge of the image counts in full.
"""

import dataclasses

PARAMETERS = 761_825


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution, a transposed convolution or a dense layer.

    Attributes:
        name: the layer's name in `trainer.model.vae`.
        positions: of the convolution's small side, at which its kernel is
            applied once: the output's of a convolution, the input's of a
            transposed one. 1 for a dense layer.
        taps: kernel positions; 1 for a dense layer.
        inputs: channels or units that it reads.
        outputs: channels or units that it gives.
        needs_data_gradient: whether anything before it is trained.
    """

    name: str
    positions: int
    taps: int
    inputs: int
    outputs: int
    needs_data_gradient: bool = True

    @property
    def parameters(self):
        """Weights and biases."""
        return self.taps * self.inputs * self.outputs + self.outputs

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


def layers(latent_dim=200, height=28, width=28):
    """Returns the `Layer`s of the model, in order."""
    half = height // 2 * (width // 2)
    quarter = height // 4 * (width // 4)
    return (
        Layer("encoder_conv_1", half, 9, 1, 32, needs_data_gradient=False),
        Layer("encoder_conv_2", quarter, 9, 32, 64),
        Layer("encoder_dense", 1, 1, quarter * 64, 16),
        Layer("z_mean", 1, 1, 16, latent_dim),
        Layer("z_log_var", 1, 1, 16, latent_dim),
        Layer("decoder_dense", 1, 1, latent_dim, quarter * 64),
        Layer("decoder_conv_1", quarter, 9, 64, 64),
        Layer("decoder_conv_2", half, 9, 64, 32),
        Layer("decoder_conv_3", height * width, 9, 32, 1),
    )


def forward_flops():
    """Operations of one image, forward."""
    return sum(layer.forward_flops for layer in layers())


def step_flops():
    """Operations of one image in a training step."""
    return sum(layer.step_flops for layer in layers())


def check_parameters(name, count):
    """Refuses a contender that is another model.

    Raises:
        ValueError: it has another number of parameters.
    """
    if count != PARAMETERS:
        raise ValueError(
            f"{name} has {count:,} parameters; expected {PARAMETERS:,}, those "
            "of the model that it is compared with."
        )
