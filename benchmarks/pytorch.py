"""The contender: the same model in PyTorch, if it is installed.

PyTorch has other places for a strided "same" padding: the whole network is
Keras's in the mirror. With images and kernels flipped it computes the same
loss, and needs no padding operations of its own.
"""

import contextlib
import json
import sys

import numpy as np

from benchmarks import pytorch_conv
from benchmarks.turns import BenchmarkOver, Turn, check_parameters
from trainer.runtime.console import Console
from trainer.runtime.stop_signal import StopSignal
from trainer.runtime.training_flags import parse_flags


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
    `compile`: False, True or a mode of `torch.compile`. There may be
    `device`, `precision` ("TF32" or "bfloat16") and `images`, the shape of
    random ones in the place of those of `flags`.
    """
    settings = json.loads(sys.argv[1])
    turn = Turn()
    import torch

    device = settings.get("device", "cpu")
    torch.set_num_threads(settings["threads"])
    # TensorFlow does so too; threads that start later inherit it.
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    if device == "cuda":
        turn.finish = torch.cuda.synchronize
        torch.backends.cudnn.benchmark = True
        # "high" is TensorFloat-32, as TensorFlow has it by default.
        torch.set_float32_matmul_precision("high")
    config = parse_flags(settings["flags"])
    layout = (
        torch.channels_last
        if settings["channels_last"]
        else torch.contiguous_format
    )
    # On a GPU they stay in its memory, where no batch is copied.
    images = torch.from_numpy(_images(settings, config)).to(device)
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    if settings["conv"] is None:
        vae, loss_of = build_vae(config.latent_dim), total_loss
    else:
        vae = pytorch_conv.build_vae(config.latent_dim, **settings["conv"])
        loss_of = pytorch_conv.total_loss
    check_parameters(
        "PyTorch's model",
        sum(weight.numel() for weight in vae.parameters()),
        settings["parameters"],
    )
    vae = vae.to(device, memory_format=layout)
    optimizer = torch.optim.Adam(
        vae.parameters(), config.learning_rate, eps=1e-7, fused=True
    )
    if settings["compile"]:
        mode = settings["compile"]
        loss_of = torch.compile(loss_of, mode=None if mode is True else mode)
    lower = settings.get("precision") == "bfloat16"
    size = config.batch_size
    with contextlib.suppress(BenchmarkOver):
        turn.ready(version=torch.__version__)
        while True:
            order = torch.randperm(len(images), device=device)
            for first in range(0, len(images) - size + 1, size):
                batch = images[order[first : first + size]]
                epsilon = torch.randn(size, config.latent_dim, device=device)
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device, torch.bfloat16, enabled=lower):
                    loss = loss_of(vae, batch, epsilon)
                loss.backward()
                optimizer.step()
                turn.did(1)


def _images(settings, config):
    """Returns a float32 array of images in [0, 1]."""
    if settings.get("images"):
        random = np.random.default_rng(0)
        return random.random(settings["images"], np.float32)
    # Which loads TensorFlow.
    from trainer.data import sources

    data = sources.load(config, Console(), StopSignal())
    return data.train_images.astype("float32") / 255


if __name__ == "__main__":
    main()
