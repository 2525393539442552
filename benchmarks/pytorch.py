"""The contender: the same model in PyTorch, if it is installed.

PyTorch has other places for a strided "same" padding: the whole network is
Keras's in the mirror. With images and kernels flipped it computes the same
loss, and needs no padding operations of its own.
"""

import contextlib
import json
import sys

from benchmarks import flops, pytorch_conv
from benchmarks.turns import BenchmarkOver, Turn
from trainer.data import sources
from trainer.runtime.console import Console
from trainer.runtime.flags import parse_flags
from trainer.runtime.stop_signal import StopSignal


def build_vae(latent_dim=200):
    """Returns a `torch.nn.ModuleDict` of the layers, by the trainer's names."""
    from torch import nn

    half = {"stride": 2, "padding": 1}
    return nn.ModuleDict(
        {
            "encoder_conv_1": nn.Conv2d(1, 32, 3, **half),
            "encoder_conv_2": nn.Conv2d(32, 64, 3, **half),
            "encoder_dense": nn.Linear(64 * 7 * 7, 16),
            "z_mean": nn.Linear(16, latent_dim),
            "z_log_var": nn.Linear(16, latent_dim),
            "decoder_dense": nn.Linear(latent_dim, 64 * 7 * 7),
            "decoder_conv_1": nn.ConvTranspose2d(
                64, 64, 3, output_padding=1, **half
            ),
            "decoder_conv_2": nn.ConvTranspose2d(
                64, 32, 3, output_padding=1, **half
            ),
            "decoder_conv_3": nn.ConvTranspose2d(32, 1, 3, padding=1),
        }
    )


def total_loss(vae, images, epsilon):
    """Returns the mean loss of a batch.

    Args:
        vae: of `build_vae`.
        images: float tensor of shape (batch, 1, 28, 28), in [0, 1].
        epsilon: noise of shape (batch, latent_dim).
    """
    import torch
    from torch.nn import functional

    x = functional.relu(vae["encoder_conv_1"](images))
    x = functional.relu(vae["encoder_conv_2"](x))
    x = functional.relu(vae["encoder_dense"](x.flatten(1)))
    z_mean, z_log_var = vae["z_mean"](x), vae["z_log_var"](x)
    z = z_mean + torch.exp(0.5 * z_log_var) * epsilon
    x = functional.relu(vae["decoder_dense"](z)).unflatten(1, (64, 7, 7))
    x = functional.relu(vae["decoder_conv_1"](x))
    x = functional.relu(vae["decoder_conv_2"](x))
    reconstructions = torch.sigmoid(vae["decoder_conv_3"](x))
    reconstruction = (images - reconstructions).square().sum((1, 2, 3)).mean()
    kl = 0.5 * (z_mean.square() + z_log_var.exp() - 1 - z_log_var)
    return reconstruction + kl.sum(1).mean()


def main():
    """Trains in the mode of the settings.

    They are `flags`, `parameters`, which the model has to have, `conv` of the
    arguments of `pytorch_conv` or None, `threads`, `channels_last` and
    `compile`.
    """
    settings = json.loads(sys.argv[1])
    turn = Turn()
    import torch

    torch.set_num_threads(settings["threads"])
    # TensorFlow does so too; threads that start later inherit it.
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    config = parse_flags(settings["flags"])
    data = sources.load(config, Console(), StopSignal())
    images = torch.from_numpy(data.train_images.astype("float32") / 255)
    images = images.permute(0, 3, 1, 2)
    layout = (
        torch.channels_last
        if settings["channels_last"]
        else torch.contiguous_format
    )
    images = images.contiguous(memory_format=layout)
    if settings["conv"] is None:
        vae, loss_of = build_vae(config.latent_dim), total_loss
    else:
        vae = pytorch_conv.build_vae(config.latent_dim, **settings["conv"])
        loss_of = pytorch_conv.total_loss
    flops.check_parameters(
        "PyTorch's model",
        sum(weight.numel() for weight in vae.parameters()),
        settings["parameters"],
    )
    vae = vae.to(memory_format=layout)
    optimizer = torch.optim.Adam(
        vae.parameters(), config.learning_rate, eps=1e-7, fused=True
    )
    if settings["compile"]:
        loss_of = torch.compile(loss_of)
    size = config.batch_size
    with contextlib.suppress(BenchmarkOver):
        turn.ready(version=torch.__version__)
        while True:
            order = torch.randperm(len(images))
            for first in range(0, len(images) - size + 1, size):
                batch = images[order[first : first + size]]
                epsilon = torch.randn(size, config.latent_dim)
                optimizer.zero_grad(set_to_none=True)
                loss_of(vae, batch, epsilon).backward()
                optimizer.step()
                turn.did(1)


if __name__ == "__main__":
    main()
