"""The parts of a VAE for scripts and notebooks: docs/python.md."""

from trainer.model.notebook import build_decoder, build_encoder
from trainer.model.options import Option
from trainer.model.vae import VAE, Sampler

__all__ = ["VAE", "Option", "Sampler", "build_decoder", "build_encoder"]
