"""`--model=conv` written in PyTorch, in the mirror as in `pytorch.py`.

It shares no code with the trainer's model.
"""

import itertools

_CHANNELS_OF_A_GROUP = 8
# Keras's, so that both compute the same.
_EPSILON = 1e-3


def build_vae(latent_dim, side, channels, widths):
    """Returns a `torch.nn.ModuleDict` of an encoder and a decoder.

    Args:
        latent_dim: int.
        side: int, of an image.
        channels: int, of an image.
        widths: ints, channels at the full size, at half of it, and so on.
    """
    from torch import nn

    smallest = side // 2 ** (len(widths) - 1)
    values = smallest * smallest * widths[-1]
    encoder = [_conv(channels, widths[0])]
    for before, width in itertools.pairwise(widths):
        encoder += [*_normalised(before), _conv(before, width, stride=2)]
        encoder.append(_block(width))
    encoder += [*_normalised(widths[-1]), nn.Flatten()]
    decoder = [
        nn.Linear(latent_dim, values),
        nn.Unflatten(1, (widths[-1], smallest, smallest)),
    ]
    for before, width in itertools.pairwise(widths[::-1]):
        decoder += [_block(before), nn.Conv2d(before, width, 1)]
        decoder.append(nn.Upsample(scale_factor=2))
    decoder += [*_normalised(widths[0]), _conv(widths[0], widths[0])]
    decoder += [*_normalised(widths[0]), _conv(widths[0], channels)]
    return nn.ModuleDict(
        {
            "encoder": nn.Sequential(*encoder),
            "z_mean": nn.Linear(values, latent_dim),
            "z_log_var": nn.Linear(values, latent_dim),
            "decoder": nn.Sequential(*decoder, nn.Sigmoid()),
        }
    )


def total_loss(vae, images, epsilon):
    """Returns the mean loss of a batch.

    Args:
        vae: of `build_vae`.
        images: float tensor of shape (batch, channels, side, side), in [0, 1].
        epsilon: noise of shape (batch, latent_dim).
    """
    import torch

    x = vae["encoder"](images)
    z_mean, z_log_var = vae["z_mean"](x), vae["z_log_var"](x)
    z = z_mean + torch.exp(0.5 * z_log_var) * epsilon
    reconstructions = vae["decoder"](z)
    reconstruction = (images - reconstructions).square().sum((1, 2, 3)).mean()
    kl = 0.5 * (z_mean.square() + z_log_var.exp() - 1 - z_log_var)
    return reconstruction + kl.sum(1).mean()


def _block(width):
    from torch import nn

    class Block(nn.Module):
        """Two convolutions, whose result is added to what they are given."""

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                *_normalised(width),
                _conv(width, width),
                nn.SiLU(inplace=True),
                _conv(width, width),
            )
            nn.init.zeros_(self.body[-1].weight)

        def forward(self, x):
            return x + self.body(x)

    return Block()


def _conv(inputs, outputs, stride=1):
    from torch import nn

    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def _normalised(width):
    from torch import nn

    groups = width // _CHANNELS_OF_A_GROUP
    return [
        nn.GroupNorm(groups, width, eps=_EPSILON),
        nn.SiLU(inplace=True),
    ]
